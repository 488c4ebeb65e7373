# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Meet the option --made_up everywhere; run beside a copy of parsers/ that declares it."""

import contextlib
import io
from pathlib import Path

import yaml

import main
from parsers.load import load_plan
from training.results.__main__ import main as results
from training.tracking.wandb_sweep import describe

RUN = "--dataset_name demo --nb_epochs 1 --nb_hiddens 4 --nb_steps 4 --seed 1 "
RUN += "--tracking none --backend naive"
HELP = (
    "--made_up FLOAT ... an option that nothing uses [>= 0; for audio (sc, hd); default: 0.5] "
    "(several values = grid)"
)


def printed(command, *arguments):
    """All that a command prints, its words one space apart."""
    text, leaves = io.StringIO(), contextlib.suppress(SystemExit)
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), leaves:
        command(list(arguments))
    return " ".join(text.getvalue().split())


def expect(part, text):
    """Fail with all of a text that lacks a part."""
    assert part in text, text


run = [*RUN.split(), "--new_exp_folder", "out", "--made_up"]
expect(HELP, printed(main.main, "--help"))
expect("--made_up: -1.0 is out of range; it must be >= 0", printed(main.main, *run, "-1"))
expect("--made_up has no effect here: it is for audio", printed(main.main, *run, "1", "2"))
folders = sorted(Path("out").glob("*_made_up*"))
recorded = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders]
assert [values["made_up"] for values in recorded] == [1, 2]
resume = [*RUN.split(), "--resume", "auto", "--new_exp_folder", str(folders[0]), "--made_up", "3"]
expect("it was started with made_up 1.0, not 3.0", printed(main.main, *resume))
assert describe(load_plan([*run, "1", "2"]))["parameters"]["made_up"] == {"values": [1, 2]}
expect("made_up", printed(results, "out"))
