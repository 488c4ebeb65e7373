# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What matrix products in less than float32 do to the test accuracy.

    python -m benchmarks.precision [--data_folder FOLDER] [--precisions P ...] [--seeds N ...]

Trains the demo config once per precision and seed, and again on the SHD-layout files in FOLDER,
where one is given. A seed starts all precisions from the same weights, order of clips and dropout,
so that differences are taken seed by seed. Runs that are finished are not repeated. Writes a JSON
file.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import json
import math
import statistics
import sys
from pathlib import Path

from tabulate import tabulate

import main as sprache
from benchmarks.measure import add_common, machine, to_write, write
from parsers.load import OPTIONS
from parsers.program import Parser, numeric, program
from training.device.choice import choose_device
from training.errors import ExperimentError

PROGRAM = "benchmarks.precision"
PRECISIONS = OPTIONS["precision"].rules.choices
SEEDS = (13, 42, 73, 190, 268)


def trained(flags: list[str], seeds: list[int], folder: Path, config: str) -> list[Path]:
    """The folder of the run of every seed of ``config`` under ``flags``; finished ones are kept.

    ExperimentError if a run did not finish.
    """
    argv = ["--config", config, *flags]
    argv += ["--seed", *map(str, seeds), "--new_exp_folder", str(folder), "--resume", "auto"]
    if sprache.main(argv):
        raise ExperimentError(f"a run in {folder} did not finish, see above")
    found = {summary_of(path.parent)["seed"]: path.parent for path in folder.rglob("summary.json")}
    return [found[seed] for seed in seeds]


def summary_of(run: Path) -> dict:
    """The figures of a finished run."""
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def accuracies(flags: list[str], seeds: list[int], folder: Path) -> list[float]:
    """Test accuracy of every seed of the demo config under ``flags``."""
    runs = trained(flags, seeds, folder, "demo.yaml")
    return [summary_of(run)["test"]["accuracy"] for run in runs]


def spread(values: list[float]) -> dict:
    """Mean, sample standard deviation, and the standard error of the mean."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    error = deviation and deviation / math.sqrt(len(values))
    found = {"values": values, "mean": statistics.fmean(values)}
    return found | {"std": deviation, "standard_error": error}


def compare(flags: list[str], precisions: list[str], seeds: list[int], folder: Path) -> dict:
    """All precisions on one data set; the differences are to the first one, seed by seed."""
    found = {p: accuracies([*flags, "--precision", p], seeds, folder / p) for p in precisions}
    first, *others = precisions
    result = {first: {"test_accuracy": spread(found[first]), "difference": None}}
    for name in others:
        apart = [value - before for value, before in zip(found[name], found[first], strict=True)]
        result[name] = {"test_accuracy": spread(found[name]), "difference": spread(apart)}
    return result


def row(data: str, precision: str, result: dict) -> list[str]:
    """As a line of the table, in percent."""

    def text(figure: dict | None, error: str) -> str:
        if figure is None:
            return ""
        plus_minus = f" ± {100 * figure[error]:.2f}" if figure[error] is not None else ""
        return f"{100 * figure['mean']:.2f}{plus_minus} %"

    accuracy = text(result["test_accuracy"], "std")
    return [data, precision, accuracy, text(result["difference"], "standard_error")]


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Train and compare; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data_folder", type=Path, help="files in the SHD layout")
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, default=["fp32", "bf16"], metavar="P"
    )
    seed = numeric(int, 0)
    parser.add_argument("--seeds", nargs="+", type=seed, default=list(SEEDS), metavar="N")
    epochs = "by default those of the demo config"
    parser.add_argument("--nb_epochs", type=numeric(int, 1), help=epochs)
    parser.add_argument("--work", type=Path, default=Path("exp/precision"), help="folder of runs")
    add_common(parser, timed=False)
    options = parser.parse_args(argv)
    file = to_write(options.out, f"precision_{choose_device(0).type}.json")
    epochs = ["--nb_epochs", str(options.nb_epochs)] if options.nb_epochs else []
    data_sets = {"demo": []}
    if options.data_folder is not None:
        if not options.data_folder.is_dir():
            raise ExperimentError(f"--data_folder {options.data_folder} is not a folder")
        where = str(options.data_folder)
        data_sets[options.data_folder.name] = ["--dataset_name", "shd", "--data_folder", where]
    result = {"benchmark": "precision", "machine": machine()}
    result |= {"seeds": options.seeds, "nb_epochs": options.nb_epochs, "data": {}}
    for name, flags in data_sets.items():
        folder = options.work / name.replace(" ", "_")
        found = compare([*flags, *epochs], options.precisions, options.seeds, folder)
        result["data"][name] = found
        write(file, result)
    rows = [
        row(name, precision, figures)
        for name, found in result["data"].items()
        for precision, figures in found.items()
    ]
    reference = options.precisions[0]
    titles = ["data", "products", "test accuracy, mean ± std", f"minus {reference}, ± s.e."]
    print("\n" + tabulate(rows, titles, disable_numparse=True))
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
