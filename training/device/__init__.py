# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where a run computes: the choice of device, CUDA graphs, and the watch for non-finite numbers."""
