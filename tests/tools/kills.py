# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Kill trainings at random moments and resume them: ``python -m tests.tools.kills --kills 25``.

For a feed-forward and a recurrent neuron, with dropout and steps of the scheduler, a run is killed
(SIGKILL) at a moment drawn uniformly from its course after the first saved state (one in five:
from its whole course), and the same command with ``--resume auto`` ends it. Weights, optimiser and
metrics have to equal those of the run that was left alone, bit for bit. Processes are forked from
this one, so that a kill costs no start of PyTorch.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")  # forks share no threads

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import main as program
from tests.command_line import arguments
from tests.datasets.shd_files import write_spikes
from training import sweep  # noqa: F401 (imported once, for all children
from training.record import checkpoint, files

MODELS = ("SiLIF", "RadLIF")
ANYWHERE = 0.2  # share of kills that may also come before the first state
PATIENCE = 600  # s
OPTIONS = {
    "dataset_name": "shd",
    "nb_epochs": 6,
    "nb_hiddens": 12,
    "nb_steps": 12,
    "spatial_bin": 35,
    "batch_size": 16,
    "pdrop": 0.3,
    "scheduler_patience": 0,
    "scheduler_factor": 0.5,
    "checkpoint_minutes": 0.0005,
    "seed": 3,
    "resume": "auto",
}


def write_data(folder: Path) -> None:
    """A small data set in the SHD layout."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 40)):
        clips = {
            "times": [rng.uniform(0, 0.9, 80).astype("f2") for _ in range(count)],
            "units": [rng.integers(0, 700, 80).astype("u2") for _ in range(count)],
            "labels": (np.arange(count) % 20).astype("u2"),
        }
        write_spikes(folder / f"shd_{split}.h5", clips)


def start(data: Path, out: Path, model: str) -> int:
    """Fork a training; its process id."""
    argv = arguments(**OPTIONS, data_folder=data, new_exp_folder=out, model_type=model)
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 70
    with contextlib.suppress(BaseException), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        status = program.main(argv)
    os._exit(status)


def finish(child: int) -> None:
    """Wait for a training that has to end well."""
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"a training ended with status {status}")


def wait_for_state(folder: Path) -> float:
    """Seconds until a training has saved its first state, or has ended."""
    begin = time.monotonic()
    while not (folder / checkpoint.LAST).exists() and time.monotonic() - begin < PATIENCE:
        time.sleep(0.005)
    return time.monotonic() - begin


def killed(child: int) -> bool:
    """Kill a training; whether it was still at work."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def result(folder: Path) -> dict:
    """Everything of a run that has to be the same, times left out."""
    last = checkpoint.read(folder / checkpoint.LAST)
    found = {f"last {name}": value for name, value in last["model"].items()}
    found |= {f"best {k}": v for k, v in checkpoint.read(folder / checkpoint.BEST).items()}
    for number, moments in last["optimizer"]["state"].items():
        found |= {f"optimizer {number} {name}": value for name, value in moments.items()}
    records = files.read_lines(folder / "metrics.jsonl")
    found["metrics"] = [{**record, "seconds": 0} for record in records]
    summary = json.loads((folder / "summary.json").read_text())
    found["test"] = {**summary["test"], "seconds": 0}
    return found


def difference(first: dict, second: dict) -> str | None:
    """The first thing that two results do not have in common, None if there is none."""
    for name in {**first, **second}:
        a, b = first.get(name), second.get(name)
        is_same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        if not is_same:
            return name
    return None


def state_when_killed(folder: Path) -> str:
    """How far a run had come, for the record."""
    path = folder / checkpoint.LAST
    if not path.exists():
        return "before the first state"
    progress = checkpoint.read(path)["progress"]
    return f"epoch {progress['epoch']}, step {progress['step']}"


def try_model(model: str, kills: int, folder: Path, rng: random.Random) -> dict:
    """Kill and resume ``kills`` runs of a model."""
    data, whole = folder / "data", folder / f"{model}_whole"
    finish(start(data, folder / "warm_up", model))  # the frames and compiled loops are there
    shutil.rmtree(folder / "warm_up")
    begin = time.monotonic()
    child = start(data, whole, model)
    first_state = wait_for_state(whole)
    finish(child)
    duration = time.monotonic() - begin
    expected, done, differences = result(whole), [], []
    while len(done) < kills:
        out = folder / f"{model}_killed"
        shutil.rmtree(out, ignore_errors=True)
        child = start(data, out, model)
        if rng.random() < ANYWHERE:
            time.sleep(rng.uniform(0, duration))
        else:
            wait_for_state(out)
            time.sleep(rng.uniform(0, duration - first_state))
        if not killed(child):
            continue  # it had ended before
        done.append(state_when_killed(out))
        finish(start(data, out, model))
        if name := difference(expected, result(out)):
            differences.append(f"{done[-1]}: {name}")
        print(f"{model}: {len(done)} of {kills}, killed at {done[-1]}", file=sys.stderr)
    same = kills - len(differences)
    return {"model": model, "kills": kills, "same": same, "differ": differences, "killed_at": done}


def main(argv: list[str] | None = None) -> int:
    """Print one JSON object for each model; 0 if every run came out the same."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="for each model")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rng, good = random.Random(options.seed), True
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data").mkdir()
        write_data(Path(name) / "data")
        for model in options.models:
            report = try_model(model, options.kills, Path(name), rng)
            print(json.dumps(report), flush=True)
            good = good and report["same"] == options.kills
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
