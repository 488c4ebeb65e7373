# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user can get wrong with the programs beside main.py: one line each, status 2."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from refusal import SMALL, snapshot

from parsers import start

REPO = Path(__file__).resolve().parents[1]
# What is typed, and what the line must name. In the folder lie `file`, which is no folder and no
# run, and `empty`, a folder.
PLACES = [("nowhere", "nowhere"), ("file", "file"), ("empty", "empty")]
OUT = [("--out empty", "empty is a folder"), ("--out file/out.json", "file")]
MODELS = [(f"--models {typed}", named) for typed, named in PLACES]
PICTURES = [("--format gif", "'gif'"), ("--output file", "file")]
MISTAKES = {
    "training.verify": [
        *PLACES,
        ("", "EXP_FOLDER"),
        ("empty", "empty is not an experiment folder"),
        ("empty --gpu_device one", "--gpu_device: 'one' is not a whole number from 0"),
        ("empty --gpu_device 63", "--gpu_device 63"),
    ],
    "training.diverged": [*PLACES, ("", "EXP_FOLDER")],
    "training.results.__main__": [
        *PLACES,
        ("", "FOLDER"),
        ("empty --markdown file/below.md", "file"),
        ("empty --csv empty", "empty is a folder"),
        ("empty --curves curves.gif", ".png"),
        ("empty --ignore lrr", "lrr"),
    ],
    "datasets.download": [
        ("", "name"),
        ("mnist", "'mnist'"),
        ("shd --retries -1", "--retries: '-1' is not a whole number from 0"),
        ("shd --timeout soon", "--timeout: 'soon' is not a number"),
        ("shd --timeout nan", "--timeout: 'nan' is not a number"),
        ("shd --to file", "file"),
    ],
    "datasets.preview.__main__": [
        ("--data-folder here", "--data-folder here; did you mean '--data_folder'?"),
        ("--use_augm", "--use_augm: expected one argument, True|False; see --help"),
        ("--dataset_name mnist", "'mnist'"),
        ("--clips 0", "--clips: '0' is not a whole number from 1 to 48"),
        ("--clips 1_0", "--clips: '1_0' is not a whole number from 1 to 48"),
        ("--data_folder nowhere", "nowhere"),
        ("--out file", "file is a file"),
        ("--out file/below --dataset_name demo", "nothing can be written to file/below"),
        ("--overwrite=yes", "--overwrite: takes no value, but got 'yes'"),
    ],
    "datasets.cochlea": [
        ("", "folder, out"),
        ("nowhere out.h5", "no folder nowhere"),
        ("file out.h5", "file is a file: name the folder"),
        ("empty out.h5", "no WAV, FLAC, MP3 or Ogg files"),
        ("empty file/out.h5", "file is a file"),
    ],
    "datasets.demo.make": [
        ("--out", "--out: expected one argument"),
        ("--out nowhere", "nowhere"),
        ("--out file", "file"),
    ],
    "datasets.demo.readout": [("file", "file")],
    "analysis.predict.__main__": [
        ("", "RUN, FILE_OR_FOLDER"),
        ("demo_LIF", "FILE_OR_FOLDER"),
        *((f"demo_LIF {typed}", named) for typed, named in PLACES),
        ("demo_LIF empty --csv file", "must end in .csv"),
        ("demo_LIF empty --pictures file", "file is a file"),
        ("demo_LIF empty --hop 0", "--hop: '0' is not a number from 0.01"),
    ],
    "analysis.listen.__main__": [
        ("", "RUN"),
        *PLACES,
        ("demo_LIF --file nofile.wav", "nofile.wav does not exist"),
        ("demo_LIF --hop 0", "--hop: '0' is not a number from 0.01"),
    ],
    "analysis.search": [
        ("", "FOLDER"),
        ("nowhere", "nowhere is not the folder of a search"),
        ("empty", "empty is not the folder of a search"),
    ],
    "analysis.report.__main__": [
        *PLACES,
        ("", "EXP_FOLDER"),
        ("demo_LIF --neurons 3", "--neurons: '3' is not LAYER:N"),
        ("demo_LIF --output file", "file"),
    ],
    "analysis.neurobench": [
        *PLACES,
        ("", "EXP_FOLDER"),
        ("demo_LIF --output empty", "empty is a folder"),
        ("demo_LIF --output file/below", "file"),
    ],
    "analysis.export": [
        *((f"{typed} net.pt2", named) for typed, named in PLACES),
        ("empty", "FILE"),
        ("demo_LIF file", "file must end in one of .onnx, .pt2, .c, .h, .nir"),
        ("demo_LIF file/net.c", "no folder"),
        ("demo_LIF net.c --weight_bits 1", "--weight_bits: '1' is not a whole number from 2 to 8"),
        ("demo_LIF net.c --fraction_bits 16", "--fraction_bits: '16'"),
        ("demo_LIF net.c --discretization exact", "is for .nir files, not for .c"),
        ("demo_LIF net.nir --fraction_bits 11", "the states of a NIR graph are real numbers"),
    ],
    "analysis.quantize": [
        *PLACES,
        ("", "EXP_FOLDER"),
        ("demo_LIF --weight_bits 9", "--weight_bits: '9' is not a whole number from 2 to 8"),
        ("demo_LIF --output empty", "empty is a folder"),
        ("demo_LIF --output file/below", "file"),
    ],
    "analysis.figure2": [
        *MODELS,
        *PICTURES,
        ("--layer 0", "--layer: '0' is not a whole number from 1"),
    ],
    "analysis.figure3": [
        *MODELS,
        *PICTURES,
        ("--seeds 1.5", "--seeds: '1.5' is not a whole number from 0"),
    ],
    "analysis.main_figure": [*PICTURES, ("file", "unrecognized arguments: file")],
    "analysis.reference_models": [("demo_GRU", "demo_GRU is not one of")],
    "benchmarks.dynamics": [*OUT, ("--threads many", "'many'")],
    "benchmarks.peers": [
        *OUT,
        ("--threads many", "'many'"),
        ("--published empty", "empty is not a Python file"),
        ("--published file", "file is not a Python file"),
    ],
    "benchmarks.features": OUT,
    "benchmarks.tracking": OUT,
    "benchmarks.streaming": [*OUT, ("--threads many", "'many'")],
    "benchmarks.train": [
        *OUT,
        ("--cases SSC", "'SSC'"),
        ("--scale 0", "--scale: '0' is not a number from 0.001"),
    ],
    "benchmarks.gpu_check": [
        ("", "FOLDER"),
        ("file --dry_run", "file is a file"),
        ("file/below --dry_run", "nothing can be written to file/below"),
    ],
    "benchmarks.delays": [*OUT, ("--threads many", "'many'")],
    "benchmarks.baselines": [
        *OUT,
        ("--networks GRU", "'GRU'"),
        ("--data_folder nowhere", "nowhere is not a folder"),
    ],
    "benchmarks.mechanisms": [
        ("", "FOLDER"),
        ("nowhere", "nowhere is not a folder"),
        ("empty --neurons GRU", "'GRU'"),
    ],
    "benchmarks.state_space": OUT,
    "benchmarks.shares": [*OUT, ("--cases SSC", "'SSC'")],
    "benchmarks.start": [*OUT, ("--rounds 0", "--rounds: '0'")],
    "benchmarks.equivalence": [
        ("", "FOLDER"),
        ("nowhere", "nowhere is not a folder"),
        ("empty --seeds 1", "--seeds: a test needs two or more"),
        ("empty --margin 0", "--margin: '0' is not a number from 0.01"),
        *((f"empty {typed}", named) for typed, named in OUT),
    ],
    "benchmarks.precision": [
        *OUT,
        ("--seeds one", "--seeds: 'one' is not a whole number from 0"),
        ("--precisions fp32 fp8", "'fp8'"),
        ("--data_folder nowhere", "nowhere"),
    ],
}


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_training_on_spikes_needs_no_audio_files_no_wandb_and_no_output(
    closed, sound_data, tmp_path
):
    """Machines of computing centres may lack the libraries, and a job may have no terminal."""
    lacking = "import sys; sys.modules.update(soundfile=None, wandb=None)"
    argv = [*SMALL, f"--data_folder={sound_data}", f"--new_exp_folder={tmp_path / 'run'}"]
    begin = "from parsers.start import start; start()"  # as main.py does
    script = f"{begin}; {lacking}; import main; sys.exit(main.main({argv}))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("module", MISTAKES)
