# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Two one-sided tests of equivalence."""

import numpy as np
import pytest

from benchmarks.equivalence import equivalence

DRAW = np.random.default_rng(0).normal(0.8, 0.015, (2, 40))


def shifted(by: float) -> dict:
    """The test of draws whose means are ``by`` apart, within 0.01."""
    ours, reference = (x - x.mean() for x in DRAW)
    return equivalence(list(0.8 + by + ours), list(0.8 + reference), 0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_means_are_equivalent_and_distant_ones_are_not(sign):
    near, on, far = (shifted(sign * by) for by in (0.001, 0.01, 0.02))
    assert near["p"] < 0.05 < on["p"] < far["p"]
    assert on["p"] == pytest.approx(0.5)
    assert near["difference"] == pytest.approx(sign * 0.001)
    assert -0.01 < near["interval"][0] < sign * 0.001 < near["interval"][1] < 0.01
    assert far["welch_p"] < 0.001 < near["welch_p"]


def test_a_wide_spread_shows_nothing():
    few = equivalence(list(DRAW[0, :3]), list(DRAW[0, :3]), 0.01)
    assert few["difference"] == 0
    assert few["p"] > 0.05
