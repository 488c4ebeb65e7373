# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrences of the non-spiking comparisons: RNN, Li-GRU and GRU."""

from models.dynamics.recurrent.naive import gru, ligru, rnn, summed

__all__ = ["gru", "ligru", "rnn", "summed"]
