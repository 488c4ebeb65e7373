# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Kill trainings at random moments and resume them: ``python -m tests.tools.kills KILLS``.

For a feed-forward neuron, with dropout and steps of the scheduler, and a recurrent one, with AdamW
in the middle of a cycle of the learning rate, runs are killed (SIGKILL): the first at a moment
drawn from its whole course, the others each in a part of its own of what follows the first saved
state, which they divide evenly. The same command with ``--resume auto`` completes each. Weights and
metrics must equal those of an uninterrupted run, bit for bit. Processes are forked from this one,
so that a kill costs no start of PyTorch.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")  # forks share no threads

import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import main as program
from tests.command_line import arguments
from tests.datasets.shd_files import random_clips, write_spikes
from tests.training.resumption import same_results, wait_until
from training import sweep  # noqa: F401 (imported once, for all children)
from training.record import checkpoint

MODELS = {
    "SiLIF": {"scheduler_patience": 0, "scheduler_factor": 0.5},
    "RadLIF": {
        "scheduler": "onecycle",
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "delay": "axonal",
    },
}
OPTIONS = {
    "dataset_name": "shd",
    "nb_epochs": 6,
    "nb_hiddens": 12,
    "nb_steps": 12,
    "spatial_bin": 35,
    "batch_size": 16,
    "pdrop": 0.3,
    "checkpoint_minutes": 0.0005,
    "seed": 3,
    "resume": "auto",
}


def start(data: Path, out: Path, model: str) -> int:
    """Fork a training; its process id."""
    options = {**OPTIONS, **MODELS[model]}
    argv = arguments(**options, data_folder=data, new_exp_folder=out, model_type=model)
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
    """Wait for a training that has to succeed."""
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def wait_for_state(folder: Path) -> float:
    """Seconds until a training has saved its first state."""
    begin = time.monotonic()
    wait_until((folder / checkpoint.LAST).exists)
    return time.monotonic() - begin


def was_killed(child: int) -> bool:
    """Kill a training; whether it was still running."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def kill_and_resume(model: str, kills: int, folder: Path, rng: random.Random) -> None:
    """Kill and resume ``kills`` runs of a model."""
    data, whole, out = (folder / name for name in ("data", f"{model}_whole", f"{model}_killed"))
    finish(start(data, out, model))  # the frames and compiled loops are there
    begin = time.monotonic()
    child = start(data, whole, model)
    first_state = wait_for_state(whole)
    finish(child)
    rest = time.monotonic() - begin - first_state
    done = 0
    while done < kills:
        shutil.rmtree(out)
        child = start(data, out, model)
        if done == 0:
            time.sleep(rng.uniform(0, first_state + rest))
        else:
            wait_for_state(out)
            time.sleep((done - rng.random()) / (kills - 1) * rest)
        if was_killed(child):
            finish(start(data, out, model))
            same_results(whole, out)
            done += 1
        else:  # the machine was busier when the time was taken
            rest *= 0.8


def main(kills: int) -> None:
    """Try every model; AssertionError where a resumed run differs."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data").mkdir()
        for split, count in (("train", 120), ("test", 40)):
            write_spikes(Path(name) / "data" / f"shd_{split}.h5", random_clips(count))
        for model in MODELS:
            kill_and_resume(model, kills, Path(name), random.Random(0))
            print(f"{model}: {kills} kills, every resumed run the same", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
