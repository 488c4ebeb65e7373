# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether compiled kernels train as well as plain PyTorch does.

    python -m benchmarks.equivalence FOLDER [--seeds N ...] [--margin POINTS]

The two round differently, and one rounding decides single seeds: what counts is the mean over many.
Trains SiLIF on the SHD-layout files in FOLDER under both back ends, with the published batchnorm
statistics and protocol, and tests whether the mean test accuracies differ by less than the margin
(two one-sided Welch tests; Schuirmann 1987). Runs that are finished are not repeated. Writes a JSON
file.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys
from pathlib import Path

from scipy.stats import ttest_ind
from tabulate import tabulate

from benchmarks.measure import add_common, machine, to_write, write
from benchmarks.precision import accuracies, spread
from parsers.program import Parser, check_folder, numeric, program
from training.errors import ExperimentError

PROGRAM = "benchmarks.equivalence"
BACKENDS = ("auto", "naive")
SEEDS = tuple(range(1, 41))
COMMON = {
    "dataset_name": "shd",
    "model_type": "SiLIF",
    "nb_hiddens": 128,
    "nb_outputs": 20,
    "nb_steps": 100,
    "max_time": 1.0,
    "spatial_bin": 5,
    "lr": 0.01,
    "pdrop": 0.1,
    "batch_size": 64,
    "nb_epochs": 12,
    "scheduler_patience": 10,
    "scheduler_factor": 0.7,
    "shd_validation": "test",
    "bn_statistics": "running",
}


def equivalence(ours: list[float], reference: list[float], margin: float) -> dict:
    """Two one-sided Welch tests of whether two means differ by less than ``margin``.

    ``p`` is the greater of both p-values: below .05 the means are equivalent within the margin.
    ``interval`` is the 90 % confidence interval of the difference, which then lies within it.
    """
    above = ttest_ind([a + margin for a in ours], reference, equal_var=False, alternative="greater")
    below = ttest_ind([a - margin for a in ours], reference, equal_var=False, alternative="less")
    plain = ttest_ind(ours, reference, equal_var=False)
    interval = plain.confidence_interval(0.90)
    return {
        "margin": margin,
        "difference": spread(ours)["mean"] - spread(reference)["mean"],
        "interval": [float(interval.low), float(interval.high)],
        "p": float(max(above.pvalue, below.pvalue)),
        "welch_p": float(plain.pvalue),
    }


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Train and compare; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="files in the SHD layout")
    parser.add_argument("--seeds", nargs="+", type=numeric(int, 0), default=SEEDS, metavar="N")
    points = numeric(float, 0.01, 100)
    parser.add_argument("--margin", type=points, default=1.0, help="in points of accuracy")
    parser.add_argument("--nb_epochs", type=numeric(int, 1), help="by default 12")
    parser.add_argument("--work", type=Path, default=Path("exp/equivalence"), help="folder of runs")
    add_common(parser, timed=False)
    options = parser.parse_args(argv)
    check_folder("--work", options.work)
    if not options.folder.is_dir():
        raise ExperimentError(f"{options.folder} is not a folder")
    if len(options.seeds) < 2:
        raise ExperimentError("--seeds: a test needs two or more")
    file = to_write(options.out, "equivalence_cpu.json")
    common = COMMON | ({"nb_epochs": options.nb_epochs} if options.nb_epochs else {})
    result = {"benchmark": "equivalence", "machine": machine(), "seeds": list(options.seeds)}
    result |= {"options": common, "test_accuracy": {}}
    found = {}
    for backend in BACKENDS:
        case = common | {"data_folder": options.folder, "backend": backend}
        flags = [part for option, value in case.items() for part in (f"--{option}", str(value))]
        found[backend] = accuracies(flags, options.seeds, options.work / backend)
        result["test_accuracy"][backend] = spread(found[backend])
        write(file, result)
    test = equivalence(*(found[backend] for backend in BACKENDS), options.margin / 100)
    write(file, result | {"equivalence": test})
    rows = [
        [name, f"{100 * figures['mean']:.2f} ± {100 * figures['std']:.2f} %"]
        for name, figures in result["test_accuracy"].items()
    ]
    print("\n" + tabulate(rows, ["back end", "test accuracy"], disable_numparse=True))
    apart, low, high = (100 * x for x in (test["difference"], *test["interval"]))
    verdict = "equivalent" if test["p"] < 0.05 else "not shown to be equivalent"
    print(f"\ndifference {apart:+.2f} points, 90 % interval {low:+.2f} to {high:+.2f}")
    print(f"{verdict} within {options.margin:g} points: p {test['p']:.2g}\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
