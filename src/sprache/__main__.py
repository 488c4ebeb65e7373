# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""``python -m sprache`` is what ``python main.py`` is in the repository."""

import sys

from sprache.main import main
from sprache.parsers.start import start

if __name__ == "__main__":
    start()
    sys.exit(main())
