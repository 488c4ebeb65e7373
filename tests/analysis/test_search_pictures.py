# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Pictures of searches with figures that are made up."""

import pytest

from analysis.search import BEST, Scale, importances, parallel_figure
from parsers.distributions import read_dimension
from parsers.plan import OPTIONS

SPACE = {
    "lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
    "pdrop": {"distribution": "q_uniform", "min": 0.05, "max": 0.5, "q": 0.2},
    "nb_hiddens": {"distribution": "q_log_uniform_values", "min": 32, "max": 512, "q": 32},
    "surrogate": {"values": ["boxcar", "triangle"]},
    "weight_decay": {"values": [0.0, 0.1], "probabilities": [0.9, 0.1]},
}


@pytest.fixture
def space():
    return {name: read_dimension(OPTIONS[name], entry, name) for name, entry in SPACE.items()}


def trial(number, accuracy, state="complete", **values):
    usual = {"lr": 0.01, "pdrop": 0.2, "nb_hiddens": 64, "surrogate": "boxcar", "weight_decay": 0.0}
    return {"number": number, "accuracy": accuracy, "state": state, "values": usual | values}


def test_the_option_that_decides_is_the_most_important(space):
    trials = [
        trial(n, 0.9 if rate > 0.03 else 0.1, lr=rate, surrogate=("boxcar", "triangle")[n % 2])
        for n, rate in enumerate(0.001 * 1.1**n for n in range(48))
    ]
    shares = importances(trials, space)
    assert next(iter(shares)) == "lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert {*shares} == {*space}


def test_the_best_trial_is_marked_and_those_stopped_early_are_dashed(space):
    trials = [trial(3, 0.9, lr=0.1), trial(1, 0.8), trial(2, 0.95, "pruned", pdrop=0.0)]
    (axes,) = parallel_figure(trials, space).axes
    pruned, second, best = axes.lines[:3]
    assert best.get_color() == BEST
    assert best.get_ydata()[0] == 1  # the largest rate
    assert (second.get_linestyle(), pruned.get_linestyle()) == ("-", "--")
    assert [text.get_text() for text in axes.texts if text.get_text() in SPACE] == [
        "lr",
        "pdrop",
        "surrogate",
    ]


def test_values_lie_on_their_scale(space):
    trials = [trial(1, 0.5, pdrop=0.0), trial(2, 0.6, pdrop=0.4)]
    rounded = Scale("pdrop", space["pdrop"], trials)  # 0 is below the end of what is drawn
    assert [rounded.height(value) for value in (0.0, 0.2, 0.4)] == pytest.approx([0, 0.5, 1])
    rates = Scale("lr", space["lr"], trials)
    assert rates.height(0.01) == pytest.approx(0.5)
    names = Scale("surrogate", space["surrogate"], trials)
    assert names.ticks() == [(0, "boxcar"), (1, "triangle")]
    one = read_dimension(
        OPTIONS["tau"], {"distribution": "q_uniform", "min": 9, "max": 11, "q": 10}, "tau"
    )
    alone = [{"values": {"tau": 10.0}}]
    assert Scale("tau", one, alone).height(10.0) == 0.5
