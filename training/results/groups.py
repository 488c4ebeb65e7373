# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs that differ in their seed only, as one row of a table."""

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from datasets.registry import DATASETS
from parsers.load import OPTIONS, Plan
from parsers.options import AUTO, parts
from parsers.training_config import UNVALIDATED
from training.metrics import protocol, wilson
from training.record import files
from training.terminal.console import columns, duration, log, table, wrapped

# As papers spell them.
MODEL_NAMES = {
    **{"CadLIF": "cAdLIF", "CSiLIF": "C-SiLIF", "ResonateFire": "RF", "LiGRU": "Li-GRU"},
    "SpikingS4D": "Spiking S4D",
}
FEW = 100  # test clips
# Columns that are left out one after another where the terminal has no room for them.
SPARE = (
    "95%\ninterval",
    "time",
    "best\nepoch",
    "SOP",
    "MAC",
    "states",
    "valid acc (%)",
    "params",
    "protocol",
    "seeds",
    "ms/step",
)
NAMES = 2  # columns that hold no number
SETUP = ("dataset_name", "model_type", "nb_hiddens", "ms_per_step")
# What rows of different columns differ in as a matter of course: those columns, and what published
# configs tune for every model.
TUNED = {*SETUP, *(name for name, option in OPTIONS.items() if option.rules.tuned)}


def protocol_of(run: dict) -> str | None:
    """The `protocol` of a result, of one without figures by its options; None: unknown."""
    values = run["values"]
    tells = UNVALIDATED.are_met(values) and not values["evaluate_pretrained"]
    chosen = values["shd_validation"] if tells else AUTO
    sentences = {
        "test": "test split",
        "speakers": "held-out speakers",
        "random": "random clips of the training split",
        "file": "file",
        AUTO: None,
    }
    sentence = run.get("validated_on") or sentences[chosen]
    return sentence and protocol(sentence)


def grouped(results: list[dict], axes: list[str]) -> list[list[dict]]:
    """The results that agree in ``axes`` and in their protocol; in each group by seed.

    A result holds the options of a run ("values"), the figures of its summary.json, and "error"
    where there are none to count. Those of an unknown protocol are a group of their own; only a run
    without figures joins others that agree in their protocol.
    """
    keys = [tuple(result["values"][axis] for axis in axes) for result in results]
    groups: dict[tuple, dict[str | None, list[dict]]] = {key: {} for key in keys}
    known = [(protocol_of(result), key, result) for key, result in zip(keys, results, strict=True)]
    for found, key, result in sorted(known, key=lambda each: (each[0] is None, "error" in each[2])):
        alike = groups[key]
        if found is None and "error" in result and len(alike) == 1:
            (found,) = alike
        alike.setdefault(found, []).append(result)
    runs = [some for alike in groups.values() for some in alike.values()]
    return [sorted(some, key=lambda run: run["values"]["seed"]) for some in runs]


def group_over_seeds(results: list[dict], axes: list[str]) -> list[dict]:
    """Statistics of each of the groups of `grouped`."""
    return [
        {"values": {axis: runs[0]["values"][axis] for axis in axes}, **statistics_of(runs)}
        for runs in grouped(results, axes)
    ]


def statistics_of(runs: list[dict]) -> dict:
    """The figures of one group; those without a "test" are counted in "runs" but in no mean."""
    sound = [run for run in runs if "error" not in run]
    seconds = [run["seconds"] for run in sound if "seconds" in run]
    return {
        "setup": setup(runs[0]["values"]),
        "data": data_name(runs[0]),
        "tested_on": tested_on(next((run for run in sound if "data_checksums" in run), runs[0])),
        "seeds": [run["values"]["seed"] for run in runs],
        "runs": f"{len(sound)} of {len(runs)}",
        "test_accuracy": mean_and_deviation(sound, "test", "accuracy"),
        "valid_accuracy": mean_and_deviation(sound, "valid", "accuracy"),
        "test_loss": mean_and_deviation(sound, "test", "loss"),
        "sop": mean_and_deviation(sound, "test", "sop"),
        "mac": mean_and_deviation(sound, "test", "mac"),
        "test_clips": min((run.get("test", {}).get("samples", 0) for run in sound), default=0),
        "parameters": only(sound, "parameters"),
        "state_variables": only(sound, "state_variables"),
        "validated_on": only(sound, "validated_on"),
        "protocol": protocol_of(sound[0] if sound else runs[0]),
        "best_epochs": [run["best_epoch"] for run in sound if "best_epoch" in run],
        "seconds": statistics.fmean(seconds) if seconds else None,
    }


def setup(values: dict) -> dict:
    """What a table of results says of every network and its data."""
    resolution = DATASETS[values["dataset_name"]].step_ms(SimpleNamespace(**values))
    return {**{name: values[name] for name in SETUP[:-1]}, "ms_per_step": resolution}


