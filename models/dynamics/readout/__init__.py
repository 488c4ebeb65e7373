# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking readout: a leaky integrator, alone or with its softmax summed over time."""
