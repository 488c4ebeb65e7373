# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A trained network that listens to a microphone; see ``python -m analysis.listen --help``."""