def test_a_mistake_is_reported_in_one_line(module, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = snapshot(tmp_path)
    program = importlib.import_module(module)
    capfd.readouterr()
    for typed, named in [*MISTAKES[module], ("--colour", "")]:
        assert program.main(typed.split()) == 2, typed
        line = capfd.readouterr().err
        if "is not installed" in line:
            pytest.skip(line)
        assert line.startswith(f"{program.PROGRAM}: error: "), line
        assert line.count("\n") == 1, line
        assert named in line
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("program", ["main.py", "figure2_eigenvalues.py", "datasets/download.py"])
def test_from_the_shell(program, monkeypatch, capfd):
    """Neither a usage nor a traceback reaches the terminal, and --help answers."""

    monkeypatch.setattr(start, "start", lambda: None)

    def status_of(*argv):
        monkeypatch.setattr(sys, "argv", [program, *argv])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPO / program), run_name="__main__")
        return ended.value.code, *capfd.readouterr()

    status, out, err = status_of("shd", "--colour")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert program == "main.py" or err.endswith("--colour; see --help\n")
    status, out, err = status_of("--help")
    assert (status or 0, err) == (0, "")
    assert "usage: " in out.lower()


def test_every_program_is_tested():
    programs = {
        ".".join(path.relative_to(REPO).with_suffix("").parts)
        for folder in ("analysis", "benchmarks", "datasets", "training")
        for path in (REPO / folder).rglob("*.py")
        if "Parser(" in path.read_text(encoding="utf-8")
    }
    assert programs == set(MISTAKES)
