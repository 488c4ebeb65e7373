# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The compiled CPU kernels against the executable specification."""

import concurrent.futures
import functools
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.dynamics import OPERATIONS, AdaptiveState, adaptive, backends, describe
from models.snns import SNN
from models.surrogate import SURROGATES, Surrogate, surrogate
from tests.dynamics.cases import (
    RESETTING,
    SHAPES,
    VECTOR,
    adaptive_inputs,
    assert_like_naive,
    assert_surrogate_like_double_precision,
    balanced_inputs,
    coarse,
    largest_error,
    outputs_and_gradients,
    readout_inputs,
    resetting_inputs,
    resonate_inputs,
    run_adaptive,
    run_balanced,
    run_potentials,
    run_readout,
    run_resetting,
    run_resonate,
)

pytest.importorskip("numba")
support = importlib.import_module("models.dynamics.numba_support")
kinds = importlib.import_module("models.dynamics.cpu_kinds")
kept = importlib.import_module("models.dynamics.numba_kept")
sharing = importlib.import_module("models.dynamics.numba_threads")

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """Kernels on one thread and, however small the work, on three."""
    monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# A bias in front of batch normalisation has no effect: it learns from the rounding of the gradient
# of the current alone, and Adam makes whole steps of it.
EXACT = ("I", "u", "w", "s")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive(shape, adapts, recurrent, threads):
    inputs = adaptive_inputs(*shape, adapts=adapts, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cpu", inputs, exact_gradients=EXACT)


def test_adaptive_of_unstable_neurons():
    inputs = adaptive_inputs(4, 25, 64, a_low=-1.0)
    assert_like_naive(run_adaptive, "cpu", inputs, exact_gradients=EXACT)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("shape", "gain_is_tensor"), [(SHAPES[-1], False), *((shape, True) for shape in SHAPES)]
)
@pytest.mark.parametrize("recurrent", [False, True])
def test_resonate(shape, inside, gain_is_tensor, recurrent, threads):
    B, T, H = shape
    H += -H % VECTOR if recurrent else 0  # a product with V sums as many in either back end
    options = {"gain_is_tensor": gain_is_tensor, "recurrent": recurrent}
    inputs = resonate_inputs(B, T, H, inside=inside, **options)
    run = functools.partial(run_resonate, inside=inside)
    assert_like_naive(run, "cpu", inputs, exact_gradients=EXACT)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("case", RESETTING)
def test_resetting(case, recurrent, threads):
    adapts, form = RESETTING[case]
    run = functools.partial(run_resetting, **form)
    shapes = [(SHAPES[2], False), (SHAPES[-1], False)]
    if case not in ("EF-adLIF", "LIF, hard"):  # compiled anew
        shapes.append(((3, 63, 17), True))
    for shape, learns in shapes:
        inputs = resetting_inputs(*shape, adapts=adapts, recurrent=recurrent, learns=learns)
        for given in (inputs, coarse(inputs)):
            assert_like_naive(run, "cpu", given, exact_gradients=EXACT)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_balanced(shape, recurrent, threads):
    exact = (*EXACT, "v", "q")
    for learns in (False, True):
        inputs = balanced_inputs(*shape, recurrent=recurrent, learns=learns)
        assert_like_naive(run_balanced, "cpu", inputs, exact_gradients=exact)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("adapts", [False, True])
def test_the_threshold_may_learn(adapts, recurrent):
    inputs = adaptive_inputs(3, 63, 17, adapts=adapts, recurrent=recurrent, learns=True)
    for theta in (inputs["theta"], torch.tensor(0.7)):
        inputs["theta"] = theta
        assert_like_naive(run_adaptive, "cpu", inputs, exact_gradients=EXACT)


@pytest.mark.parametrize("inside", [False, True])
def test_threshold_reset_and_scale_may_learn(inside):
    inputs = resonate_inputs(3, 63, 17, inside=inside, learns=True)
    run = functools.partial(run_resonate, inside=inside)
    assert_like_naive(run, "cpu", inputs, exact_gradients=EXACT)
    fixed = {"scale": 1.5, "reset": 0.8}  # only theta learns
    assert_like_naive(run, "cpu", inputs | fixed, exact_gradients=EXACT)


def test_a_number_is_not_read_for_every_neuron(monkeypatch):
    """Kernels that read one threshold per neuron are slower."""
    cpu, each = importlib.import_module("models.dynamics.cpu"), []
    make = cpu._kernels
    monkeypatch.setattr(cpu, "_kernels", lambda *kind: each.append(kind[2]) or make(*kind))
    for theta in (0.7, torch.tensor(0.7)):
        run_adaptive("cpu", **adaptive_inputs(1, 3, 2), theta=theta)
    assert each == [False, True]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 63, 35), (5, 10, 500), (1, 100, 20)])
