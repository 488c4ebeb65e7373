#!/usr/bin/env python
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Draw Figure 2, the eigenvalues of trained neurons; see ``--help``."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys

from analysis.figure2 import main

if __name__ == "__main__":
    sys.exit(main())
