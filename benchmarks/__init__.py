# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Measurements behind every statement about speed; see ``python -m benchmarks.dynamics --help``."""
