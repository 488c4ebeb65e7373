# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Measurements behind every statement about speed; see ``python -m benchmarks.dynamics --help``."""

import os

# As in main.py, and for the same reason; PyTorch reads it when it is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
