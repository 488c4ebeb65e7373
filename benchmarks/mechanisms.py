# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What delays do to the test accuracy of each neuron.

    python -m benchmarks.mechanisms FOLDER [--neurons N ...] [--mechanisms M ...] [--seeds N ...]

Trains every neuron with every mechanism and seed on the SHD-layout files in FOLDER, all under the
same options, and compares each mechanism with the first one by Welch's t-test. Runs that are
finished are not repeated. Writes a JSON file.
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
from training.device.choice import choose_device
from training.errors import ExperimentError

PROGRAM = "benchmarks.mechanisms"
NEURONS = {  # and the options that they are not trained without
    "LIF": {},
    "adLIF": {},
    "SiLIF": {},
    "CSiLIF": {},
    "SEadLIF": {"surrogate": "slayer"},
    "BRF": {"normalization": "none", "surrogate": "double_gaussian", "lr": 0.02},
}
MECHANISMS = {
    "none": {"recurrent": "none"},
    "axonal": {"recurrent": "none", "delay": "axonal", "max_delay_ms": 240},
    "dense": {"recurrent": "dense"},
    "recurrent": {"recurrent": "dense", "recurrent_delay": "axonal"},
}
SEEDS = tuple(range(1, 11))
COMMON = {
    "dataset_name": "shd",
    "nb_hiddens": 128,
    "nb_steps": 100,
    "max_time": 1.0,
    "spatial_bin": 5,
    "lr": 0.002,
    "pdrop": 0.1,
    "batch_size": 64,
    "nb_epochs": 20,
    "scheduler": "onecycle",
}


def compare(values: list[float], reference: list[float]) -> dict:
    """Spread of the accuracies, their distance from those without a mechanism, and Welch's test."""
    found = {"test_accuracy": spread(values), "difference": None, "welch": None}
    if values is reference or len(values) == 1:
        return found
    test = ttest_ind(values, reference, equal_var=False)
    apart = found["test_accuracy"]["mean"] - spread(reference)["mean"]
    welch = {"t": float(test.statistic), "df": float(test.df), "p": float(test.pvalue)}
    return found | {"difference": apart, "welch": welch}


def row(neuron: str, found: dict) -> list[str]:
    """A line of the table, in percent."""
    cells = [neuron]
    for figures in found.values():
        accuracy, welch = figures["test_accuracy"], figures["welch"]
        deviation = f" ± {100 * accuracy['std']:.1f}" if accuracy["std"] is not None else ""
        beside = f" (t {welch['t']:+.1f}, p {welch['p']:.2g})" if welch else ""
        cells.append(f"{100 * accuracy['mean']:.1f}{deviation}{beside}")
    return cells


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Train and compare; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="files in the SHD layout")
    parser.add_argument("--neurons", nargs="+", choices=NEURONS, default=list(NEURONS), metavar="N")
    parser.add_argument(
        "--mechanisms", nargs="+", choices=MECHANISMS, default=list(MECHANISMS), metavar="M"
    )
    parser.add_argument("--seeds", nargs="+", type=numeric(int, 0), default=SEEDS, metavar="N")
    parser.add_argument("--nb_epochs", type=numeric(int, 1), help="by default 20")
    parser.add_argument("--work", type=Path, default=Path("exp/mechanisms"), help="folder of runs")
    add_common(parser, timed=False)
    options = parser.parse_args(argv)
    check_folder("--work", options.work)
    if not options.folder.is_dir():
        raise ExperimentError(f"{options.folder} is not a folder")
    file = to_write(options.out, f"mechanisms_{choose_device(0).type}.json")
    common = COMMON | ({"nb_epochs": options.nb_epochs} if options.nb_epochs else {})
    result = {"benchmark": "mechanisms", "machine": machine(), "seeds": list(options.seeds)}
    result |= {"options": common, "options_of_neurons": NEURONS, "mechanisms": MECHANISMS}
    result["neurons"] = {}
    for neuron in options.neurons:
        found = {}
        for name in options.mechanisms:
            case = common | {"data_folder": options.folder, "model_type": neuron}
            case |= NEURONS[neuron] | MECHANISMS[name]
            flags = [part for option, value in case.items() for part in (f"--{option}", str(value))]
            found[name] = accuracies(flags, options.seeds, options.work / f"{neuron}_{name}")
        reference = found[options.mechanisms[0]]
        result["neurons"][neuron] = {n: compare(v, reference) for n, v in found.items()}
        write(file, result)
    rows = [row(neuron, found) for neuron, found in result["neurons"].items()]
    print("\n" + tabulate(rows, ["neuron", *options.mechanisms], disable_numparse=True))
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