def test_readout(shape, threads):
    # On several threads PyTorch's softmax rounds otherwise for one row than for more.
    exact = EXACT if threads == 1 or shape[0] > 1 else ()
    assert_like_naive(run_readout, "cpu", readout_inputs(*shape), exact_gradients=exact)
    assert_like_naive(run_potentials, "cpu", readout_inputs(*shape), exact_gradients=EXACT)


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates(name):
    derivative = kinds.derivative(name)
    for width in (surrogate(name).width, float(np.float32(0.3))):
        x = torch.linspace(-3, 3, 121)
        found = [derivative(value, np.float32(width)) for value in x.numpy()]
        assert {type(value) for value in found} <= {float, np.float32}
        expected = SURROGATES[name][0](x.double(), width).double()
        assert largest_error(torch.tensor(found, dtype=torch.float64), expected) < 1e-6


def test_a_surrogate_in_all_recurrences():
    assert_surrogate_like_double_precision("triangle", "cpu")


def test_the_spikes_of_these_tests_are_neither_rare_nor_certain():
    spikes = run_adaptive("cpu", **adaptive_inputs(3, 63, 500))[0]
    assert 0.02 < spikes.mean() < 0.6
    for inside in (False, True):
        inputs = resonate_inputs(3, 63, 500, inside=inside)
        assert 0.02 < run_resonate("cpu", **inputs, inside=inside)[0].mean() < 0.6


@pytest.mark.parametrize("recurrent", [False, True])
def test_inputs_need_not_be_dense(recurrent):
    inputs = adaptive_inputs(6, 30, 64, recurrent=recurrent)
    strided = {
        **inputs,
        "I": inputs["I"].transpose(0, 1).contiguous().transpose(0, 1),
        "alpha": torch.stack([inputs["alpha"]] * 2, dim=1)[:, 0],
        "u": inputs["u"].T.contiguous().T,
        "a": inputs["a"][:1].expand(64),
    }
    assert not strided["I"].is_contiguous()
    assert_like_naive(run_adaptive, "cpu", strided)


def test_gradients_need_not_be_dense():
    leaves = {k: x for k, x in adaptive_inputs(4, 20, 32).items()}
    results = []
    for backend in ("naive", "cpu"):
        I = leaves["I"].clone().requires_grad_()
        spikes = run_adaptive(backend, **{**leaves, "I": I})[0]
        spikes.flip(1).sum(dim=(0, 2)).pow(2).sum().backward()
        results.append(I.grad)
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_inputs_are_not_modified_and_lif_returns_w_unchanged():
    inputs = adaptive_inputs(3, 10, 8, adapts=False)
    copies = {name: None if x is None else x.clone() for name, x in inputs.items()}
    outputs = run_adaptive("cpu", **inputs)
    assert outputs[2] is inputs["w"]
    for name, x in inputs.items():
        assert x is None or torch.equal(x, copies[name])


def test_only_some_inputs_need_gradients():
    inputs = adaptive_inputs(3, 20, 16, recurrent=True)
    V = inputs["V"].clone().requires_grad_()
    run_adaptive("cpu", **{**inputs, "V": V})[0].sum().backward()
    expected = inputs["V"].clone().requires_grad_()
    run_adaptive("naive", **{**inputs, "V": expected})[0].sum().backward()
    torch.testing.assert_close(V.grad, expected.grad, rtol=1e-5, atol=1e-6)


def test_nothing_is_kept_without_gradients():
    inputs = adaptive_inputs(2, 40, 8)
    inputs["alpha"].requires_grad_()
    with torch.no_grad():
        assert all(x.grad_fn is None for x in run_adaptive("cpu", **inputs))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
    before, results = torch.get_num_threads(), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(outputs_and_gradients(run_adaptive, "cpu", adaptive_inputs(7, 30, 20))[1])
    torch.set_num_threads(before)
    for other in results[1:]:
        for name, gradient in results[0].items():
            assert gradient is None or torch.equal(gradient, other[name])


def test_python_threads_may_meet_in_the_kernels(monkeypatch):
    monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
    inputs = adaptive_inputs(8, 40, 64)
    expected = outputs_and_gradients(run_adaptive, "cpu", inputs)[1]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(outputs_and_gradients, run_adaptive, "cpu", inputs) for _ in range(16)]
        for run in runs:
            assert torch.equal(run.result()[1]["I"], expected["I"])


def run_python(code: str, **options) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True, **options)
    return done.stdout


FORK = """
import os, torch
from models.dynamics import AdaptiveState, adaptive
I, u = torch.ones(96, 40, 64), torch.zeros(96, 64)
state = AdaptiveState(u, u, u)
def run():
    return adaptive(I, u[0] + 0.5, theta=1.0, state=state, backend="cpu")
torch.set_num_threads(3)
torch.ones(1 << 22).exp().sum()
before = len(os.listdir("/proc/self/task"))
run()
print(len(os.listdir("/proc/self/task")) > before, flush=True)
child = os.fork()
run()
if child == 0: os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no threads to be counted")
def test_the_threads_are_pytorchs_and_those_of_a_forked_process_its_own():
    assert run_python(FORK) == ("False\n" if sharing.openmp() else "True\n")


def test_kernels_run_where_no_cache_folder_can_be_written(monkeypatch):
    """As root every folder can be written, so the locators are made to find none that can."""
    caching = importlib.import_module("numba.core.caching")
    for locator in caching.CacheImpl._locator_classes:
        monkeypatch.setattr(locator, "from_function", classmethod(lambda *_: None))

    @kept.kernel
    def double(first, end, x):
        for row in range(first, end):
            x[row] *= 2

    x = np.ones(3)
    double(0, 2, x)
    assert x.tolist() == [2, 2, 1]


TWO_STARTS = """
import torch
from models.dynamics import AdaptiveState, adaptive
from models.dynamics.cpu import adaptive_kernels
x = torch.ones(2, 9, 8, requires_grad=True)
state = AdaptiveState(*torch.zeros(3, 2, 8))
adaptive(x, x[0, 0] / 2, theta=1.0, state=state, backend="cpu")[0].sum().backward()
for compiled in adaptive_kernels(False, "boxcar", False, False)[:2]:
    stats = compiled.stats
    print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
    for assembly in compiled.inspect_asm().values():
        if sum(stats.cache_misses.values()):
            print("mulps" in assembly, "vfmadd" in assembly)
