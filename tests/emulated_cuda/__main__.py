# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""``python -m tests.emulated_cuda ARGUMENTS``: ``python ARGUMENTS`` with emulated devices."""

import os
import sys
from pathlib import Path

from tests.emulated_cuda import CannotEmulateError, built

HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    """In which every Python that is started has emulated devices, see ``site/sitecustomize.py``.

    One thread, as the CPU's products on several are rounded in another order from call to call.
    """
    paths = [str(HERE / "site"), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    mark = {"SPRACHE_EMULATES_CUDA": "1"}
    return {"OMP_NUM_THREADS": "1", **os.environ, **mark, "PYTHONPATH": path}


def main() -> int:
    """Becomes that Python; 2 where there can be no emulated devices."""
    try:
        built()
    except CannotEmulateError as error:
        print(f"No devices can be emulated here: {error}", file=sys.stderr)
        return 2
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment())


if __name__ == "__main__":
    sys.exit(main())
