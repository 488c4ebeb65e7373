# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The recurrences of the neurons, as pure functions: current and state in, spikes and state out."""

from sprache.models.dynamics import (
    AdaptiveState,
    BalancedState,
    ResonateState,
    adaptive,
    balanced,
    describe,
    resetting,
    resonate,
)

__all__ = [
    "AdaptiveState",
    "BalancedState",
    "ResonateState",
    "adaptive",
    "balanced",
    "describe",
    "resetting",
    "resonate",
]
