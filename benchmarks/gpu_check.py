# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Everything that needs a GPU, in one command of less than ten minutes.

    python -m benchmarks.gpu_check FOLDER [--dry_run]

Runs the tests that need a GPU, two short trainings that must give the same numbers (with and
without a CUDA graph), and the benchmarks of features, training and the dynamics, each in a process
of its own with a time limit: one that fails or hangs does not stop the others. FOLDER gets their
output, their JSON files and summary.json; the terminal, a table of the targets. ``--dry_run``
runs all of it with small shapes, on whatever device there is.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from tabulate import tabulate

from benchmarks.dynamics import DELAYED
from parsers.options import ConfigError
from parsers.program import Parser, check_folder, program
from training.record.files import read_lines, write_json

REPO = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
PROGRAM = "benchmarks.gpu_check"
FEED_FORWARD = ("LIF", "adLIF", "CadLIF", "ResonateFire", "CSiLIF")
RECURRENT = ("RLIF", "RadLIF", *DELAYED)


class Goal(NamedTuple):
    """A figure that should be at least, or at most, so much."""

    what: str
    target: float
    at_most: bool
    measured: float | None  # None: the benchmark did not get that far

    @property
    def verdict(self) -> str:
        """Whether it was reached."""
        if self.measured is None:
            return "not measured"
        reached = self.measured <= self.target if self.at_most else self.measured >= self.target
        return "reached" if reached else "missed"

    def row(self) -> list:
        """As a line of a table."""
        sign = "<=" if self.at_most else ">="
        measured = "-" if self.measured is None else f"{self.measured:.4g}"
        return [self.what, f"{sign} {self.target:g}", measured, self.verdict]


def goals(dynamics: dict | None, train: dict | None, features: dict | None) -> list[Goal]:
    """All goals, measured as far as the results of the three benchmarks go (None: no result)."""
    ratios, floors = {}, {}
    for comparison in (dynamics or {}).get("neurons", []):
        compiled = [v for name, v in comparison["backends"].items() if name != "naive"]
        if compiled:
            ratios[comparison["neuron"]] = max(values["ratio"] for values in compiled)
            floors[comparison["neuron"]] = min(values["x_floor"] for values in compiled)
    cases = {case["case"]: case["rows"] for case in (train or {}).get("cases", [])}
    ours = {name: rows["ours"] for name, rows in cases.items()}
    ssc, gsc = ours.get("SSC 4 ms", {}), ours.get("GSC", {})
    peak = ssc.get("peak_mib") and ssc["peak_mib"] / cases["SSC 4 ms"]["slow"]["peak_mib"]
    clips = {name.split()[0]: v["ms"] for name, v in (features or {}).get("cuda", {}).items()}
    per_clip = clips.get("torchaudio,")
    speed = per_clip and per_clip / clips["Sprache,"]
    difference = (features or {}).get("largest_difference", {}).get("cuda")
    least = {"SiLIF": 100, **dict.fromkeys(FEED_FORWARD, 60), **dict.fromkeys(RECURRENT, 8)}
    return [
        *(Goal(f"{n}, dynamics, times naive", g, False, ratios.get(n)) for n, g in least.items()),
        Goal("SiLIF, dynamics, times the byte floor", 2, True, floors.get("SiLIF")),
        Goal("SSC 4 ms, whole step, times the slow way", 50, False, ssc.get("ratio")),
        Goal("SSC 4 ms, seconds per epoch with validation", 6, True, ssc.get("epoch_s")),
        Goal("SSC 4 ms, peak memory, share of naive's", 0.2, True, peak),
        Goal("GSC, whole step, times the slow way", 20, False, gsc.get("ratio")),
        Goal("features, times torchaudio clip by clip", 5, False, speed),
        Goal("features, largest difference from torchaudio's", 2e-3, True, difference),
    ]


class Part(NamedTuple):
    """A command, and how many seconds it may take."""

    name: str
    command: list[str]
    limit: float


