# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The first read of new HDF5 files, in a process whose death does not end the run.

The HDF5 library is written in C and trusts much of what it reads: a damaged or malicious file can
kill the process, or hang it. So files that were never read to their end are first read in a child
process, which may take little more memory than a file of that size can fill. Any other fault is
reported by the reader, which meets it again.
"""

import faulthandler
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.binning import read_annotations, read_class_names, read_clips, read_nb_channels
from datasets.errors import DataError
from datasets.files import known_sum, progress

PLACE = Path(__file__).resolve().parents[__name__.count(".")]  # from where it is imported
PATIENCE = (30.0, 300.0)  # s without a sign of life, for small files and at most
BYTES_PER_SECOND = 1e6  # that the slowest disk gives
ANY_LABEL = 1 << 62
ROOM, ROOM_PER_BYTE = 1 << 30, 16  # bytes of memory for any file, and for each byte of it
NO_MEMORY = 3  # exit status


def check_new_files(paths: Iterable[Path], patience: float | None = None) -> None:
    """Read files in the SHD layout in a child process, except those with a checksum on record.

    ``patience`` is how many seconds the child may take for ``CHUNK_CLIPS`` clips; None: by the size
    of the files. Raises DataError where the HDF5 library dies of a file, hangs, or asks for more
    memory than the file can fill.
    """
    new = [path for path in paths if known_sum(path) is None]
    if not new:
        return
    if patience is None:
        size = max(path.stat().st_size for path in new)
        patience = min(PATIENCE[0] + size / BYTES_PER_SECOND, PATIENCE[1])
    command = [sys.executable, "-m", __name__, str(patience)]
    command += [str(path.absolute()) for path in new]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen(command, cwd=PLACE, text=True, **pipes) as child,
        progress("checking", 0, " clips") as bar,
    ):
        current = new[0]
        try:
            for line in child.stdout:
                number, bar.n, bar.total = map(int, line.split())
                current = new[number]
                bar.set_description(f"checking {current.name}")
        except BaseException:
            child.kill()
            raise
    if status := child.returncode:
        what = "wants more memory than it can fill" if status == NO_MEMORY else "hangs reading it"
        if status < 0:
            what = f"dies reading it ({signal.strsignal(-status)})"
        raise DataError(f"{current} is damaged: the HDF5 library {what}; download it again")


def main(patience: str, *paths: str) -> None:
    """Read files to their end, and end with exit status 1 after ``patience`` s without progress."""
    for number, path in enumerate(map(Path, paths)):
        faulthandler.dump_traceback_later(float(patience), exit=True)
        _limit_memory(path.stat().st_size)
        print(number, 0, 1, flush=True)
        total = 1
        with _met_again():
            read_class_names(path)
        with _met_again():
            read_nb_channels(path)
        with _met_again():
            total = len(read_annotations(path, ANY_LABEL).labels)
        with _met_again():
            for start, _, _ in read_clips(path):
                faulthandler.dump_traceback_later(float(patience), exit=True)
                print(number, start, total, flush=True)
    faulthandler.cancel_dump_traceback_later()


@contextmanager
def _met_again() -> Iterator[None]:
    """Ignore faults, which the reader meets again and reports, but for a lack of memory."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            sys.exit(NO_MEMORY)


def _limit_memory(size: int) -> None:
    """Let this process grow by what a file of ``size`` bytes may need, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM + ROOM_PER_BYTE * size
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):  # no Linux, or a lower limit is in force
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
