# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Trained networks as files for other programs, and how closely these do what the networks do."""
