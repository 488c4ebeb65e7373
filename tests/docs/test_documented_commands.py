# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every command in the documents is run, in a cheap form, or as far as it can be without a network.

Each is sorted by ``rule_of``; a command that no rule fits fails its test. Trainings run in this
process on a few clips, programs at least up to the point where their arguments are read.
"""

import argparse
import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from doc_pages import PAGES, REPO, commands, python_blocks

import main as program
from models.snns import SNN
from parsers.load import load_plan

sys.path.append(str(REPO / "tests" / "datasets"))
from shd_files import random_clips, write_spikes
from wav_files import write_words

COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
CHEAP = {"nb_epochs": 1, "nb_hiddens": 8, "batch_size": 4, "backend": "naive", "tracking": "none"}
BEYOND_THIS_TEST = {"sweep_name", "sweep_id", "only_createsweep", "gpu_device"}  # servers and GPUs
SBATCH = {"--partition", "--time", "--gres", "--cpus-per-task"}
RUN_FOR_REAL = {"training.results", "training.verify"}


class Parsed(BaseException):
    """A program has read its arguments."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with data, a finished run for RUN_FOLDER, and some in exp/test_exps."""
    folder = tmp_path_factory.mktemp("docs")
    spikes = folder / "spikes"
    spikes.mkdir()
    for name in ("shd_train", "shd_test", "ssc_train", "ssc_valid", "ssc_test"):
        contents = random_clips(24)
        contents["keys"] = np.array([b"down", b"left", b"up"])
        write_spikes(spikes / f"{name}.h5", contents)
    write_words(folder / "words", nb_clips=4)
    runs = folder / "exp" / "test_exps"
    train = ["--config=demo.yaml", "--model_type", "SiLIF", "LIF", "--seed", "1", "2"]
    data = {"dataset_name": "shd", "data_folder": spikes, "nb_steps": 10, "new_exp_folder": runs}
    assert program.main(with_options(train, CHEAP | data)) == 0
    run = next(path.parent for path in sorted(runs.rglob("summary.json")))
    shutil.copytree(run, folder / "my_run")
    authors = folder / "ref_SSC_SiLIF" / "checkpoints"
    authors.mkdir(parents=True)
    net = SNN((None, None, 140), [512, 512, 3], "SiLIF")
    torch.save(net.state_dict(), authors / "best_model.pth")
    return folder


def with_options(argv: list[str], options: dict) -> list[str]:
    """A command line on which these options have these values, whatever they had before."""
    kept, dropping = [], False
    for word in argv:
        if word.startswith("--"):
            dropping = word.removeprefix("--").split("=")[0] in options
        if not dropping:
            kept.append(word)
    return [*kept, *(f"--{name}={value}" for name, value in options.items())]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, place, tmp_path, monkeypatch):
    words = [fill(word, place) for word in shlex.split(as_shell_would(command))]
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words.pop(0)
    monkeypatch.chdir(place)
    rule_of(words)(words, place, tmp_path, monkeypatch)


def as_shell_would(command: str) -> str:
    """With ``$(seq ...)`` expanded."""

    def numbers(match: re.Match) -> str:
        return " ".join(map(str, range(int(match[1]), int(match[2]) + 1)))

    return re.sub(r"\$\(seq (\d+) (\d+)\)", numbers, command)


def fill(word: str, place: Path) -> str:
    """A word with its placeholder replaced by something that exists."""
    known = {
        "RUN_FOLDER": place / "my_run",
        "MY_RUN": place / "my_run",
        "RUN_FOLDER...": place / "my_run",
        "THAT_FILE": place / "my_run" / "config.yaml",
        "FOLDER": place / "words",
        "FOLDER_OF_WAVS": place / "words",
        "PATH": place / "spikes",
        "FSDD": place / "spikes",
        "TauLIF": "adLIF",
    }
    return str(known.get(word, word))


