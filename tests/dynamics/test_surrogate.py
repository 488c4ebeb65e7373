# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The surrogates' formulas."""

import math

import pytest
import torch

from models.surrogate import Surrogate, spike, surrogate

PEAKS = {  # at the threshold, of the default width
    "boxcar": 1, "triangle": 1, "atan": 1, "slayer": 1, "gaussian": 0.79788456,
    "double_gaussian": 0.43883651, "multi_gaussian": 0.87822327,
}  # fmt: skip


def derivative(x, which):
    x = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    spike(x, which).backward()
    return x.grad.item()


@pytest.mark.parametrize("name", PEAKS)
def test_surrogates_are_even_and_published_at_their_default_width(name):
    which = surrogate(name)
    assert derivative(0, which) == pytest.approx(PEAKS[name], rel=1e-7)
    for x in (0.1, 0.37, 1.4):
        assert derivative(x, which) == derivative(-x, which)
        wider = surrogate(name, 3 * which.width)
        scale = 1 if name in ("boxcar", "triangle") else 3
        assert scale * derivative(3 * x, wider) == pytest.approx(derivative(x, which))


def test_values_of_published_surrogates():
    assert derivative(0.5, surrogate("triangle")) == 0.5
    alpha = 5  # Fang et al. 2021
    expected = alpha / 2 / (1 + (math.pi / 2 * alpha * 0.3) ** 2)
    assert derivative(0.3, surrogate("atan", 2 / alpha)) == pytest.approx(expected)
    assert derivative(0.3, surrogate("slayer")) == pytest.approx(math.exp(-5 * 0.3))
    assert derivative(2.0, surrogate("double_gaussian")) < 0
    assert derivative(2.0, surrogate("multi_gaussian")) < 0


def test_unknown_names_and_impossible_widths_are_refused():
    with pytest.raises(ValueError, match="surrogate 'sigmoid' is not one of boxcar, triangle"):
        surrogate("sigmoid")
    for width in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="width of a surrogate must be a positive number"):
            surrogate("atan", width)
    assert surrogate("atan", 2) == Surrogate("atan", 2.0)
