# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The trial that keeps kernels which compute something else from being the default."""

import importlib
from unittest.mock import Mock

import pytest
import torch

from models.dynamics import (
    OPERATIONS,
    AdaptiveState,
    Fold,
    adaptive,
    backends,
    trial,
)
from models.dynamics.backends import try_kernels
from models.dynamics.numba_support import compile_first
from models.surrogate import BOXCAR
from tests.dynamics.cases import adaptive_inputs, run_adaptive

CPU = torch.device("cpu")
ADAPTIVE, RESONATE = OPERATIONS["adaptive"], OPERATIONS["resonate"]


def variant_of(name):
    return () if name in ("readout", "potentials", "selective_scan") else (BOXCAR,)


def tried_on_cpu(name):
    return try_kernels(OPERATIONS[name], "cpu", CPU, *variant_of(name))


@pytest.fixture(params=[name for name, found in OPERATIONS.items() if "cpu" in found.kernels])
def operation(request):
    return request.param


@pytest.fixture
def tried(monkeypatch):
    """Back end ``cpu`` has to pass the trial as well."""
    monkeypatch.setattr(backends, "_TRIED_FIRST", ("cpu",))
    backends.tried.cache_clear()
    yield
    backends.tried.cache_clear()


def spoil(monkeypatch, name, how):
    """Let the compiled operation return ``how(its outputs)``."""
    right = OPERATIONS[name].load("cpu")
    module = importlib.import_module("models.dynamics.cpu")
    monkeypatch.setattr(module, name, lambda *args, **options: how(*right(*args, **options)))


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1.05 * gradient


def test_right_kernels_agree(operation):
    before = torch.get_rng_state()
    assert tried_on_cpu(operation) == ""
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_an_operation_without_kernels_is_computed_in_plain_pytorch(backend, caplog):
    backends.say_plain.cache_clear()
    with caplog.at_level("INFO", logger="sprache"):
        choice = backends.choose(ADAPTIVE._replace(kernels=("cuda",)), backend, torch.zeros(1))
    assert choice.backend == "naive"
    assert caplog.messages == [
        "Plain PyTorch computes the recurrences of 'adaptive', for which 'cpu' has no kernels"
    ]


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("operation", [ADAPTIVE, RESONATE, ADAPTIVE.folded, RESONATE.folded])
def test_no_potential_of_the_trial_is_near_the_threshold(operation, learns):
    """Rounding must turn no spike: a single one spoils gradients."""
    nearest = []
    naive = operation.load("naive")

    def watched(I, *coefficients, fold=None, **options):
        current = I if fold is None else fold.current(I)
        for steps in range(1, I.shape[1] + 1):
            _, state = naive(current[:, :steps], *coefficients, **options)
            drive = options.get("scale", 1) * getattr(state, "neurons", state).u.real
            nearest.append((drive - options["theta"]).abs().min().item())
        return naive(current, *coefficients, **options)

    for case in operation.trials(BOXCAR, learns):
        case.run(watched, **case.inputs)
    assert len(nearest) >= 2 * trial.T
    assert 5e-6 < min(nearest) < 1e-2


def test_the_trial_works_with_gradients_off(operation):
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert tried_on_cpu(operation) == ""


def test_wrong_outputs_are_detected(operation, monkeypatch):
    spoil(monkeypatch, operation, lambda out, state: (out.roll(1, dims=-1), state))
    assert "not as in plain PyTorch" in tried_on_cpu(operation)


def test_wrong_gradients_are_detected(operation, monkeypatch):
    spoil(monkeypatch, operation, lambda out, state: (WrongGradient.apply(out), state))
    assert "the gradient of" in tried_on_cpu(operation)


def test_compiler_failures_are_reported(operation, monkeypatch):
    def fail(*_):
        raise RuntimeError("PTX\nassembler: out of registers")

    spoil(monkeypatch, operation, fail)
    assert "RuntimeError: PTX assembler: out of registers" in tried_on_cpu(operation)


def test_auto_takes_what_passes_and_reports_all_compilation_in_one_line(tried, monkeypatch, caplog):
    monkeypatch.setattr(backends, "_SLOW", 0.0)
    kernel = Mock(overloads={}, __name__="draw")
    with caplog.at_level("INFO", logger="sprache"):
        chosen = backends.choose(ADAPTIVE, "auto", torch.zeros(1, 2, 3), surrogate=BOXCAR)
        compile_first(kernel, ())
        assert caplog.text == ""
        for _ in range(2):
            backends.Compilation.report()
    assert chosen == backends.Choice("cpu")
    kernel.assert_called_once_with(0, 0)
    (record,) = caplog.records
    assert record.message.startswith("Compiled kernels for this machine in ")


def test_folds_that_disagree_are_not_used(tried, monkeypatch, caplog):
    cpu = importlib.import_module("models.dynamics.cpu")
    whole = cpu.adaptive

    def adaptive_alone(*given, theta, state, V=None, surrogate=BOXCAR):
        return whole(*given, theta=theta, state=state, V=V, surrogate=surrogate)

    monkeypatch.setattr(cpu, "adaptive", adaptive_alone)

    def can_fold(asked):
        return backends.can_fold(backends.Choice("cpu"), ADAPTIVE, asked, CPU, BOXCAR)

    assert can_fold("cpu")  # asked for by name
    with caplog.at_level("WARNING", logger="sprache"):
        assert not can_fold("auto")  # it has no argument for a fold
    (message,) = (record.getMessage() for record in caplog.records)
    assert "PyTorch computes normalisation and dropout around 'adaptive' instead" in message
    x = torch.ones(1, 2, 3)
    state = AdaptiveState(*torch.zeros(3, 1, 3))
    spikes, _ = adaptive(x, x[0, 0] / 2, theta=0.1, state=state, fold=Fold(p=0.5))
    assert set(spikes.unique().tolist()) <= {0.0, 2.0}


def test_auto_rejects_what_fails_and_warns_once(tried, monkeypatch, caplog):
    spoil(monkeypatch, "adaptive", lambda out, state: (1 - out, state))
    inputs = adaptive_inputs(2, 5, 7)
    with caplog.at_level("WARNING", logger="sprache"):
        for _ in range(2):
            outputs = run_adaptive("auto", **inputs)
    assert torch.equal(outputs[0], run_adaptive("naive", **inputs)[0])
    (message,) = (record.getMessage() for record in caplog.records)
    assert "back end 'cpu' do not compute what they should here (LIF: the spikes not" in message
    readout = backends.choose(OPERATIONS["readout"], "auto", torch.zeros(1, 2, 3))
    assert readout.backend == "cpu"
