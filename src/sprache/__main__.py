# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""``python -m sprache`` is what ``python main.py`` is in the repository."""

if __name__ == "__main__":
    import sys

    from sprache.main import main
    from sprache.parsers.start import start

    start()
    sys.exit(main())