"""


def test_kernels_are_vectorised_and_kept_for_the_next_start(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    outputs = [run_python(TWO_STARTS, env=environment).split("\n") for _ in range(2)]
    if platform.machine() in ("x86_64", "AMD64"):
        # The current is normalised in one rounding; nothing else is contracted.
        assert outputs[0][:4] == ["0 1", "True True", "0 1", "True False"]
    assert outputs[1][:2] == ["1 0", "1 0"]


UNCOMPILED = """
import torch
from models.dynamics import describe
from models.snns import SNN
net = SNN((None, None, 64), [64, 64, 4], "SiLIF", dropout=0.1)
net(torch.zeros(64, 80, 64))[0].sum().backward()
print(describe(net))
"""


class TestChoice:
    def test_auto_takes_the_kernels(self):
        chosen = backends.choose(OPERATIONS["adaptive"], "auto", torch.zeros(1, 2, 3))
        assert chosen == backends.Choice("cpu")

    def test_surrogates_missing_from_kernels_run_in_naive(self, monkeypatch):
        monkeypatch.setitem(SURROGATES, "step", (lambda x, w: (x > 0).float(), 1.0))
        inputs = adaptive_inputs(1, 2, 3)
        own = {"surrogate": surrogate("step")}
        assert run_adaptive("auto", **inputs, **own)[0].shape == (1, 2, 3)
        with pytest.raises(ValueError, match="numba kernels have no surrogate 'step'"):
            run_adaptive("cpu", **inputs, **own)

    def test_describe_names_what_computes_each_layer(self):
        network = SNN((2, None, 3), [8, 8, 4], "SiLIF")
        assert describe(network) == "Dynamics: compiled CPU kernels (numba)"
        network.layers[1].surrogate = Surrogate("step")
        network.layers[2].operation = None
        assert describe(network) == (
            "Dynamics: compiled CPU kernels (numba) in layer 1; plain PyTorch (numba kernels have "
            "no surrogate 'step') in layer 2; plain PyTorch (ReadoutLayer has a recurrence of its "
            "own) in layer 3"
        )

    @pytest.mark.parametrize("name", ["I", "alpha", "u"])
    def test_double_precision_is_left_to_naive(self, name):
        inputs = adaptive_inputs(1, 2, 3)
        inputs[name] = inputs[name].double()
        assert run_adaptive("auto", **inputs)[1].dtype == torch.float64
        with pytest.raises(ValueError, match="'cpu' cannot run here: it computes in float32"):
            run_adaptive("cpu", **inputs)

    def test_without_numba_naive_runs(self, monkeypatch):
        monkeypatch.setattr(backends, "_missing", lambda library: f"{library} is not installed")
        inputs = adaptive_inputs(1, 2, 3)
        assert run_adaptive("auto", **inputs)[0].shape == (1, 2, 3)
        with pytest.raises(ValueError, match="'cpu' cannot run here: numba is not installed"):
            run_adaptive("cpu", **inputs)

    def test_without_compiler_naive_runs_and_says_so(self):
        said = run_python(UNCOMPILED, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
        assert said == "Dynamics: plain PyTorch (NUMBA_DISABLE_JIT is set)\n"

    def test_cuda_refuses_cpu_tensors(self, monkeypatch):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        with pytest.raises(ValueError, match="'cuda' cannot run here: it needs cuda tensors"):
            run_adaptive("cuda", **adaptive_inputs(1, 2, 3))

    def test_an_unknown_back_end_is_refused(self):
        with pytest.raises(ValueError, match="backend 'fast' is not one of auto, naive, cpu, cuda"):
            run_adaptive("fast", **adaptive_inputs(1, 2, 3))


def test_second_derivatives_are_refused():
    inputs = adaptive_inputs(1, 3, 2)
    I = inputs["I"].clone().requires_grad_()
    state = AdaptiveState(inputs["u"], inputs["w"], inputs["s"])
    spikes, _ = adaptive(I, inputs["alpha"], theta=1.0, state=state, backend="cpu")
    weights = torch.ones_like(spikes).requires_grad_()
    (gradient,) = torch.autograd.grad(spikes, I, grad_outputs=weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
