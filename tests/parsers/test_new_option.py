# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One declaration is all that a new option needs."""

import contextlib
import io
import os
import shutil
import subprocess
import sys

import pytest

from parsers.load import REPOSITORY, load_plan

LAST = "    only_createsweep: bool"
DECLARATION = """\
    made_up: float = schedule(
        0.5, within=">= 0", needs=AUDIO, help="an option that nothing uses"
    )
"""
HELP = (
    "--made_up FLOAT ... an option that nothing uses [>= 0; for audio (hd, sc); default: 0.5] "
    "(several values = grid)"
)


def test_an_option_is_added_in_one_place(tmp_path):
    path = shutil.copytree(REPOSITORY / "parsers", tmp_path / "parsers") / "training_config.py"
    text = path.read_text()
    assert text.count(LAST) == 1
    path.write_text(text.replace(LAST, DECLARATION + LAST))
    done = subprocess.run(
        [sys.executable, __file__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def printed(command, *arguments):
    """All that a command prints, its words one space apart."""
    text, leaves = io.StringIO(), contextlib.suppress(SystemExit)
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), leaves:
        command(list(arguments))
    return " ".join(text.getvalue().split())


def meet_the_option():
    """Look for --made_up everywhere, in a process whose parsers declare it."""
    import main
    from training.errors import ExperimentError
    from training.record import files
    from training.results.__main__ import main as results
    from training.tracking.wandb_sweep import describe

    assert HELP in printed(main.main, "--help")
    assert "--made_up: -1.0 is out of range; it must be >= 0" in printed(
        main.main, "--made_up", "-1"
    )
    grid = ["--seed", "1", "--new_exp_folder", "out", "--made_up", "1", "2"]
    plan = load_plan(grid)
    assert plan.notes == ("--made_up has no effect here: it is for audio (hd, sc)",)
    for point, folder in zip(plan.points, files.run_folders(plan), strict=True):
        files.create(folder, point.to_dict(), {})
        assert f"made_up: {point.training.made_up}\n" in (folder / "config.yaml").read_text()
        with pytest.raises(ExperimentError, match=r"was started with made_up \d.0, not 3"):
            files.check_same_options(folder, {**point.to_dict(), "made_up": 3.0})
    assert describe(plan)["parameters"]["made_up"] == {"values": [1, 2]}
    assert "made_up" in printed(results, "out").split(" acc:")[0]


if __name__ == "__main__":
    meet_the_option()
