# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate (one complex state) recurrence: C-SiLIF and Resonate-and-Fire."""
