# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every command in the documents is run, in a cheap form, or as far as it can be without a network.

`check` sorts them; a command that it does not know fails its test. Trainings run in this process on
a few clips, programs at least up to the point where their arguments are read.
"""

import argparse
import importlib
import inspect
import re
import shlex
import shutil
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
from tests.datasets.shd_files import random_clips, write_spikes
from tests.datasets.wav_files import write_words

COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
CHEAP = {"nb_epochs": 1, "nb_hiddens": 8, "batch_size": 4, "backend": "naive", "tracking": "none"}
BEYOND_THIS_TEST = {"sweep_name", "sweep_id", "only_createsweep", "gpu_device"}  # servers and GPUs
RUN_FOR_REAL = {"training.results", "training.verify"}


class Parsed(BaseException):
    """A program has read its arguments."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with data, a finished run for RUN_FOLDER, and some in exp/test_exps."""
    folder = tmp_path_factory.mktemp("docs")
    spikes = folder / "spikes"
    spikes.mkdir()
    contents = random_clips(24) | {"keys": np.array([b"down", b"left", b"up"])}
    for name in ("shd_train", "shd_test", "ssc_train", "ssc_valid", "ssc_test"):
        write_spikes(spikes / f"{name}.h5", contents)
    write_words(folder / "words", nb_clips=4)
    runs = folder / "exp" / "test_exps"
    train = ["--config=demo.yaml", "--model_type", "SiLIF", "LIF", "--seed", "1", "2"]
    data = {"dataset_name": "shd", "data_folder": spikes, "nb_steps": 10, "new_exp_folder": runs}
    assert program.main(with_options(train, CHEAP | data)) == 0
    shutil.copytree(min(runs.rglob("summary.json")).parent, folder / "my_run")
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


@pytest.fixture
def check(place, tmp_path, monkeypatch, pytestconfig) -> Callable[[list[str]], None]:
    """Check the words of one command, in the working directory ``place``."""
    monkeypatch.chdir(place)

    def call(main: Callable, argv: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["program", *argv])
        return main(argv) if inspect.signature(main).parameters else main()

    def reads_arguments(main: Callable, argv: list[str]) -> None:
        """A program that is only named answers to --help; others get as far as their arguments."""
        parse = argparse.ArgumentParser.parse_args

        def parse_and_stop(self, *args, **options):
            parse(self, *args, **options)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        with pytest.raises(Parsed if argv else SystemExit, match=r"^0?$"):
            call(main, argv or ["--help"])

    def check(words: list[str]) -> None:
        match words:
            case ["python", "main.py", "--help"]:
                reads_arguments(program.main, [])
            case ["python", "main.py", *argv]:
                check_training(argv, place, tmp_path)
            case ["pytest", *argv] | ["python", "-m", "pytest", *argv]:
                chosen = pytestconfig._parser.parse(argv)
                assert all((REPO / path).exists() for path in chosen.file_or_dir)
                markers = [line.split(":")[0] for line in pytestconfig.getini("markers")]
                assert not chosen.markexpr or chosen.markexpr in markers
            case ["python", "-m", "tests.emulated_cuda", *inner]:
                assert importlib.util.find_spec("tests.emulated_cuda.__main__")
                check(["python", *inner])
            case ["python", "-m", "tests.fuzz"]:
                assert importlib.util.find_spec("tests.fuzz")  # it needs atheris to be imported
            case ["python", "-m", name, *argv]:
                module = importlib.import_module(name)
                if not callable(getattr(module, "main", None)):
                    module = importlib.import_module(f"{name}.__main__")
                if argv and name in RUN_FOR_REAL:
                    argv += ["--overwrite"] if name == "training.results" else []
                    assert module.main(argv) == 0
                else:
                    reads_arguments(module.main, argv)
            case ["python", script, *argv]:
                assert (REPO / script).exists()
                if "/" not in script:
                    reads_arguments(importlib.import_module(Path(script).stem).main, argv)
            case ["pip", "install", *_, source] if source.partition("[")[0] == ".":
                pass  # as in tests/package
            case ["pip", "install", *rest]:
                check_packages(rest)
            case ["mkdocs" | "pyright", *_]:
                pass  # as in .ci/run
            case ["ruff", "format" | "check", "."]:
                pass  # as in .ci/run
            case ["wandb", command, *_]:
                assert command in pytest.importorskip("wandb.cli.cli").cli.commands
            case ["scripts/slurm_sweep.sh", *rest]:
                config = next(i for i, word in enumerate(rest) if word.endswith(".yaml"))
                load_plan([f"--config={rest[config]}", *rest[config + 1 :]])
            case _:
                pytest.fail(f"no rule checks this command: {shlex.join(words)}")

    return check


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, check, place):
    check(words_of(command, place))


def words_of(command: str, place: Path) -> list[str]:
    """A command without variables of the environment, its placeholders replaced by what exists."""
    known = {
        **dict.fromkeys(("RUN_FOLDER", "RUN_FOLDER...", "MY_RUN"), place / "my_run"),
        **dict.fromkeys(("FOLDER", "FOLDER_OF_WAVS"), place / "words"),
        **dict.fromkeys(("PATH", "FSDD"), place / "spikes"),
        "THAT_FILE": place / "my_run" / "config.yaml",
        "TauLIF": "adLIF",
    }
    command = re.sub(r"\$\(seq (\d+) (\d+)\)", r"\1 \2", re.sub(r"^([A-Z_]+=\S+ )+", "", command))
    return [str(known.get(word, word)) for word in shlex.split(command)]


def check_training(argv: list[str], place: Path, tmp_path: Path) -> None:
    """Train, resume or test for real in about a second, unless it takes a server or GPUs."""
    plan = load_plan(argv)
    options = plan.points[0].training
    cheap = {**CHEAP, "new_exp_folder": tmp_path / "run", "data_folder": place / "spikes"}
    if {word.split("=")[0].removeprefix("--") for word in argv} & BEYOND_THIS_TEST:
        return
    if options.evaluate_pretrained:
        cheap = {"seed": 13, "new_exp_folder": tmp_path / "tested"}
        cheap |= {"data_folder": place / "spikes"} if options.dataset_name == "ssc" else {}
    elif "--resume" in argv and "auto" not in argv:
        cheap = {}  # a finished run
    else:
        cheap |= {} if {"--debug", "--only_point"} & {*argv} else {"jobs": 1, "seed": 1}
        cheap |= {"only_point": 1} if plan.search else {}
        if options.dataset_name == "sc":
            cheap |= {"data_folder": place / "words"}
        else:
            cheap |= {"dataset_name": options.dataset_name.replace("demo", "shd"), "nb_steps": 10}
    assert program.main(with_options(argv, cheap)) == 0


def check_packages(words: list[str]) -> None:
    """The files exist, and the packages are those of the requirements, in their versions."""
    pinned = "".join(path.read_text(encoding="utf-8") for path in REPO.glob("requirements*.txt"))
    rest = iter(words)
    for word in rest:
        if word == "-r":
            assert (REPO / next(rest)).exists()
        elif word == "--index-url":
            assert re.fullmatch(r"https://download\.pytorch\.org/whl/(cpu|cu\d{3})", next(rest))
        elif word != "--no-deps":
            assert re.search(rf"^{re.escape(word)}(==|\s|$)", pinned, re.M), word


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
        "python -m training.results exp/test_exps --no_such_option",
        "pip install -r no_such_file.txt",
        "make all",
    ],
)
def test_a_command_that_does_not_work_is_noticed(wrong, check, place):
    with pytest.raises((Exception, pytest.fail.Exception)):
        check(words_of(wrong, place))
