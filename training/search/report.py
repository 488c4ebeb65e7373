# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The end of a search: one table of its trials, and the best of them as a config."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from parsers.load import OPTIONS, Config, Plan
from training.record import files
from training.record.files import continuing_without
from training.results.gather import history
from training.results.groups import legend, sees_the_test_split, statistics_of, text_table
from training.search.study import Record
from training.search.work import in_words, run_folder, short
from training.terminal.console import columns, log, percent, wrapped

BEST = "best.yaml"
ENDED = {"complete": "{}", "pruned": "{}, stopped", "running": "{}, not ended"}
# Columns that are left out one after another where the terminal has no room for them.
SPARE = ("95%\ninterval", "SOP", "MAC", "states", "best\nepoch", "protocol", "ms/step", "params")
SPARE += ("seeds", "time")


def report_trials(plan: Plan, records: Sequence[Record], folder: Path) -> None:
    """`report` of the trials in a journal."""
    begun = [record for record in records if record.state != "waiting"]
    report(plan, begun, {r.number: runs_of(plan, r, folder) for r in begun}, folder)


def report_runs(plan: Plan, results: Sequence[dict], folder: Path) -> None:
    """`report` of runs that a server has given out, each a trial."""
    records = []
    for number, result in enumerate(results, start=1):
        epochs = [r["accuracy"] for r in history(Path(result["folder"])) if r["split"] == "valid"]
        has_ended, diverged = (
            "error" not in result,
            (Path(result["folder"]) / files.FAILURE).exists(),
        )
        state = "complete" if has_ended else "refused" if diverged or not epochs else "pruned"
        records.append(
            Record(
                number=number,
                state=state,
                values={name: result["values"][name] for name in plan.search.space},
                accuracy=result["valid"]["accuracy"] if has_ended else max(epochs, default=None),
                epochs=len(epochs),
                reason=result["error"] if state == "refused" else None,
            )
        )
    runs = {}
    for record, result in zip(records, results, strict=True):
        run = result if record.state != "pruned" else shown_so_far(result, record.accuracy)
        runs[record.number] = [run]
    report(plan, records, runs, folder)


def shown_so_far(result: dict, accuracy: float) -> dict:
    """The result of a run that was stopped early, with the accuracy that it had reached."""
    kept = {"folder": result["folder"], "values": result["values"]}
    return {**kept, "valid": {"accuracy": accuracy}}


def report(
    plan: Plan, records: Sequence[Record], runs: Mapping[int, list[dict]], folder: Path
) -> None:
    """Log the table of the trials ``records``, and write it to the folder of the search, with the
    best trial as a config that main.py can run.

    ``runs`` are the results of each by its number.
    """
    begun = sorted(records, key=rank)
    files.create_plain(folder)
    validated = [run["validated_on"] for some in runs.values() for run in some if "test" in run]
    for run in (run for some in runs.values() for run in some):
        run.setdefault("validated_on", validated[0] if validated else None)
    with continuing_without(files.SWEEP_SUMMARY, Exception, "the trials are in their folders"):
        groups = [
            {"values": record.values, "trial": record.number, **statistics_of(runs[record.number])}
            for record in begun
        ]
        content = {
            "groups": groups,
            "runs": [run for record in begun for run in runs[record.number]],
            "trials": [dataclasses.asdict(record) for record in begun],
        }
        files.write_json(folder / files.SWEEP_SUMMARY, json.loads(json.dumps(content)))
        if begun:
            log.info("\n%s", trial_table(plan, begun, groups))
    for record in begun:
        if record.reason:
            log.info("trial %d was refused: %s", record.number, record.reason)
    log.info("all figures are in %s", folder / files.SWEEP_SUMMARY)
    best = next((record for record in begun if record.is_complete), None)
    if best is None:
        log.info("No trial was trained to its end, so there is no best one")
        return
    with continuing_without(BEST):
        write_best(plan, best, folder / BEST)
        log.info(
            "best: trial %d, validation accuracy %s (%s); to train it: python main.py --config %s",
            best.number,
            percent(best.accuracy),
            in_words(best.values),
            folder / BEST,
        )


def rank(record: Record) -> tuple:
    """The best first, and those that were stopped or refused last."""
    states = ("complete", "running", "pruned", "refused")
    return states.index(record.state), -(record.accuracy or 0), record.number


def runs_of(plan: Plan, record: Record, folder: Path) -> list[dict]:
    """What the runs of a trial have recorded that were begun; of one that has not ended, the
    accuracy so far."""
    runs = []
    for seed in plan.search.seeds:
        if runs and not record.is_complete:
            break  # the first seed decided
        place = run_folder(folder, record.number, seed)
        values = Config.of(plan.points[0].values() | record.values | {"seed": seed}).to_dict()
        run = {"folder": str(place), "values": values}
        if record.reason:
            run["error"] = record.reason
        elif (summary := files.finished(place, values)) is not None:
            run |= summary
        elif record.accuracy is not None and not runs:
            run["valid"] = {"accuracy": record.accuracy}
        runs.append(run)
    return runs


def trial_table(plan: Plan, records: Sequence[Record], groups: list[dict]) -> str:
    """The table of trials, and what its marks mean."""
    leading = {
        "trial": [str(record.number) for record in records],
        "epochs": [ENDED.get(r.state, r.state).format(r.epochs) for r in records],
    }
    for name in plan.search.space:
        if name not in groups[0]["setup"]:
            cells = [short(record.values.get(name, "-")) for record in records]
            leading[name.replace("_", "_\n")] = cells
    left_out: list[str] = []

    def text() -> str:
        return text_table(groups, [], leading=leading, without=left_out)

    while max(map(len, text().splitlines())) > columns() and len(left_out) < len(SPARE):
        left_out.append(SPARE[len(left_out)])
    lines = legend(groups)
    if any(map(sees_the_test_split, groups)):
        lines.append(
            "the search has chosen by the test split, whose accuracies say nothing of other data: "
            "--shd_validation speakers holds clips out"
        )
    return "\n".join([text(), *map(wrapped, lines)])


def write_best(plan: Plan, best: Record, path: Path) -> None:
    """Write the options of a trial as a flat config, seeds included."""
    values = Config.of(plan.points[0].values() | best.values).to_dict()
    told = {
        name: values[name]
        for name, option in OPTIONS.items()
        if name in best.values
        or (
            option.rules.scope == "run" and option.rules.recorded and values[name] != option.default
        )
    }
    told["seed"] = list(plan.search.seeds)
    head = (
        f"# Trial {best.number} of a search, the best by validation accuracy: "
        f"{percent(best.accuracy)}.\n# Options that are not named have their defaults.\n\n"
    )
    files.write_text(path, head + yaml.safe_dump(told, sort_keys=False))
