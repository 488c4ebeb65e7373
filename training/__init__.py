# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Training, testing and evaluating networks: from a configuration to an experiment folder."""
