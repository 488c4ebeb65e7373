# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Command lines of main.py."""


def arguments(**options) -> list[str]:
    """``nb_hiddens=8`` becomes ``["--nb_hiddens", "8"]``; a list gives several values."""
    argv = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *map(str, values)]
    return argv
