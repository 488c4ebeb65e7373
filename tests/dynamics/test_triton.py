# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The GPU kernels against the executable specification.

Without a GPU, Triton's interpreter runs them on the CPU. It is switched on when Triton is imported,
so these tests run in a process of their own: nothing else of the suite sees the switch.
"""

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from against_naive import (
    SHAPES,
    adaptive_inputs,
    assert_like_naive,
    readout_inputs,
    resonate_inputs,
    run_adaptive,
    run_readout,
    run_resonate,
)

from models.dynamics.agreement import disagreement


def release(library) -> tuple[int, ...]:
    """The first two numbers of a library's version."""
    return tuple(map(int, library.__version__.split(".")[:2]))


triton = pytest.importorskip("triton")

REPO = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TOO_OLD_FOR_NUMPY = [release(triton) < (3, 7), release(numpy) >= (2, 4)]
SMALL_SHAPES = [(1, 1, 1), (2, 1, 130), (1, 63, 7), (3, 9, 33)]


def interpreted(test):
    """Runs where the interpreter is on: in the process that the test below starts."""
    return test if INTERPRETED else None


@pytest.mark.skipif(
    all(TOO_OLD_FOR_NUMPY), reason="the interpreter of Triton before 3.7 needs NumPy before 2.4"
)
def test_in_the_interpreter():
    if INTERPRETED:
        return
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=REPO,
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@interpreted
@pytest.mark.parametrize("shape", SMALL_SHAPES)
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive(shape, adapts, recurrent):
    inputs = adaptive_inputs(*shape, adapts=adapts, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cuda", inputs)


@interpreted
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_of_unstable_neurons(recurrent):
    inputs = adaptive_inputs(2, 25, 40, a_low=-1.0, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cuda", inputs)


@interpreted
@pytest.mark.parametrize("shape", SMALL_SHAPES)
@pytest.mark.parametrize("reset_inside", [False, True])
@pytest.mark.parametrize("gain_is_tensor", [False, True])
def test_resonate(shape, reset_inside, gain_is_tensor):
    inputs = resonate_inputs(*shape, reset_inside=reset_inside, gain_is_tensor=gain_is_tensor)
    run = functools.partial(run_resonate, reset_inside=reset_inside)
    assert_like_naive(run, "cuda", inputs)


@interpreted
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 20, 35), (3, 5, 64), (2, 3, 1000)])
def test_readout(shape):
    assert_like_naive(run_readout, "cuda", readout_inputs(*shape), exact=False)


@interpreted
def test_inputs_need_not_be_dense():
    inputs = adaptive_inputs(3, 8, 20, recurrent=True)
    inputs["I"] = inputs["I"].transpose(0, 1).contiguous().transpose(0, 1)
    inputs["u"] = inputs["u"].T.contiguous().T
    inputs["a"] = inputs["a"][:1].expand(20)
    assert_like_naive(run_adaptive, "cuda", inputs)


@interpreted
def test_nothing_is_kept_without_gradients():
    inputs = adaptive_inputs(2, 5, 8)
    expected = run_adaptive("naive", **inputs)
    inputs["alpha"].requires_grad_()
    with torch.no_grad():
        outputs = run_adaptive("cuda", **inputs)
    assert all(x.grad_fn is None for x in outputs)
    assert all(torch.equal(x, y) for x, y in zip(outputs, expected, strict=True))


@interpreted
def test_more_neurons_than_one_program_holds():
    assert importlib.import_module("models.dynamics.triton_support").LARGEST_BLOCK < 300
    assert_like_naive(run_adaptive, "cuda", adaptive_inputs(1, 4, 300))


@interpreted
@pytest.mark.parametrize("operation", ["adaptive", "resonate", "readout"])
def test_the_trial_before_first_use_passes(operation):
    assert disagreement(operation, "cuda", torch.device("cpu")) == ""


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (32, 100, 512)])
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_on_gpu(shape, adapts, recurrent):
    inputs = adaptive_inputs(*shape, adapts=adapts, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cuda", inputs, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reset_inside", [False, True])
def test_resonate_on_gpu(shape, reset_inside):
    """Against the specification on the CPU: PyTorch's complex product on a GPU contracts."""

    def run(backend, **inputs):
        if backend == "naive":
            inputs = {name: x.cpu() for name, x in inputs.items()}
        outputs = run_resonate(backend, **inputs, reset_inside=reset_inside)
        return [x.cuda() for x in outputs]

    inputs = resonate_inputs(*shape, reset_inside=reset_inside)
    assert_like_naive(run, "cuda", inputs, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 1, 1), (64, 63, 35), (3, 5, 1000)])
def test_readout_on_gpu(shape):
    assert_like_naive(run_readout, "cuda", readout_inputs(*shape), exact=False, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("operation", ["adaptive", "resonate", "readout"])
def test_the_trial_before_first_use_passes_on_gpu(operation):
    assert disagreement(operation, "cuda", torch.device("cuda")) == ""
