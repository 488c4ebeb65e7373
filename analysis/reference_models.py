# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Make the networks in ``reference_models/``: ``python -m analysis.reference_models [NAME ...]``.

Each is trained by its config with seed 13 (in ``exp/reference_models``; an interrupted training
is resumed, a finished one is not repeated), tested with the five test seeds (kept for Figure 3),
and put on the shelf without the state of the optimiser and without paths of this machine.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from analysis.evaluations import KEPT, Evaluations
from analysis.figure3 import TEST_SEEDS
from analysis.style import FIGURES
from analysis.trained import OURS, REPO, SHELF, open_model
from parsers.load import OPTIONS
from parsers.program import Parser, program
from training.data import same_data
from training.errors import ExperimentError
from training.record import checkpoint, files
from training.results.groups import mean_and_deviation
from training.terminal.console import percent, table

PROGRAM = "analysis.reference_models"
WORKSHOP = REPO / "exp" / "reference_models"
SEED = 13


def make(name: str) -> dict:
    """Train, test and shelve one network; its summary.

    Raises ExperimentError if the training does not end.
    """
    train(name)
    model = open_model(WORKSHOP / name, TEST_SEEDS)
    runs = Evaluations(FIGURES / KEPT).of([model])[0]
    summary = json.loads((model.folder / "summary.json").read_text(encoding="utf-8"))
    summary = publishable(summary, runs)
    shelve(model.folder, SHELF / name, summary)
    return summary


def train(name: str) -> None:
    """What the command line would do: train by the config, or resume where that stopped."""
    from main import main

    command = [f"--config={OURS[name]}.yaml", "--seed", str(SEED), "--resume", "auto"]
    print(f"python main.py {' '.join(command)}")
    status = main([*command, "--new_exp_folder", str(WORKSHOP / name)])
    if status:
        raise ExperimentError(f"the training of {name} ended with status {status}, see above")


def publishable(summary: dict, runs: list[dict]) -> dict:
    """A summary without what concerns one machine only, with the figures of ``runs`` by seed."""
    versions = {k: v for k, v in summary["versions"].items() if k not in ("platform", "device")}
    tests = [{"test": run} for run in runs]
    figures = ("accuracy", "loss", "sop", "recurrent_sop")
    return {
        **{key: value for key, value in summary.items() if key not in ("device", "code")},
        "versions": versions,
        "test_seeds": {
            "seeds": [run["seed"] for run in runs],
            **{figure: mean_and_deviation(tests, "test", figure) for figure in figures},
        },
    }


def shelve(run_folder: Path, folder: Path, summary: dict) -> None:
    """Put what a user needs of a run into ``folder``."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    recorded = yaml.safe_load((run_folder / "config.yaml").read_text(encoding="utf-8"))
    options = {
        option: value
        for option, value in recorded.items()
        if option in OPTIONS and OPTIONS[option].rules.group != "run"
    }
    files.write_yaml(folder / "config.yaml", options)
    files.write_json(folder / "summary.json", summary)
    for path in (checkpoint.BEST, Path("metrics.jsonl"), Path(same_data.NAME)):
        shutil.copyfile(run_folder / path, folder / f"{path}.tmp")
        os.replace(folder / f"{path}.tmp", folder / path)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Make the networks that are named, or all, and print what they reach."""
    parser = Parser(PROGRAM, description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(OURS)}")
    names = parser.parse_args(argv).names or list(OURS)
    unknown = [name for name in names if name not in OURS]
    if unknown:
        raise ExperimentError(f"{unknown[0]} is not one of {', '.join(OURS)}")
    rows = []
    for name in names:
        summary = make(name)
        found = summary["test_seeds"]
        accuracy = " ± ".join(percent(found["accuracy"][of]) for of in ("mean", "std"))
        sizes = f"{summary['parameters']:,}", str(summary["best_epoch"])
        rows.append((name, *sizes, accuracy, f"{found['sop']['mean']:,.0f}"))
    print(f"\n{table(rows, ['network', 'parameters', 'best epoch', 'test accuracy', 'SOP'])}")


if __name__ == "__main__":
    sys.exit(main())
