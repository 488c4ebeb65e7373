# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""State-space networks against SiLIF and C-SiLIF with as many parameters.

    python -m benchmarks.baselines [--data_folder FOLDER] [--networks N ...] [--seeds N ...]

Trains every network with every seed on the demo and on the SHD-layout files in FOLDER, by the
options of its demo config but for its width, and compares it with the first one by Welch's t-test.
Operations and energy are those of the test clips, see analysis/README.md. Runs that are finished
are not repeated. Writes a JSON file.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import statistics
import sys
from pathlib import Path

from tabulate import tabulate

from analysis.observe import Observer
from analysis.operations import LayerOperations, total
from analysis.trained import open_run
from benchmarks.measure import add_common, machine, to_write, write
from benchmarks.mechanisms import compare
from benchmarks.precision import summary_of, trained
from parsers.program import Parser, check_folder, numeric, program
from training.device.choice import choose_device
from training.errors import ExperimentError

PROGRAM = "benchmarks.baselines"
NETWORKS = {  # config, and what differs from it
    "SiLIF": ("demo.yaml", {}),
    "CSiLIF": ("demo.yaml", {"model_type": "CSiLIF"}),
    "S4D": ("demo_s4d.yaml", {"nb_hiddens": 56}),
    "SpikingS4D": ("demo_ss4d.yaml", {"nb_hiddens": 56}),
    "Mamba": ("demo_mamba.yaml", {"nb_hiddens": 48}),
}
ALIKE = 0.1  # by what share the numbers of parameters may differ
SEEDS = tuple(range(1, 11))


def energy_uj(operations: LayerOperations) -> float:
    """Energy of a clip in microjoules."""
    return (operations.connections_nj + operations.updates_nj) / 1000


def measure(runs: list[Path]) -> dict:
    """What the ``runs`` of one network cost, as means over seeds but for the parameters."""
    summaries = [summary_of(run) for run in runs]
    operations = [total(Observer(open_run(run)).observe().operations) for run in runs]

    def mean(values) -> float:
        return statistics.fmean(values)

    return {
        "parameters": summaries[0]["parameters"],
        "sop": mean(o.sop + o.recurrent_sop for o in operations),
        "ac": mean(o.ac + o.update_ac for o in operations),
        "mac": mean(o.mac + o.update_mac for o in operations),
        "energy_uj": mean(map(energy_uj, operations)),
        "epoch_s": statistics.median(s["seconds_per_epoch"] for s in summaries),
    }


def row(name: str, found: dict) -> list[str]:
    """A line of the table."""
    accuracy, welch = found["test_accuracy"], found["welch"]
    deviation = f" ± {100 * accuracy['std']:.1f}" if accuracy["std"] is not None else ""
    return [
        name,
        f"{found['parameters']:,}",
        f"{100 * accuracy['mean']:.1f}{deviation} %",
        f"{100 * found['difference']:+.1f}, t {welch['t']:+.1f}, p {welch['p']:.2g}"
        if welch
        else "",
        *(f"{found[kind] / 1e3:,.0f} k" for kind in ("sop", "ac", "mac")),
        f"{found['energy_uj']:.2f} µJ",
        f"{found['epoch_s']:.2f} s",
    ]


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Train and compare; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data_folder", type=Path, help="files in the SHD layout")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="N"
    )
    parser.add_argument("--seeds", nargs="+", type=numeric(int, 0), default=SEEDS, metavar="N")
    epochs = "by default those of the demo configs"
    parser.add_argument("--nb_epochs", type=numeric(int, 1), help=epochs)
    parser.add_argument("--work", type=Path, default=Path("exp/baselines"), help="folder of runs")
    add_common(parser, timed=False)
    options = parser.parse_args(argv)
    check_folder("--work", options.work)
    file = to_write(options.out, f"baselines_{choose_device(0).type}.json")
    data_sets = {"demo": {}}
    if options.data_folder is not None:
        if not options.data_folder.is_dir():
            raise ExperimentError(f"--data_folder {options.data_folder} is not a folder")
        name = options.data_folder.name
        data_sets[name] = {"dataset_name": "shd", "data_folder": options.data_folder}
    result = {"benchmark": "baselines", "machine": machine(), "seeds": list(options.seeds)}
    result |= {"networks": NETWORKS, "nb_epochs": options.nb_epochs, "data": {}}
    epochs = {"nb_epochs": options.nb_epochs} if options.nb_epochs else {}
    titles = ["network", "parameters", "test accuracy, mean ± std", "minus the first, Welch"]
    titles += ["SOP", "AC", "MAC", "energy", "epoch"]
    for data, where in data_sets.items():
        found, reference = {}, None
        for name in options.networks:
            config, more = NETWORKS[name]
            case = where | more | epochs
            flags = [part for option, value in case.items() for part in (f"--{option}", str(value))]
            runs = trained(flags, options.seeds, options.work / f"{data}_{name}", config)
            values = [summary_of(run)["test"]["accuracy"] for run in runs]
            reference = values if reference is None else reference
            found[name] = measure(runs) | compare(values, reference)
            result["data"][data] = found
            write(file, result)
        sizes = [figures["parameters"] for figures in found.values()]
        if max(sizes) > (1 + ALIKE) * min(sizes):
            raise ExperimentError(f"on {data}, parameters differ too much to compare: {sizes}")
        rows = [row(name, figures) for name, figures in found.items()]
        print(f"\n{data}\n" + tabulate(rows, titles, disable_numparse=True), flush=True)
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
