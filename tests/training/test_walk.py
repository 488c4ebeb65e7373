# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How much of the program a reader has to walk through to the first step of the optimiser."""

import sys
from pathlib import Path

import pytest
import torch

import main

REPO = Path(__file__).resolve().parents[2]
MOST_FILES = 35  # of the whole program
MOST_OF_TRAINING = 12


class Arrived(BaseException):
    """The optimiser is asked for its first step."""


def arrive(*_):
    raise Arrived


def ours(frame) -> bool:
    return frame.f_code.co_filename.startswith(str(REPO))


def is_import(frame) -> bool:
    """Whether a module of ours is being imported."""
    while frame is not None and not (ours(frame) and frame.f_code.co_name == "<module>"):
        frame = frame.f_back
    return frame is not None


def test_few_files_are_executed_up_to_the_first_step(monkeypatch, tmp_path):
    """Files of which a function is called; what is called by an import, or makes kernels at their
    first use, is not walked through."""
    walked = set()

    def note(frame, event, _):
        if event == "call" and ours(frame) and not is_import(frame):
            walked.add(str(Path(frame.f_code.co_filename).relative_to(REPO)))

    monkeypatch.setattr(torch.optim.Adam, "step", arrive)
    options = ["--config=demo.yaml", "--debug", "--nb_hiddens", "16", "--nb_steps", "8"]
    for run in ("first", "second"):
        walked.clear()
        sys.setprofile(note)
        try:
            with pytest.raises(Arrived):
                main.main([*options, "--new_exp_folder", str(tmp_path / run)])
        finally:
            sys.setprofile(None)
    # Nor what other tests have brought: `sprache`, which finds its modules at every import.
    walked = {path for path in walked if not path.startswith(("tests/", "src/"))}
    assert len([path for path in walked if path.startswith("training/")]) <= MOST_OF_TRAINING
    assert len(walked) <= MOST_FILES, sorted(walked)
