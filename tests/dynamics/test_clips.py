# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights of large layers on the CPU, clip by clip from events, against plain PyTorch."""

import functools
import importlib

import pytest
import torch

from models.surrogate import surrogate
from tests.dynamics.cases import (
    adaptive_inputs,
    assert_like_naive,
    feedback_inputs,
    largest_error,
    outputs_and_gradients,
    resetting_inputs,
    run_adaptive,
    run_feedback,
    run_resetting,
)

pytest.importorskip("numba")
cpu = importlib.import_module("models.dynamics.cpu")
recurrent = importlib.import_module("models.dynamics.cpu_recurrent")
support = importlib.import_module("models.dynamics.numba_support")

B, T, H = 34, 40, 112  # just large enough


def exact(inputs):
    """The same, with recurrent weights whose sums are exact in any order."""
    step = 2.0 ** (inputs["V"].abs().max() / 16).log2().round()
    return inputs | {"V": (inputs["V"] / step).round() * step}


def sparse_inputs(**options):
    """Adaptive neurons, 2 % of which spike."""
    inputs = adaptive_inputs(B, T, H, recurrent=True, **options)
    return exact(inputs | {"I": inputs["I"] * 0.7})


@pytest.fixture
def ways(monkeypatch):
    """What runs, in order: dense products, ``clips_back``, ``step_back``."""
    found = []

    class Returning(recurrent.Returning):
        def __call__(self, t, s):
            found.append("product")
            return super().__call__(t, s)

    def note(name):
        function = getattr(recurrent, name)
        monkeypatch.setattr(cpu, name, lambda *given: found.append(name) or function(*given))

    monkeypatch.setattr(recurrent, "Returning", Returning)
    note("clips_back")
    note("step_back")
    return found


slow = functools.partial(pytest.param, marks=pytest.mark.slow)  # to compile


@pytest.mark.parametrize("neuron", ["LIF", "adaptive", slow("inside"), slow("outside"), "balanced"])
def test_like_naive(neuron, ways, monkeypatch):
    """Whatever spikes there are before the first step, and with dropout of what arrives."""
    monkeypatch.setattr(recurrent, "MOST_SPIKES", 1.0)
    monkeypatch.setattr(recurrent, "MOST_OPEN", 1.0)
    inputs = exact(feedback_inputs(neuron, B, T, H, taps=0))
    assert_like_naive(functools.partial(run_feedback, neuron=neuron), "cpu", inputs)
    assert ways == ["product", "clips_back"]


FORMS = {"attached, soft": {"symplectic": False, "hard": False, "detached": False}, "detached": {}}


@pytest.mark.parametrize("form", ["attached, soft", slow("detached")])
def test_resets_at_once(form, ways, monkeypatch):
    """An attached reset sends a gradient to the spike, which the window multiplies as well."""
    monkeypatch.setattr(recurrent, "MOST_SPIKES", 1.0)
    monkeypatch.setattr(recurrent, "MOST_OPEN", 1.0)
    inputs = exact(resetting_inputs(B, T, H, recurrent=True, learns=True))
    assert_like_naive(functools.partial(run_resetting, **FORMS[form]), "cpu", inputs)
    assert ways == ["product", "clips_back"]


def test_sums_that_are_not_exact_change_no_more_than_rounding(ways):
    inputs = sparse_inputs() | {"V": adaptive_inputs(B, T, H, recurrent=True)["V"]}
    expected, gradients = outputs_and_gradients(run_adaptive, "naive", inputs)
    found, ours = outputs_and_gradients(run_adaptive, "cpu", inputs)
    same = (found[0] == expected[0]).all(dim=1).all(dim=1)  # until then a flipped spike flips more
    assert ways[-1] == "clips_back"
    assert same.float().mean() > 0.9
    assert largest_error(ours["I"][same], gradients["I"][same]) < 1e-5


@pytest.mark.parametrize(("width", "way"), [(0.3, "clips_back"), (3.0, "step_back")])
def test_nothing_is_skipped_where_windows_are_open(width, way, ways):
    """A triangle is zero behind its width."""
    run = functools.partial(run_adaptive, surrogate=surrogate("triangle", width))
    assert_like_naive(run, "cpu", sparse_inputs())
    assert ways == ["product", way]


def test_windows_that_never_close(ways):
    run = functools.partial(run_adaptive, surrogate=surrogate("atan"))
    assert_like_naive(run, "cpu", sparse_inputs())
    assert ways[-1] == "step_back"


def test_many_spikes_take_dense_products(ways):
    """From the steps on at which there are many."""
    inputs = sparse_inputs()
    inputs["I"][:, : T // 2] += 20
    assert_like_naive(run_adaptive, "cpu", inputs)
    assert T // 4 < ways.count("product") < T


@pytest.mark.parametrize("shape", [(B, T, 16), (2, T, 128)])
def test_small_layers_keep_the_dense_product(shape, ways):
    inputs = adaptive_inputs(*shape, recurrent=True)
    assert_like_naive(run_adaptive, "cpu", inputs)
    assert ways == ["product"] * shape[1] + ["step_back"]


def test_results_do_not_depend_on_the_number_of_threads(ways, monkeypatch):
    monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            outputs, gradients = outputs_and_gradients(run_adaptive, "cpu", sparse_inputs())
            results.append([*outputs, *gradients.values()])
    finally:
        torch.set_num_threads(before)
    assert ways == 3 * ["product", "clips_back"]
    for other in results[1:]:
        for x, reference in zip(other, results[0], strict=True):
            assert torch.equal(x, reference)


def test_what_needs_no_gradient_gets_none(ways):
    inputs = sparse_inputs()
    I = inputs["I"].requires_grad_()
    run_adaptive("cpu", **inputs)[0].sum().backward()
    assert I.grad.any()
    assert inputs["V"].grad is None
