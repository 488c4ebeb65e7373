# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive (two real states) recurrence: LIF, RLIF, adLIF, RadLIF, CadLIF and SiLIF."""
