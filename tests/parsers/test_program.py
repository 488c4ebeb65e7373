# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How programs take numbers, look at where they will write, and end."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsers.options import ConfigError, UserError
from parsers.program import check_file, check_folder, numeric, run_command

REPO = Path(__file__).resolve().parents[2]


def test_numbers_within_limits_and_others():
    assert numeric(int, 1, 3)("3") == 3
    assert numeric(float, 0)("1e-3") == 0.001
    assert isinstance(numeric(int)("-7"), int)
    for convert, text, told in (
        (numeric(int, 1, 3), "4", "'4' is not a whole number from 1 to 3"),
        (numeric(int), "\N{ARABIC-INDIC DIGIT ONE}", "is not a whole number"),
        (numeric(float, 0), "-0.1", "'-0.1' is not a number from 0"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=told):
            convert(text)


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("work", "status", "told"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (lambda: fail(UserError("no\n  such thing")), 2, "tool: error: no such thing\n"),
        (
            lambda: fail(FileNotFoundError(2, "No such file", "a.h5")),
            2,
            "tool: error: No such file (a.h5)\n",
        ),
        (lambda: fail(KeyboardInterrupt), 130, "tool: interrupted\n"),
    ],
)
def test_how_a_program_ends(work, status, told, capsys):
    assert run_command("tool", work) == status
    assert capsys.readouterr().err == told


def test_a_reader_that_closes_the_pipe_is_no_error():
    code = "from parsers.program import run_command as r; r('tool', lambda: print('y\\n' * 10**6))"
    command = f'{sys.executable} -c "{code}" | head -1'
    done = subprocess.run(command, shell=True, cwd=REPO, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("y\n", "")


def test_a_mistake_keeps_its_status_where_nobody_reads():
    code = (
        "import sys; from parsers.program import refuse; sys.stdin.read(); "
        "print('said before'); sys.exit(refuse('tool', 'wrong'))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPO,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},  # else print fails
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.close()
    child.stdin.close()  # now it prints, to a pipe that is closed
    assert child.stderr.read() == "tool: error: wrong\n"
    assert child.wait(60) == 2


def test_unwritable_places_are_refused(tmp_path):
    file, locked = tmp_path / "file", tmp_path / "locked"
    file.write_text("")
    locked.mkdir()
    locked.chmod(0o555)
    check_folder("--out", tmp_path / "new" / "below")
    check_file("--out", tmp_path / "new" / "file")
    for folder, fault in ((file, "is a file"), (file / "x", "is a file"), (locked, "read-only")):
        with pytest.raises(ConfigError, match=rf"{fault}.* with --out"):
            check_folder("--out", folder)
    with pytest.raises(ConfigError, match="is a folder"):
        check_file("--out", tmp_path)
    with pytest.raises(ConfigError, match="read-only"):
        check_file("--out", locked / "file")
    assert sorted(tmp_path.iterdir()) == [file, locked]
