# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What tracking costs a training: epochs of the demo with wandb and without, alternating.

    python -m benchmarks.tracking [--quick] [--threads N] [--out FILE]

wandb runs offline: the training hands over the same figures as online, to the same process beside
it, which samples the machine's load all the while; only the upload is missing, which happens there.
Every round trains some epochs without tracking and as many with it, and begins and ends a wandb run
of its own. Writes FILE (JSON).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from tabulate import tabulate

from benchmarks.measure import add_common, machine, milliseconds, set_up, write
from parsers.load import load_plan
from parsers.program import Parser, program
from training.data.loading import DataCache, data_record
from training.device.choice import choose_device
from training.errors import ExperimentError
from training.experiment import Experiment
from training.record import files
from training.tracking.wandb_run import tracked

PROGRAM = "benchmarks.tracking"


def train_epochs(experiment: Experiment, count: int) -> list[float]:
    """Time of each of the next ``count`` epochs, in ms."""
    first = experiment.progress.epoch + 1
    return [
        milliseconds(lambda epoch=epoch: experiment.run_epoch(epoch, epoch))
        for epoch in range(first, first + count)
    ]


def tracked_epochs(experiment: Experiment, count: int, folder: Path) -> dict:
    """Epochs that a wandb run of their own follows: their times, and those of wandb."""
    begin = time.perf_counter()
    with tracked(experiment.config, folder, []) as tracker:
        if tracker.run is None:
            raise ExperimentError("wandb does not run here (is WANDB_MODE set?)")
        started = time.perf_counter()
        log_ms = []
        experiment.tracker = SimpleNamespace(
            epoch=lambda records: log_ms.append(milliseconds(lambda: tracker.epoch(records)))
        )
        times = train_epochs(experiment, count)
        experiment.tracker, ended = None, time.perf_counter()
    finish = time.perf_counter() - ended
    return {"epochs": times, "log": log_ms, "start": started - begin, "finish": finish}


def new_experiment(folder: Path) -> Experiment:
    """The demo, ready to train, writing to ``folder``."""
    argv = ["--config=demo.yaml", "--seed=13", "--tracking=offline", f"--new_exp_folder={folder}"]
    (config,) = load_plan(argv).points
    device = choose_device(0)
    data = DataCache(device).get(config.training)
    files.create(folder, config.to_dict(), data_record(config.training, data))
    return Experiment(config, data, folder, device)


def measure(rounds: int, count: int) -> dict:
    """Alternate ``count`` epochs without and with tracking, ``rounds`` times."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = new_experiment(Path(folder))
        train_epochs(experiment, 2)
        without, with_wandb = [], []
        for _ in range(rounds):
            without.append(train_epochs(experiment, count))
            with_wandb.append(tracked_epochs(experiment, count, Path(folder)))
        steps = -(-len(experiment.data.train) // experiment.options.batch_size)
    pairs = zip(without, with_wandb, strict=True)
    ratios = [statistics.median(run["epochs"]) / statistics.median(bare) for bare, run in pairs]
    epoch_ms = statistics.median(ms for bare in without for ms in bare)
    log_ms = statistics.median(ms for run in with_wandb for ms in run["log"])
    return {
        "epoch_ms_without": round(epoch_ms, 2),
        "epoch_ms_with": round(statistics.median(m for r in with_wandb for m in r["epochs"]), 2),
        "ratio_of_epochs": round(statistics.median(ratios), 4),
        "ratios_of_rounds": [round(ratio, 4) for ratio in ratios],
        "log_ms_per_epoch": round(log_ms, 3),
        "log_percent_of_epoch": round(100 * log_ms / epoch_ms, 3),
        "log_ms_per_step": round(log_ms / steps, 5),
        "start_s": round(statistics.median(run["start"] for run in with_wandb), 3),
        "finish_s": round(statistics.median(run["finish"] for run in with_wandb), 3),
    }


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    add_common(parser)
    options = parser.parse_args(argv)
    file = set_up(options, "tracking", choose_device(0).type)
    rounds, count = (2, 2) if options.quick else (8, 3)
    result = {
        "benchmark": "tracking",
        "machine": machine(),
        "rounds": rounds,
        "epochs_of_a_round": count,
        "demo": measure(rounds, count),
    }
    print(tabulate([(k, v) for k, v in result["demo"].items()], ["demo, SiLIF", "value"]))
    write(file, result)
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
