# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking read-out: a leaky integrator, alone or with its softmax summed over time."""
