# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent delays and dropout in GPU kernels; test_triton.py starts these tests without a GPU."""

import functools

import pytest
import torch

from models.dynamics import describe
from models.snns import SNN
from tests.dynamics.cases import (
    FEEDBACK,
    assert_like_naive,
    feedback_inputs,
    largest_error,
    run_feedback,
)
from tests.dynamics.gpus import (
    DEVICE,
    EMULATED,
    INTERPRETED,
    specified_on_cpu,
    with_or_without_gpu,
    without_gpu,
)

pytest.importorskip("triton")

SHAPES = [(2, 5, 16)]
AWKWARD = {  # shapes and delays
    "one of everything": (1, 1, 1, {"taps": 1, "latest": 1, "carried": False}),
    "one step": (2, 1, 5, {"taps": 2}),
    "all is due at once": (1, 4, 3, {"taps": 1, "latest": 1, "carried": False}),
    "later than the last step": (1, 3, 2, {"taps": 2, "latest": 12}),
    "from the start": (2, 3, 5, {"carried": False}),
    "delays alone": (1, 4, 5, {"dropout": False}),
}
if EMULATED:  # the kernels of test_triton.py, compiled once
    SHAPES, AWKWARD = [(2, 5, 144)], {"one step": (2, 1, 144, {"taps": 2})}
elif not INTERPRETED:
    SHAPES = [(3, 41, 16), (32, 100, 512)]


def run_of(neuron):
    run = functools.partial(run_feedback, neuron=neuron)
    return specified_on_cpu(run) if neuron in ("inside", "outside") else run


@with_or_without_gpu
@pytest.mark.parametrize("neuron", FEEDBACK)
@pytest.mark.parametrize("shape", SHAPES)
def test_delays(neuron, shape):
    inputs = feedback_inputs(neuron, *shape, taps=3, latest=4)
    assert_like_naive(run_of(neuron), "cuda", inputs, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("neuron", ["LIF", "inside", "balanced"])
@pytest.mark.parametrize("shape", SHAPES)
def test_dropout_alone(neuron, shape):
    inputs = feedback_inputs(neuron, *shape, taps=0)
    assert_like_naive(run_of(neuron), "cuda", inputs, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_shapes(case):
    B, T, H, options = AWKWARD[case]
    inputs = feedback_inputs("LIF", B, T, H, **options)
    assert_like_naive(run_of("LIF"), "cuda", inputs, device=DEVICE)


@without_gpu
@pytest.mark.parametrize("neuron", ["LIF", "inside", "balanced"])
def test_spikes_alone_may_have_a_gradient(neuron):
    """As in training. What a kernel leaves alone is not a number here."""

    def run_for_first(backend, **inputs):
        return run_of(neuron)(backend, **inputs)[:1]

    torch.use_deterministic_algorithms(True)
    try:
        inputs = feedback_inputs(neuron, *SHAPES[0], taps=2, latest=3, carried=False)
        assert_like_naive(run_for_first, "cuda", inputs)
    finally:
        torch.use_deterministic_algorithms(False)


@without_gpu
def test_networks_learn_their_delays():
    found = []
    for backend in ("naive", "cuda"):
        torch.manual_seed(3)
        short = {"recurrent_delay_width": 1.0, "recurrent_sigma": 1.0}
        net = SNN(
            (None, None, 6), [SHAPES[0][2], 4], "RLIF", extra_features=short, backend=backend,
            recurrent_delay="axonal", recurrent_dropout=0.3, init_state="zero",
        )  # fmt: skip
        torch.nn.init.constant_(net.snn[0].norm.weight, 6.0)  # so that they fire
        output, *_ = net(torch.rand(2, 5, 6).mul(8).floor())
        output.square().sum().backward()
        found.append([output, net.snn[0].recurrent_delay.d.grad, net.snn[0].W.weight.grad])
    assert describe(net) == "Dynamics: fused GPU kernels (triton)"
    for x, expected in zip(*reversed(found), strict=True):
        assert expected.any()
        assert largest_error(x, expected) < 1e-4  # float32 within the normalisation


@without_gpu
def test_without_gradients():
    inputs = feedback_inputs("LIF", *SHAPES[0], taps=2)
    inputs["taps"].requires_grad_()
    with torch.no_grad():
        outputs, expected = (run_feedback(name, "LIF", **inputs) for name in ("cuda", "naive"))
    assert all(x.grad_fn is None for x in outputs)
    assert all(torch.equal(x, y) for x, y in zip(outputs, expected, strict=True))


@with_or_without_gpu
def test_the_line_is_carried_on():
    def parts(backend, I, u, w, s, line, **rest):
        fired = []
        for part in I.split([2, 3], dim=1):
            state = {"u": u, "w": w, "s": s, "line": line}
            spikes, u, w, s, line = run_feedback(backend, "LIF", part, **state, **rest)
            fired.append(spikes)
        return [torch.cat(fired, dim=1), u, w, s, line]

    inputs = feedback_inputs("LIF", *SHAPES[0], taps=2, latest=2)
    assert_like_naive(parts, "cuda", inputs, device=DEVICE)