def rule_of(words: list[str]) -> Callable:
    """How a command is checked."""
    first, rest = words[0], words[1:]
    if first == "python":
        if rest[0] == "main.py":
            return check_main
        if rest[:2] == ["-m", "pytest"]:
            return check_pytest
        if rest[:2] == ["-m", "tests.emulated_cuda"]:
            return check_emulated
        if rest[0] == "-m":
            return check_module
        if rest[0].endswith(".py"):
            return check_script
    rules = {"pip": check_pip, "ruff": check_ruff, "wandb": check_wandb, "pytest": check_pytest}
    if first == "scripts/slurm_sweep.sh":
        return check_slurm
    assert first in rules, f"no rule checks this command: {shlex.join(words)}"
    return rules[first]


def check_main(words, place, tmp_path, monkeypatch) -> None:
    """Train, resume or test for real, unless it takes a server or GPUs."""
    argv = words[2:]
    if "--help" in argv:
        return prints_help(program.main, monkeypatch)
    options = load_plan(argv).points[0].training
    given = {word.split("=")[0].removeprefix("--") for word in argv}
    if not given & BEYOND_THIS_TEST:
        assert program.main(made_cheap(argv, options, place, tmp_path)) == 0


def made_cheap(argv: list[str], options, place: Path, tmp_path: Path) -> list[str]:
    """The command for a run of a second."""
    spikes = {"data_folder": place / "spikes"}
    if options.evaluate_pretrained:
        data = spikes if options.dataset_name == "ssc" else {}
        return with_options(argv, {"seed": 13, "new_exp_folder": tmp_path / "tested", **data})
    if "--resume" in argv and "auto" not in argv:
        return argv  # a finished run
    cheap = {**CHEAP, "new_exp_folder": tmp_path / "run"}
    if "--debug" not in argv:
        cheap |= {"jobs": 1, "seed": 1} if "--only_point" not in argv else {}
    if options.dataset_name == "sc":
        return with_options(argv, {**cheap, "data_folder": place / "words"})
    name = "shd" if options.dataset_name == "demo" else options.dataset_name
    return with_options(argv, {**cheap, **spikes, "dataset_name": name, "nb_steps": 10})


def prints_help(main: Callable, monkeypatch) -> None:
    """A program that is only named answers to --help."""
    with pytest.raises(SystemExit, match=r"^0$"):
        call(main, ["--help"], monkeypatch)


def call(main: Callable, argv: list[str], monkeypatch) -> int:
    """Call a program's main, which takes its arguments directly or from ``sys.argv``."""
    monkeypatch.setattr(sys, "argv", ["program", *argv])
    return main(argv) if inspect.signature(main).parameters else main()


def check_module(words, place, tmp_path, monkeypatch) -> None:
    """``python -m``: a program of ours, run or as far as its arguments."""
    name, argv = words[2], words[3:]
    module = importlib.import_module(name)
    if not hasattr(module, "main"):
        module = importlib.import_module(f"{name}.__main__")
    if not argv:
        prints_help(module.main, monkeypatch)
    elif name in RUN_FOR_REAL:
        argv += ["--overwrite"] if name == "training.results" else []
        assert module.main(argv) == 0
    else:
        reads_arguments(module.main, argv, monkeypatch)


def check_script(words, place, tmp_path, monkeypatch) -> None:
    """A script of the repository."""
    script = REPO / words[1]
    assert script.exists()
    if script.parent == REPO:
        reads_arguments(importlib.import_module(script.stem).main, words[2:], monkeypatch)


