# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking and non-spiking networks for speech, and the recurrences they are made of."""
