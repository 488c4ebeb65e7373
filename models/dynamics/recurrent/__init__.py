# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrences of the non-spiking comparisons: RNN, Li-GRU and GRU."""
