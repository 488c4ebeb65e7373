#!/usr/bin/env python
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Draw what is ours of Figure 3, accuracy against synaptic operations; see ``--help``."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys

from analysis.figure3 import main

if __name__ == "__main__":
    sys.exit(main())
