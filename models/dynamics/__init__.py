# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The functional core: every loop over time of this project lives below this package.

Each recurrence is one pure function, state in and state out, with one implementation per back end.
``naive`` is the executable specification that all others are tested against.
"""

from models.dynamics.adaptive import AdaptiveState, adaptive
from models.dynamics.backends import BACKENDS
from models.dynamics.fold import Fold
from models.dynamics.readout import potentials, readout
from models.dynamics.recurrent import gru, ligru, rnn, summed
from models.dynamics.resonate import ResonateState, resonate

__all__ = [
    "BACKENDS",
    "AdaptiveState",
    "Fold",
    "ResonateState",
    "adaptive",
    "gru",
    "ligru",
    "potentials",
    "readout",
    "resonate",
    "rnn",
    "summed",
]
