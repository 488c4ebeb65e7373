# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every program does before its imports: environment, standard streams, Ctrl-C."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parsers.program import deaf_children

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path.relative_to(REPO).as_posix()
    for folder in (".", "analysis", "benchmarks", "datasets", "training")
    for path in (REPO / folder).glob("*.py" if folder == "." else "**/*.py")
    if "sys.exit(main())" in path.read_text(encoding="utf-8")
)
BEGIN = "import os, sys; from parsers.start import start; start();"
RUN = f"{BEGIN} from parsers.program import run_command as run;"


def shell(code: str, around: str = '"$@"', **environment) -> subprocess.CompletedProcess:
    """Run Python code by a line of the shell in which "$@" is the command."""
    command = ["sh", "-c", around, "sh", sys.executable, "-c", code]
    return subprocess.run(command, cwd=REPO, env=os.environ | environment, capture_output=True)


def test_letters_that_no_font_has_are_no_lines_on_the_terminal():
    draw = "from matplotlib.figure import Figure; f = Figure(); f.text(0, 0, '\\u306f');"
    done = shell(f"{BEGIN} {draw} f.savefig(os.devnull, format='png')")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_begins_with_it(program):
    _, first, *_ = ast.parse((REPO / program).read_text(encoding="utf-8")).body
    assert ast.unparse(first) == (
        "if __name__ == '__main__':\n    from parsers.start import start\n    start()"
    )


def test_a_notebooks_environment_is_not_taken_over():
    code = f"{BEGIN} import matplotlib; print(matplotlib.get_backend(), os.environ[{{!r}}])"
    environment = {"MPLBACKEND": "module://not_installed.backend"}
    environment["GOMP_SPINCOUNT"] = "7"
    done = shell(code.format("GOMP_SPINCOUNT"), **environment)
    assert done.stdout.split() == [b"agg", b"7"], done.stderr
    done = shell(code.format("GOMP_SPINCOUNT"), 'unset GOMP_SPINCOUNT; "$@"', **environment)
    assert done.stdout.split() == [b"agg", b"1000"]


@pytest.mark.parametrize("own", [None, "mine"])
def test_without_a_home_caches_go_to_a_folder_of_the_user(tmp_path, own):
    code = f"{BEGIN} print(os.environ['XDG_CACHE_HOME'])"
    set_own = f"export XDG_CACHE_HOME={own}" if own else "unset XDG_CACHE_HOME"
    done = shell(code, f'{set_own}; "$@"', HOME="/nowhere", TMPDIR=str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert done.stdout.decode().strip() == (own or str(folder)), done.stderr


def test_what_cannot_be_printed_is_replaced():
    done = shell(f"{BEGIN} print('日本 ±', os.fsdecode(b'\\xfc'))", PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stdout.split()) == (0, [b"??", b"\xb1", b"?"]), done.stderr


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_take_no_file_with_them(closed, tmp_path):
    """A library that prints must not print into the file that was opened next."""
    code = f"{RUN} file = open({str(tmp_path / 'file')!r}, 'w'); os.write(1, b'1'); "
    code += "os.write(2, b'2'); sys.exit(run('tool', lambda: print(3, sys.stderr.isatty())))"
    assert shell(code, f'"$@" {closed}').returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(("needs_output", "status"), [(True, 1), (False, 0)])
def test_a_full_disk_under_the_output_ends_no_work(needs_output, status):
    work = "lambda: (print('a', flush=True), print('b', file=sys.stderr)) and None"
    code = f"{RUN} sys.exit(run('tool', {work}, needs_output={needs_output}))"
    done = shell(code, '"$@" >/dev/full')
    assert done.returncode == status
    told = b"tool: standard output is incomplete (No space left on device)\n"
    assert done.stderr == b"b\n" + told * needs_output
    assert shell(code, '"$@" >/dev/full 2>/dev/full').returncode == status


def test_ctrl_c_among_the_imports_is_one_line(tmp_path):
    (tmp_path / "yaml.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    for command, name in (["main.py"], "main.py"), (["-m", "training.results"], "training.results"):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=REPO,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (130, f"{name}: interrupted\n")


def test_a_working_directory_that_is_gone_is_one_line(tmp_path):
    around = f'mkdir "{tmp_path}/gone"; cd "{tmp_path}/gone"; rmdir "{tmp_path}/gone"; exec "$@"'
    command = ["sh", "-c", around, "sh", sys.executable, str(REPO / "main.py"), "--debug"]
    done = subprocess.run(command, capture_output=True, text=True)
    line = "main.py: error: the working directory is gone: cd to one that exists\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_ctrl_c_is_the_parents_where_children_work():
    child = [sys.executable, "-c", "import os; os.kill(os.getpid(), 2); print('on')"]
    before = signal.getsignal(signal.SIGINT)
    with deaf_children():
        done = subprocess.run(child, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"on\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_work_is_left_to_the_program():
    work = "lambda: os.kill(os.getpid(), 2)"
    done = shell(f"{RUN} sys.exit(run('tool', {work}, 'all is kept'))")
    assert (done.returncode, done.stderr) == (130, b"tool: all is kept\n")
