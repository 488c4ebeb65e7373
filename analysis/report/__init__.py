# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a trained network does, on one page; see ``python -m analysis.report --help``."""
