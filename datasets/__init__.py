# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Readers of the spoken-word data sets. Importing the package itself loads nothing heavy."""
