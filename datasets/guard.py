# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A first look at new HDF5 files in another process, whose death does not end this one.

The HDF5 library is written in C and trusts much of what it reads: a damaged or malicious file can
end the process, or never let go of it. So a file that was never read to its end before is read in a
child process first. What the child finds wrong is told by the reader itself, which meets it again.
"""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from datasets.binning import read_annotations, read_clips
from datasets.checksums import known_sum
from datasets.errors import DataError

REPO = Path(__file__).resolve().parents[1]
PATIENCE = (30.0, 300.0)  # s without a sign of life, for small files and at most
BYTES_PER_SECOND = 1e6  # that the slowest disk gives
ANY_LABEL = 1 << 62


def check_new_files(paths: Iterable[Path], patience: float | None = None) -> None:
    """Read files in the SHD layout in a child process, unless they were read before.

    Args:
        paths: the files; those with a checksum on record (`datasets.checksums`) are passed over.
        patience: seconds that the child may take for ``CHUNK_CLIPS`` clips; None: by their size.

    Raises:
        DataError: the HDF5 library dies of a file, or hangs.
    """
    new = [path for path in paths if known_sum(path) is None]
    if not new:
        return
    if patience is None:
        size = max(path.stat().st_size for path in new)
        patience = min(PATIENCE[0] + size / BYTES_PER_SECOND, PATIENCE[1])
    command = [sys.executable, "-m", "datasets.guard", *(str(path.absolute()) for path in new)]
    with subprocess.Popen(
        command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            last = _watch(child, new, patience)
        except BaseException:
            child.kill()
            raise
    if child.returncode < 0:
        cause = signal.strsignal(-child.returncode)
        raise DataError(
            f"{last} is damaged: the HDF5 library dies reading it ({cause}); download it again"
        )


def _watch(child: subprocess.Popen, paths: list[Path], patience: float) -> Path:
    """Show how far the child is, until it ends; the file it read last.

    Raises DataError if the child is silent for too long.
    """
    lines: queue.Queue[str] = queue.Queue()

    def pass_on() -> None:
        with suppress(ValueError):  # closed while it waited
            for line in child.stdout:
                lines.put(line)
        lines.put("")

    threading.Thread(target=pass_on, daemon=True).start()
    current = paths[0]
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(unit=" clips", leave=False, disable=None) as bar:
        try:
            while line := lines.get(timeout=patience):
                number, bar.n, bar.total = map(int, line.split())
                current = paths[number]
                bar.set_description(f"checking {current.name}")
        except queue.Empty:
            raise DataError(
                f"{current} is damaged: the HDF5 library hangs reading it; download it again"
            ) from None
    return current


def main(paths: list[Path]) -> int:
    """Read files to their end; the exit status: 1 for a fault that the reader itself will tell."""
    for number, path in enumerate(paths):
        print(number, 0, 1, flush=True)
        try:
            total = len(read_annotations(path, ANY_LABEL).labels)
            for start, _, _ in read_clips(path):
                print(number, start, total, flush=True)
        except (DataError, MemoryError):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