def data_name(run: dict) -> str:
    """The data set as papers spell it, or the folder of data whose classes are not its own."""
    name, folder = run["values"]["dataset_name"], run["values"].get("data_folder")
    dataset = DATASETS[name]
    of_its_own = run.get("classes", dataset.nb_classes) != dataset.nb_classes
    if folder and (of_its_own or run["values"].get("nb_outputs")):
        return Path(folder).name or name
    return dataset.title


def tested_on(run: dict) -> tuple[str, list[str]]:
    """Data set and checksums, as far as recorded, of what a run was tested on."""
    checksums = run.get("data_checksums") or {}
    of_the_test = {
        name: found for name, found in checksums.items() if "_test." in name or name == "test clips"
    }
    return run["values"]["dataset_name"], sorted((of_the_test or checksums).values())


def are_other_data(first: tuple, second: tuple) -> bool:
    """Whether two of `tested_on` differ, in their names or else in checksums that both have."""
    return first[0] != second[0] or bool(first[1] and second[1] and first[1] != second[1])


def model_name(model_type: str) -> str:
    """The model as papers spell it."""
    return "+".join(MODEL_NAMES.get(name, name) for name in parts(model_type))


def mean_and_deviation(runs: list[dict], split: str, figure: str) -> dict | None:
    """Mean and sample standard deviation of a figure over the runs that have it."""
    values = [run[split][figure] for run in runs if figure in run.get(split, {})]
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": values}


def only(runs: list[dict], name: str) -> int | str | None:
    """What all runs say of ``name``; None if nothing, and every value if they disagree."""
    found = list(dict.fromkeys(run[name] for run in runs if run.get(name) is not None))
    return found[0] if len(found) == 1 else " / ".join(map(str, found)) or None


def spread(statistic: dict | None) -> str:
    """'81.20 ± 0.35' (percent points), or without the deviation of a single value."""
    if statistic is None:
        return "-"
    values = [value for value in (statistic["mean"], statistic["std"]) if value is not None]
    return " ± ".join(f"{100 * value:.2f}" for value in values)


def telling_options(groups: list[dict]) -> list[str]:
    """The options that distinguish groups whose columns are the same, and what else groups on the
    same data differ in, but for what is tuned for every model."""
    alike: dict[tuple, list[dict]] = {}
    for group in groups:
        key = (group["data"], *group["setup"].values())
        alike.setdefault(key, []).append(group["values"])
        alike.setdefault((group["data"],), []).append(
            {name: value for name, value in group["values"].items() if name not in TUNED}
        )
    return [
        name
        for name in (groups[0]["values"] if groups else ())
        if any(len({values.get(name) for values in same}) > 1 for same in alike.values())
    ]


def options_in_words(groups: list[dict], group: dict) -> str:
    """The options that distinguish a group from the others on its data: 'pdrop 0.1, lr 0.01'."""
    names = telling_options([other for other in groups if other["data"] == group["data"]])
    return ", ".join(f"{name} {group['values'][name]}" for name in names if acts(name, group))


def value_of(name: str, group: dict) -> str:
    """An option of a group, or a dash where it does nothing."""
    return str(group["values"][name]) if acts(name, group) else "-"


def acts(name: str, group: dict) -> bool:
    """Whether an option has an effect on the runs of a group, as far as their options tell."""
    needs = OPTIONS[name].rules.needs
    try:
        return needs is None or needs.are_met(group["setup"] | group["values"])
    except KeyError:  # what it needs is the same everywhere
        return True


def text_table(
    groups: list[dict],
    options: list[str] | None = None,
    *,
    leading: Mapping[str, list[str]] | None = None,
    kind: str = "simple",
    without: Sequence[str] = (),
) -> str:
    """The table of results in a format of tabulate; empty columns are dropped.

    ``options`` have a column each; None: those that distinguish groups. ``leading`` columns, cells
    by header, come first. The columns ``without`` which it does are in `SPARE`.
    """
    options = telling_options(groups) if options is None else options
    leading = leading or {}
    protocols = {group["protocol"] for group in groups}
    cells_of = {
        "data": lambda group: group["data"],
        "model": lambda group: model_name(group["setup"]["model_type"]),
        "hidden": lambda group: str(group["setup"]["nb_hiddens"]),
        "ms/step": lambda group: f"{group['setup']['ms_per_step']:g}",
        **{name: lambda group, name=name: value_of(name, group) for name in options},
        "params": lambda group: count(group["parameters"]),
        "states": lambda group: count(group["state_variables"]),
        "test acc (%)": lambda group: (
            spread(group["test_accuracy"]) + ("*" if sees_the_test_split(group) else "")
        ),
        "protocol": lambda group: protocol_name(group) if len(protocols) > 1 else "-",
        "seeds": seeds,
        "95%\ninterval": interval,
        "valid acc (%)": lambda group: spread(group["valid_accuracy"]),
        "SOP": lambda group: count(group["sop"] and group["sop"]["mean"]),
        "MAC": lambda group: count(group["mac"] and group["mac"]["mean"]),
        "best\nepoch": lambda group: epochs(group["best_epochs"]),
        "time": lambda group: "-" if group["seconds"] is None else duration(group["seconds"]),
    }
    filled = dict(leading)
    for header, cell in cells_of.items():
        if header in without:
            continue
        cells = [cell(group) for group in groups]
        if header == "test acc (%)" or set(cells) - {"-"}:
            filled[header if kind == "simple" else header.replace("\n", " ")] = cells
    rows = list(zip(*filled.values(), strict=True))
    numbers = len(filled) - NAMES - len(leading)
    return table(rows, list(filled), numbers=numbers, kind=kind, fit=False)