def reads_arguments(main: Callable, argv: list[str], monkeypatch) -> None:
    """Call a program's main up to the point where its arguments are known to be right."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *args, **options):
        parse(self, *args, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(Parsed):
        call(main, argv, monkeypatch)


def check_emulated(words, place, tmp_path, monkeypatch) -> None:
    """What is run on emulated devices is a command of its own."""
    assert importlib.util.find_spec("tests.emulated_cuda.__main__")
    inner = ["python", *words[3:]]
    rule_of(inner)(inner, place, tmp_path, monkeypatch)


def check_pytest(words, place, tmp_path, monkeypatch) -> None:
    """pytest knows the options, and the markers are declared."""
    argv = words[words.index("pytest") + 1 :]
    if "-m" in argv:
        marker = argv[argv.index("-m") + 1]
        assert f'"{marker}: ' in (REPO / "pyproject.toml").read_text(encoding="utf-8")
    ask = [sys.executable, "-m", "pytest", *argv, "--collect-only", "-q", "-p", "no:cacheprovider"]
    asked = subprocess.run([*ask, "tests/docs/test_links.py"], cwd=REPO, capture_output=True)
    assert asked.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def check_pip(words, place, tmp_path, monkeypatch) -> None:
    """The files exist, and the packages are those of the requirements, in their versions."""
    assert words[1] == "install"
    pinned = "".join(path.read_text(encoding="utf-8") for path in REPO.glob("requirements*.txt"))
    rest = iter(words[2:])
    for word in rest:
        if word == "-r":
            assert (REPO / next(rest)).exists()
        elif word == "--index-url":
            assert re.fullmatch(r"https://download\.pytorch\.org/whl/(cpu|cu\d{3})", next(rest))
        elif word != "--no-deps":
            assert re.search(rf"^{re.escape(word)}(==|\s|$)", pinned, re.M), word


def check_ruff(words, place, tmp_path, monkeypatch) -> None:
    """ruff has the sub-command."""
    subprocess.run(["ruff", words[1], "--help"], check=True, capture_output=True)


def check_wandb(words, place, tmp_path, monkeypatch) -> None:
    """wandb has the sub-command."""
    cli = pytest.importorskip("wandb.cli.cli").cli
    assert words[1] in cli.commands


def check_slurm(words, place, tmp_path, monkeypatch) -> None:
    """The real script, with a SLURM and a Python that note what they are given."""
    noted = tmp_path / "noted"
    for name, output in (("sbatch", "1"), ("python", "1\\tfolder")):
        fake = tmp_path / name
        note = f'printf "%s\\n" "$@" >> {noted}_{name}'
        fake.write_text(f'#!/bin/sh\n{note}\nprintf "{output}\\n"\n')
        fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOGS": str(tmp_path / "logs")}
    subprocess.run(["bash", *words], cwd=REPO, env=environment, check=True, capture_output=True)
    main, *argv = Path(f"{noted}_python").read_text(encoding="utf-8").splitlines()
    assert main == str(REPO / "main.py")
    load_plan(argv)
    taken = Path(f"{noted}_sbatch").read_text(encoding="utf-8").splitlines()
    for word in words[1 : next(i for i, w in enumerate(words) if w.endswith(".yaml"))]:
        if word.startswith("--") and word != "--wandb":
            assert word in taken
            assert word.split("=")[0] in SBATCH


def test_python_of_the_documentation(tmp_path, monkeypatch):
    """The blocks of docs/python-api.md, one after another as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reference_models").symlink_to(REPO / "reference_models")
    namespace = {}
    for block in python_blocks(REPO / "docs" / "python-api.md"):
        exec(compile(block, "docs/python-api.md", "exec"), namespace)
    assert namespace["status"] == 0
    assert namespace["accuracy"] > 0.8


@pytest.mark.parametrize(
    "wrong",
    [
        "python main.py --config=demo.yaml --no_such_option 1",
        "python -m training.no_such_module",
        "python -m training.results exp/test_exps --no_such_option",
        "pip install -r no_such_file.txt",
        "scripts/slurm_sweep.sh no_such_config.yaml",
        "pytest --no-such-option",
        "make all",
    ],
)
def test_a_command_that_does_not_work_is_noticed(wrong, place, tmp_path, monkeypatch):
    with pytest.raises((Exception, pytest.fail.Exception)):
        test_command(wrong, place, tmp_path, monkeypatch)
