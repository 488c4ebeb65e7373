# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How long the demo command takes, and how long a program takes to its first training step.

The first start compiles kernels into an empty folder, and later ones find them there. Writes FILE
(JSON).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks import measure
from parsers.program import Parser, numeric, program

PROGRAM = "benchmarks.start"
REPO = Path(__file__).resolve().parents[1]
ROUNDS = 5
DEMO = ("--config=demo.yaml", "--debug", "--overwrite")
# Prints the seconds from the first import to the end of the first step, and ends there.
TO_FIRST_STEP = """
import time
begin = time.perf_counter()
from parsers.start import start
start()
import os, sys
import main
from training.steps import Steps
train = Steps.train
def first(*arguments):
    train(*arguments)
    print(time.perf_counter() - begin, flush=True)
    os._exit(0)
Steps.train = first
main.main(sys.argv[1:])
"""


def run(environment: dict[str, str], *command: str) -> tuple[float, str]:
    """Seconds that Python takes with ``command`` in the repository, and the last line it prints."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=REPO, env=environment, text=True, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begin, done.stdout.splitlines()[-1]


def measured(folder: Path, rounds: int, changes: list[str], threads: int | None) -> dict:
    """Seconds: of the first and of later starts, in the order in which they were made."""
    environment = dict(os.environ, NUMBA_CACHE_DIR=str(folder / "kernels"))
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    demo = *DEMO, "--new_exp_folder", str(folder / "run"), *changes
    steps, commands = [], []
    for _ in tqdm(range(1 + rounds), unit="start", disable=None):
        commands.append(run(environment, "main.py", *demo)[0])
        steps.append(float(run(environment, "-c", TO_FIRST_STEP, *demo)[1]))
    return {
        "command_first_s": commands[0],
        "command_s": median(commands[1:]),
        "command_all_s": commands[1:],
        "to_first_step_s": median(steps[1:]),
        "to_first_step_all_s": steps[1:],
    }


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    rounds = {"type": numeric(int, 1, 1000), "default": ROUNDS}
    parser.add_argument("--rounds", help="later starts of each", **rounds)
    measure.add_common(parser)
    options = parser.parse_args(argv)
    file = measure.set_up(options, "start", "cpu")
    rounds, changes = (1, ["--nb_epochs", "1"]) if options.quick else (options.rounds, [])
    result = {"benchmark": "start", "machine": measure.machine()}
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), rounds, changes, options.threads)
    for name, value in found.items():
        lists = isinstance(value, list)
        result[name] = [round(x, 2) for x in value] if lists else round(value, 2)
    measure.write(file, result)
    print(f"demo: {result['command_first_s']} s at the first start, then {result['command_s']} s")
    print(f"from the first import to the first step: {result['to_first_step_s']} s")
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
