# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""``python -m analysis.export``, by the name that it had when it wrote NIR graphs alone."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys
from collections.abc import Sequence

from analysis.export import export, read_arguments
from parsers.program import program

PROGRAM = "analysis.export_nir"


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Export, check, and print what was found."""
    export(read_arguments(argv, PROGRAM))


if __name__ == "__main__":
    sys.exit(main())