def result_table(groups: list[dict], *, numbered: bool = False) -> str:
    """The table of results for the terminal, its rows ``numbered``, and what its marks mean.

    Where it has no room for a column for each option that distinguishes groups, they are below it;
    where it still has not, columns are left out.
    """
    options, lines, left_out = telling_options(groups), legend(groups), []

    def text() -> str:
        numbers = {"": [f"{number})" for number in range(1, len(groups) + 1)]} if numbered else {}
        return text_table(groups, options, leading=numbers, without=left_out)

    def is_too_wide() -> bool:
        return max(map(len, text().splitlines())) > columns()

    if options and is_too_wide():
        options, numbered = [], True
        for number, group in enumerate(groups, start=1):
            if values := options_in_words(groups, group):
                lines.append(wrapped(f"{number}) {values}", "   "))
    while is_too_wide() and len(left_out) < len(SPARE):
        left_out.append(SPARE[len(left_out)])
    if left_out:
        names = ", ".join(left_out).replace("\n", " ")
        lines.append(f"no room in {columns()} characters for: {names}")
    return "\n".join([text(), *map(wrapped, lines)])


def legend(groups: list[dict]) -> list[str]:
    """What a reader of the table needs to know, in lines."""
    lines = ["acc: mean ± sample standard deviation over seeds; SOP and time: mean of a run"]
    if any(group["mac"] for group in groups):
        lines.append("MAC: with the states; SOP: without the updates of neurons (see the report)")
    if any(interval(group) != "-" for group in groups):
        lines.append("95% interval: of one run with that accuracy, by its number of test clips")
    for found in dict.fromkeys(group["protocol"] for group in groups if group["protocol"]):
        lines.append(f"{'*: ' if found.startswith('published') else ''}protocol {found}")
    for data in dict.fromkeys(group["data"] for group in groups):
        few = [g for g in groups if g["data"] == data and 0 < g["test_clips"] < FEW]
        if few:
            best = max(few, key=lambda group: group["test_accuracy"]["mean"])
            low, high = wilson(best["test_accuracy"]["mean"], best["test_clips"])
            lines.append(
                f"only {best['test_clips']} test clips of {data}: the 95% interval of the best "
                f"accuracy is {100 * low:.1f} to {100 * high:.1f}"
            )
    return lines


def sees_the_test_split(group: dict) -> bool:
    """Whether an epoch of the group was chosen by the accuracy that is reported."""
    return (group["protocol"] or "").startswith("published")


def protocol_name(group: dict) -> str:
    """'published', 'clean' or 'unknown'."""
    return (group["protocol"] or "unknown").split(":")[0]


def interval(group: dict) -> str:
    """'92.4 to 97.1': where the accuracy of one run may lie, by its number of test clips."""
    if not group["test_clips"]:
        return "-"
    bounds = wilson(group["test_accuracy"]["mean"], group["test_clips"])
    return " to ".join(f"{100 * bound:.1f}" for bound in bounds)


def seeds(group: dict) -> str:
    """'5', or '3 of 5' where runs are not counted."""
    sound, _, whole = group["runs"].split()
    return sound if sound == whole else group["runs"]


def count(number: float | str | None) -> str:
    """1234567 -> '1,234,567'."""
    if number is None or isinstance(number, str):
        return number or "-"
    return f"{number:,.0f}"


def epochs(best: list[int]) -> str:
    """'12', or the range '9-14' over seeds."""
    if not best:
        return "-"
    return str(best[0]) if min(best) == max(best) else f"{min(best)}-{max(best)}"


def report(plan: Plan, results: list[dict], folder: Path, name: str) -> None:
    """Print one table over all runs, and write it with every run's figures."""
    groups = group_over_seeds(results, [axis for axis in plan.axes if axis != "seed"])
    files.create_plain(folder)
    keep_other_runs(folder / name, results)
    files.write_json(folder / name, {"groups": groups, "runs": json.loads(json.dumps(results))})
    log.info("\n%s", result_table(groups))
    for result in results:
        if "error" in result:
            log.info("not counted: %s: %s", Path(result["folder"]).name, result["error"])
    log.info("all figures are in %s", folder / name)


def keep_other_runs(path: Path, results: list[dict]) -> None:
    """Give the table in ``path`` another name if it lists runs that the new one does not."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["runs"]
        counted = {run["folder"] for run in before if "error" not in run}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if counted - {result["folder"] for result in results if "error" not in result}:
        names = (path.with_name(f"{path.stem}_before{i}.json") for i in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        path.rename(kept)
        log.info("The table there lists other runs: it is kept as %s", kept.name)
