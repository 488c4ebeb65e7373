# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Python imports this when it starts, if this folder is on ``PYTHONPATH``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
from tests.emulated_cuda import emulate

emulate()
