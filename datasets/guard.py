# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The first read of new HDF5 files, in a process whose death does not end the run.

The HDF5 library is written in C and trusts much of what it reads: a damaged or malicious file can
end the process, or never let go of it. So `datasets.files.check_new_files` starts this for files
that were never read to their end. What is wrong with one the reader itself says, which meets it
again.
"""

import sys
from pathlib import Path

from datasets.binning import read_annotations, read_clips
from datasets.errors import DataError

ANY_LABEL = 1 << 62


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
