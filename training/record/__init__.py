# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a run writes down: its folder, checkpoints, summary and curves."""
