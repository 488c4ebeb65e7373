# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Searches over options by Optuna, on this machine or in the tasks of a cluster."""
