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
    """The same, with spikes that may be quarters, and recurrent weights and taps whose sums are
    exact in any order."""
    step = 2.0 ** (inputs["V"].abs().max() / 16).log2().round()
    quarters = {
        k: (inputs[k] * 4).round() / 4 for k in ("s", "line", "taps") if inputs.get(k) is not None
    }
    return inputs | quarters | {"V": (inputs["V"] / step).round() * step}


def sparse_inputs(**options):
    """Adaptive neurons, 2 % of which spike."""
    inputs = adaptive_inputs(B, T, H, recurrent=True, **options)
    return exact(inputs | {"I": inputs["I"] * 0.7})


@pytest.fixture
def ways(monkeypatch):
    """What runs, in order: products of all clips at each step, or groups of clips, forth, back."""
    found = []
    run_rows = cpu.run_rows

    def noted(compiled, *given, **options):
        found.append(compiled.py_func.__name__.rsplit(".")[-1])
        return run_rows(compiled, *given, **options)

    monkeypatch.setattr(cpu, "run_rows", noted)
    return found


GROUPS = ["forward", "backward"]


slow = functools.partial(pytest.param, marks=pytest.mark.slow)  # to compile


@pytest.mark.parametrize("neuron", ["LIF", "adaptive", slow("inside"), slow("outside"), "balanced"])
@pytest.mark.parametrize("taps", [0, 4])
@pytest.mark.parametrize("most", [0.0, 1.0])
def test_like_naive(neuron, taps, most, ways, monkeypatch):
    """Whatever spikes there are before the first step, and with dropout of what arrives."""
    monkeypatch.setattr(recurrent, "MOST_SPIKES", most)
    monkeypatch.setattr(recurrent, "MOST_OPEN", most)
    inputs = exact(feedback_inputs(neuron, B, T, H, taps=taps))
    assert_like_naive(functools.partial(run_feedback, neuron=neuron), "cpu", inputs)
    assert ways == GROUPS


FORMS = {"attached, soft": {"symplectic": False, "hard": False, "detached": False}, "detached": {}}


@pytest.mark.parametrize("form", ["attached, soft", slow("detached")])
def test_resets_at_once(form, ways):
    """An attached reset sends a gradient to the spike, which the window multiplies as well."""
    inputs = exact(resetting_inputs(B, T, H, recurrent=True, learns=True))
    assert_like_naive(functools.partial(run_resetting, **FORMS[form]), "cpu", inputs)
    assert ways == GROUPS


def test_sums_that_are_not_exact_change_no_more_than_rounding(ways):
    inputs = sparse_inputs() | {"V": adaptive_inputs(B, T, H, recurrent=True)["V"]}
    expected, gradients = outputs_and_gradients(run_adaptive, "naive", inputs)
    found, ours = outputs_and_gradients(run_adaptive, "cpu", inputs)
    same = (found[0] == expected[0]).all(dim=1).all(dim=1)  # until then a flipped spike flips more
    assert ways == GROUPS
    assert same.float().mean() > 0.9
    assert largest_error(ours["I"][same], gradients["I"][same]) < 1e-5


@pytest.mark.parametrize("width", [0.3, 3.0])
def test_nothing_is_skipped_where_windows_are_open(width):
    """A triangle is zero behind its width."""
    run = functools.partial(run_adaptive, surrogate=surrogate("triangle", width))
    assert_like_naive(run, "cpu", sparse_inputs())


def test_windows_that_never_close():
    run = functools.partial(run_adaptive, surrogate=surrogate("atan"))
    assert_like_naive(run, "cpu", sparse_inputs())


def test_many_spikes_at_some_steps():
    inputs = sparse_inputs()
    inputs["I"][:, : T // 2] += 20
    assert_like_naive(run_adaptive, "cpu", inputs)


@pytest.mark.parametrize("shape", [(B, T, 16), (2, T, 128)])
def test_small_layers_keep_the_dense_product(shape, ways):
    inputs = adaptive_inputs(*shape, recurrent=True)
    assert_like_naive(run_adaptive, "cpu", inputs)
    assert ways == ["forward_steps"] * shape[1] + ["backward_steps"] * shape[1]


@pytest.mark.parametrize("taps", [0, 3])
def test_evaluation_rounds_alike_in_chunks_and_batches_of_any_size(taps):
    inputs = feedback_inputs("LIF", B, T, H, taps=taps) | {"in_order": True}
    with torch.no_grad():
        whole = run_feedback("cpu", "LIF", **inputs)
        for size in (1, 7):
            parts, state = [], {}
            for I in inputs["I"].split(size, dim=1):
                spikes, *left = run_feedback("cpu", "LIF", **inputs | state | {"I": I})
                state = dict(zip(("u", "w", "s", "line"), left, strict=False))
                parts.append(spikes)
            assert torch.equal(torch.cat(parts, dim=1), whole[0])
            assert all(torch.equal(x, y) for x, y in zip(left, whole[1:], strict=True))
        own = ("I", "u", "w", "s", "line", "mask")
        few = {k: x[3:9] if k in own and x is not None else x for k, x in inputs.items()}
        for x, reference in zip(run_feedback("cpu", "LIF", **few), whole, strict=True):
            assert torch.equal(x, reference[3:9])


@pytest.mark.parametrize("taps", [0, 3])
def test_results_do_not_depend_on_the_number_of_threads(taps, monkeypatch):
    monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
    before, results = torch.get_num_threads(), []
    inputs = feedback_inputs("LIF", B, T, H, taps=taps)
    run = functools.partial(run_feedback, neuron="LIF")
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            outputs, gradients = outputs_and_gradients(run, "cpu", inputs)
            del gradients["V"]  # here a dense product of PyTorch's
            results.append([*outputs, *(x for x in gradients.values() if x is not None)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for x, reference in zip(other, results[0], strict=True):
            assert torch.equal(x, reference)


def test_what_needs_no_gradient_gets_none():
    inputs = sparse_inputs()
    I = inputs["I"].requires_grad_()
    run_adaptive("cpu", **inputs)[0].sum().backward()
    assert I.grad.any()
    assert inputs["V"].grad is None