def parts(folder: Path, *, dry_run: bool) -> list[Part]:
    """What is run, in order; together at most 590 s."""
    quick = ["--quick"] if dry_run else []
    training = [PYTHON, "main.py", "--config=demo.yaml", "--debug", "--overwrite"]
    training += ["--nb_epochs", "1"] if dry_run else ["--nb_epochs", "3"]
    graph = "off" if dry_run else "on"  # without a GPU "on" is refused

    def short_run(name: str, mode: str) -> Part:
        command = [*training, "--cuda_graph", mode, "--new_exp_folder", str(folder / name)]
        return Part(name, command, 45)

    tests = [PYTHON, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    tests.append(f"--junitxml={folder / 'tests.xml'}")
    tests += tests_for_gpus()
    if importlib.util.find_spec("xdist"):  # most of the time goes into compiling kernels
        tests += ["-n", "4", "--dist", "worksteal"]

    def benchmark(name: str, limit: float) -> Part:
        command = [PYTHON, "-m", f"benchmarks.{name}", "--out", str(folder / f"{name}.json")]
        return Part(name, [*command, *quick], limit)

    return [
        Part("machine", [PYTHON, "-m", "torch.utils.collect_env"], 25),
        Part("tests", tests, 140),
        short_run("launched", "off"),
        short_run("graph", graph),
        benchmark("features", 40),
        benchmark("train", 160),
        benchmark("dynamics", 135),
    ]


def tests_for_gpus() -> list[str]:
    """The files that hold any; the others may import what a GPU machine lacks."""
    marks = "pytest.mark.gpu", "@with_or_without_gpu"
    files = {f: f.read_text("utf-8") for f in sorted((REPO / "tests").rglob("test_*.py"))}
    return [
        str(f.relative_to(REPO)) for f, text in files.items() if any(mark in text for mark in marks)
    ]


def run(part: Part, folder: Path) -> dict:
    """Run a part with its output in ``folder``; how it ended, and after how many seconds."""
    begin = time.perf_counter()
    with (folder / f"{part.name}.log").open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            part.command, cwd=REPO, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            ended = f"exit status {process.wait(part.limit)}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ended = f"stopped after {part.limit:g} s"
    return {"ended": ended, "seconds": round(time.perf_counter() - begin, 1)}


def last_line(file: Path) -> str:
    """The last line that a part printed."""
    return file.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1][:100]


def results(folder: Path) -> list[dict | None]:
    """What the benchmarks wrote, as `goals` takes it; None for a missing or truncated file."""
    found = []
    for name in ("dynamics", "train", "features"):
        try:
            found.append(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            found.append(None)
    return found


def same_training(folder: Path) -> bool | None:
    """Whether the two short trainings gave the same figures; None where one has none."""
    paths = [folder / name / "metrics.jsonl" for name in ("launched", "graph")]
    if not all(path.is_file() for path in paths):
        return None
    launched, graph = ([{**r, "seconds": 0} for r in read_lines(path)] for path in paths)
    return launched == graph


def check(folder: Path, *, dry_run: bool) -> dict:
    """Run all parts and sum up."""
    ended = {}
    for part in parts(folder, dry_run=dry_run):
        print(f"{part.name}: at most {part.limit:g} s", flush=True)
        ended[part.name] = run(part, folder)
    found = goals(*results(folder))
    return {
        "parts": ended,
        "same_numbers_with_and_without_graph": same_training(folder),
        "goals": [{**goal._asdict(), "verdict": goal.verdict} for goal in found],
        "dry_run": dry_run,
    }


def show(summary: dict, folder: Path) -> None:
    """Print how the parts ended, and the goals."""
    rows = [
        [name, part["ended"], part["seconds"], last_line(folder / f"{name}.log")]
        for name, part in summary["parts"].items()
    ]
    print("\n" + tabulate(rows, ["part", "ended", "s", "last line"]))
    words = {True: "yes", False: "NO", None: "not known, a run is missing"}
    same = words[summary["same_numbers_with_and_without_graph"]]
    print(f"\nsame numbers with and without a CUDA graph: {same}\n")
    found = goals(*results(folder))
    print(tabulate([goal.row() for goal in found], ["goal", "target", "measured", ""]))
    if summary["dry_run"]:
        print("\na dry run: small shapes, whose figures say nothing about the goals")
    print(f"\neverything is in {folder}")


@program(PROGRAM)
def main(argv: list[str] | None) -> int:
    """See the module's docstring; exit status 1 if a part failed or the trainings differ."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of all results")
    parser.add_argument("--dry_run", action="store_true", help="small shapes, on any device")
    options = parser.parse_args(argv)
    if not (options.dry_run or torch.cuda.is_available()):
        raise ConfigError("there is no GPU here; --dry_run runs all of it without one")
    check_folder("FOLDER", options.folder)
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    summary = check(folder, dry_run=options.dry_run)
    write_json(folder / "summary.json", summary)
    show(summary, folder)
    failed = any(part["ended"] != "exit status 0" for part in summary["parts"].values())
    return int(failed or summary["same_numbers_with_and_without_graph"] is False)


if __name__ == "__main__":
    sys.exit(main())
