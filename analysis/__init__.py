# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What trained networks do: eigenvalues of their neurons, operations, figures."""
