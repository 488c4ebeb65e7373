# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The trial that keeps kernels which compute something else from being the default."""

import importlib

import pytest
import torch
from against_naive import adaptive_inputs, run_adaptive

from models.dynamics import agreement, backends

CPU = torch.device("cpu")
MODULES = {name: f"models.dynamics.{name}.cpu" for name in ("adaptive", "resonate", "readout")}


@pytest.fixture(params=MODULES)
def operation(request):
    return request.param


@pytest.fixture
def tried(monkeypatch):
    """Back end ``cpu`` has to pass the trial as well."""
    monkeypatch.setattr(backends, "_TRIED_FIRST", ("cpu",))
    backends._disagreement.cache_clear()
    yield
    backends._disagreement.cache_clear()


def spoil(monkeypatch, operation, how):
    """Let the compiled ``operation`` return ``how(its outputs)``."""
    module = importlib.import_module(MODULES[operation])
    right = getattr(module, operation)
    monkeypatch.setattr(module, operation, lambda *args, **options: how(*right(*args, **options)))


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1.05 * gradient


def test_right_kernels_agree(operation):
    before = torch.get_rng_state()
    assert agreement.disagreement(operation, "cpu", CPU) == ""
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["adaptive", "resonate", "folded adaptive", "folded resonate"])
def test_no_potential_of_the_trial_is_near_the_threshold(name, monkeypatch):
    """Rounding must turn no spike: a single one spoils gradients."""
    nearest = []

    def watched(function, potential):
        def run(I, *coefficients, fold=None, **options):
            current = I if fold is None else fold.current(I)
            for steps in range(1, I.shape[1] + 1):
                _, state = function(current[:, :steps], *coefficients, **options)
                nearest.append((potential(state.u, options) - 1).abs().min().item())
            return function(current, *coefficients, **options)

        return run

    monkeypatch.setattr(
        agreement.dynamics, "adaptive", watched(agreement.dynamics.adaptive, lambda u, _: u)
    )
    monkeypatch.setattr(
        agreement.dynamics,
        "resonate",
        watched(agreement.dynamics.resonate, lambda u, options: options["scale"] * u.real),
    )
    if name.startswith("folded"):  # the mask is a GPU's; it comes behind the recurrence
        pytest.importorskip("triton")
        support = importlib.import_module("models.dynamics.triton_support")
        monkeypatch.setattr(support, "dropout_factors", lambda *_: 1.0)
    for _, inputs, run in agreement._variants(name):
        run(backend="naive", **inputs)
    assert len(nearest) >= 2 * agreement.T
    assert 5e-6 < min(nearest) < 1e-2


def test_it_works_where_gradients_are_off(operation):
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert agreement.disagreement(operation, "cpu", CPU) == ""


def test_wrong_outputs_are_seen(operation, monkeypatch):
    spoil(monkeypatch, operation, lambda out, state: (out.roll(1, dims=-1), state))
    assert "not as in plain PyTorch" in agreement.disagreement(operation, "cpu", CPU)


def test_wrong_gradients_are_seen(operation, monkeypatch):
    spoil(monkeypatch, operation, lambda out, state: (WrongGradient.apply(out), state))
    assert "the gradient of" in agreement.disagreement(operation, "cpu", CPU)


def test_a_compiler_that_fails_is_seen(operation, monkeypatch):
    def fail(*_):
        raise RuntimeError("PTX\nassembler: out of registers")

    spoil(monkeypatch, operation, fail)
    found = agreement.disagreement(operation, "cpu", CPU)
    assert "RuntimeError: PTX assembler: out of registers" in found


def test_auto_takes_what_passes(tried):
    chosen = backends.implementation("adaptive", "auto", torch.zeros(1, 2, 3))
    assert chosen.__module__ == "models.dynamics.adaptive.cpu"


def test_a_slow_trial_is_told(tried, monkeypatch, caplog):
    monkeypatch.setattr(backends, "_SLOW_TRIAL", 0.0)
    with caplog.at_level("INFO", logger="sprache"):
        backends.implementation("adaptive", "auto", torch.zeros(1, 2, 3))
    assert "Compiled and tried the kernels of 'adaptive' in " in caplog.text


def test_folds_that_do_not_agree_are_undone(monkeypatch, caplog):
    monkeypatch.setattr(backends, "_FOLDING", ("cpu",))
    run = backends.implementation("adaptive", "auto", torch.zeros(1, 2, 3))
    assert backends.can_fold("adaptive", "cpu", run, CPU)  # asked for by name
    backends._disagreement.cache_clear()
    with caplog.at_level("WARNING", logger="sprache"):
        assert not backends.can_fold("adaptive", "auto", run, CPU)  # it has no argument for a fold
    (message,) = (record.getMessage() for record in caplog.records)
    assert "PyTorch computes normalisation and dropout around 'adaptive' instead" in message
    backends._disagreement.cache_clear()


def test_auto_leaves_what_does_not_and_says_so_once(tried, monkeypatch, caplog):
    spoil(monkeypatch, "adaptive", lambda out, state: (1 - out, state))
    inputs = adaptive_inputs(2, 5, 7)
    with caplog.at_level("WARNING", logger="sprache"):
        for _ in range(2):
            outputs = run_adaptive("auto", **inputs)
    assert torch.equal(outputs[0], run_adaptive("naive", **inputs)[0])
    (message,) = (record.getMessage() for record in caplog.records)
    assert "back end 'cpu' do not do here what they should (LIF: the spikes not as in" in message
    readout = backends.implementation("readout", "auto", torch.zeros(1, 2, 3))
    assert readout.__module__ == "models.dynamics.readout.cpu"
