# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Check that runs give the figures they recorded: ``python -m training.verify EXP_FOLDER...``.

The best network of every run is tested again, on the test split from the run's own seed, and the
figures are compared with summary.json. On the same device with the same libraries they have to be
the same; elsewhere sums round differently, and a small difference is accepted. Exit status 0 if all
agree, 1 if something does not, 2 if a folder cannot be checked.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datasets.registry import DATASETS
from parsers.load import resolve_pretrained
from parsers.program import Parser, add_gpu_device, program
from training.data.loading import DataCache
from training.device.choice import choose_device, determinism
from training.errors import ExperimentError
from training.evaluation import open_trained
from training.record import checkpoint, files
from training.record.recorder import counts, device_facts, versions
from training.terminal.console import log, percent, start_logging, table

PROGRAM = "training.verify"
ROUNDING = {"accuracy": 0.002, "loss": 0.01}  # on another device or with other libraries
VERDICTS = {True: "agrees", False: "DIFFERS", None: "differs, not judged"}
SIGMAS = 3  # of the sampling error, by which a validation from other initial states may differ


class Check(NamedTuple):
    """A figure as it was recorded and as it is now; ``agrees`` None: shown, and not judged."""

    figure: str
    recorded: str
    now: str
    agrees: bool | None


def verify(folder: Path, cache: DataCache, data_folder: Path | None = None) -> list[Check]:
    """Compare the run in ``folder`` with its summary.

    Args:
        folder: of a run that has ended.
        cache: gives the data; its device is where to test.
        data_folder: where the data are now; None: where they were then.

    Raises:
        ExperimentError, ConfigError or DataError: a file of the run or its data cannot be read.
    """
    config = files.recorded_config(folder)
    if data_folder is not None:
        config = replace(config, training=replace(config.training, data_folder=data_folder))
    summary = files.read_summary(folder)
    weights = folder / checkpoint.BEST
    with determinism(config.training.deterministic):
        experiment = open_trained(config, weights, cache)
        data = experiment.data
        with experiment.threads(data.train):
            test = experiment.test(config.training.seed)
            valid = experiment.evaluate(data.valid, "validation")
            now = {"versions": versions(cache.device), "device": device_facts(cache.device)}
    now |= {**counts(experiment.model, data), "data_checksums": data.checksums}
    exact = all(now[name] == summary.get(name) for name in ("versions", "device"))
    is_drawn = config.model.init_state == "rand"
    judge_data = DATASETS[config.training.dataset_name].has_portable_checksums
    return [
        *compare_test(summary["test"], test.to_dict(), exact),
        compare_validation(summary["valid"], valid.to_dict(), exact and not is_drawn),
        compare_history(folder, summary),
        *compare_facts(summary, now, judge_data=judge_data),
    ]


def compare_test(recorded: dict, now: dict, exact: bool) -> Iterator[Check]:
    """Accuracy and loss on the test split."""
    for name, rounding in ROUNDING.items():
        values = recorded[name], now[name]
        shown = [percent(x, 3) if name == "accuracy" else f"{x:.6f}" for x in values]
        agrees = abs(values[0] - values[1]) <= (1e-9 if exact else rounding)
        yield Check(f"test {name}", *shown, agrees)


def compare_validation(recorded: dict, now: dict, exact: bool) -> Check:
    """Validation accuracy, which was measured from the initial states of that epoch.

    Another measurement from other states: the difference of the two is at most as wide as that of
    two draws of clips, each right with the probability that both together show.
    """
    share, figure = recorded["accuracy"], "validation accuracy"
    both, samples = (share + now["accuracy"]) / 2, now["samples"]
    error = math.sqrt(2 * max(both * (1 - both), 0.25 / samples) / samples)
    allowed = 1e-9 if exact else SIGMAS * error
    return Check(
        figure if exact else f"{figure} (± {100 * allowed:.2f})",  # from other initial states
        percent(share),
        percent(now["accuracy"]),
        abs(share - now["accuracy"]) <= allowed,
    )


def compare_history(folder: Path, summary: dict) -> Check:
    """Whether the best epoch of metrics.jsonl is that of the summary."""
    records = files.read_lines(folder / "metrics.jsonl")
    valid = {r["epoch"]: r["accuracy"] for r in records if r.get("split") == "valid"}
    best = max(valid, key=valid.get, default=None)
    recorded = (summary["best_epoch"], summary["valid"]["accuracy"])
    found = (best, valid.get(best))
    return Check("best epoch", str(recorded[0]), str(found[0]), recorded == found)


def compare_facts(summary: dict, now: dict, *, judge_data: bool) -> Iterator[Check]:
    """Counts and checksums have to be the same; versions and device are shown where they differ."""
    for name in ("parameters", "state_variables", "clips"):
        before, found = summary.get(name), now[name]
        yield Check(name.replace("_", " "), counted(before), counted(found), before == found)
    recorded = summary.get("data_checksums", {})
    for name, found in now["data_checksums"].items():
        before = recorded.get(name)
        agrees = before == found if judge_data and before else None
        if agrees is not None or before != found:
            yield Check(name, (before or "unknown")[:12], found[:12], agrees)
    for kind in ("versions", "device"):
        before = summary.get(kind, {})
        for name in sorted({*before, *now[kind]}):
            values = before.get(name), now[kind].get(name)
            if values[0] != values[1]:
                yield Check(f"{kind}: {name}", *map(str, values), None)


def counted(number: int | dict | None) -> str:
    """A number, or several by name, as they are read by people."""
    if isinstance(number, dict):
        return ", ".join(f"{name} {counted(value)}" for name, value in number.items())
    return f"{number:,}" if isinstance(number, int) else "none"


def runs_below(folder: Path) -> list[Path]:
    """The folder itself, or the model of that name in reference_models/, if it holds a run, else
    those in it that do.

    Raises ExperimentError for none, and ConfigError if there is no such folder.
    """
    folder = resolve_pretrained(folder)
    if (folder / "config.yaml").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/config.yaml"))
    if not found:
        raise ExperimentError(f"{folder} is not an experiment folder: it has no config.yaml")
    return found


@program(PROGRAM)
def main(argv: list[str] | None) -> int:
    """Check the folders of the command line and print a table of each; the exit status."""
    parser = Parser(
        PROGRAM,
        description="Test the best networks of runs again, and compare with what they recorded.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="EXP_FOLDER")
    parser.add_argument("--data_folder", type=Path, help="where the data are now")
    add_gpu_device(parser)
    options = parser.parse_args(argv)
    start_logging()
    agree, untested = True, []
    cache = DataCache(choose_device(options.gpu_device))
    folders = [found for given in options.folders for found in runs_below(given)]
    for folder in folders:
        try:
            checks = verify(folder, cache, options.data_folder)
        except ExperimentError as error:
            if len(folders) == 1:
                raise
            untested.append(f"not tested: {error}")
            continue
        agree = agree and all(check.agrees is not False for check in checks)
        rows = [(*check[:3], VERDICTS[check.agrees]) for check in checks]
        figures = table(rows, ["figure", "recorded", "now", "verdict"])
        log.info("\n%s\n\n%s\n", folder.name, figures)
    for line in untested:
        log.info(line)
    log.info("All figures agree." if agree else "Some figures do not agree.")
    return 0 if agree and not untested else 1


if __name__ == "__main__":
    sys.exit(main())
