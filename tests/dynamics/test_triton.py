# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The GPU kernels against the executable specification, with or without a GPU (see ``gpus``)."""

import functools
import importlib
import sys
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn import functional

from models.delays import DELAYS_OF_FEATURES, filter_of
from models.dynamics import OPERATIONS, Fold, trial
from models.dynamics.backends import try_kernels
from models.folding import BATCH_STATISTICS
from models.linear import BITS
from models.snns import SNN
from models.surrogate import BOXCAR, SURROGATES, surrogate
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
    random,
    readout_inputs,
    resetting_inputs,
    resonate_inputs,
    run_adaptive,
    run_balanced,
    run_potentials,
    run_readout,
    run_resetting,
    run_resonate,
    run_scan,
    scan_inputs,
)
from tests.dynamics.gpus import (
    DEVICE,
    EMULATED,
    INTERPRETED,
    run_without_gpu,
    specified_on_cpu,
    with_or_without_gpu,
    without_gpu,
)


def release(library) -> tuple[int, ...]:
    """The first two numbers of a library's version."""
    return tuple(map(int, library.__version__.split(".")[:2]))


triton = pytest.importorskip("triton")

RECURRENT_DELAYS = str(Path(__file__).with_name("test_triton_feedback.py"))
TOO_OLD_FOR_NUMPY = [release(triton) < (3, 7), release(numpy) >= (2, 4)]
TRIED = {  # operations, and what their trials are made for
    "adaptive": (OPERATIONS["adaptive"], BOXCAR),
    "folded adaptive": (OPERATIONS["adaptive"].folded, surrogate("triangle")),
    "learning adaptive": (OPERATIONS["adaptive"], BOXCAR, True),
    "resonate": (OPERATIONS["resonate"], surrogate("triangle")),
    "learning resonate": (OPERATIONS["resonate"].folded, BOXCAR, True),
    "folded resonate": (OPERATIONS["resonate"].folded, BOXCAR),
    "resetting": (OPERATIONS["resetting"], surrogate("slayer")),
    "learning balanced": (OPERATIONS["balanced"], surrogate("double_gaussian"), True),
    "readout": (OPERATIONS["readout"],),
    "potentials": (OPERATIONS["potentials"],),
    "selective scan": (OPERATIONS["selective_scan"],),
    "batch statistics": (BATCH_STATISTICS,),
    "delays": (DELAYS_OF_FEATURES,),
    "bits": (BITS,),
}
EXACT = ("I", "u", "w", "s")  # gradients that are equal in every bit, see test_cpu
SMALL_SHAPES = [(1, 1, 1), (2, 1, 130), (1, 15, 7), (3, 16, 5), (2, 9, 33)]
SHAPES_WITHIN = [(1, 1, 1), (2, 2, 130), (1, 23, 9)]
READOUT_SHAPES = [(1, 1, 1), (2, 20, 35), (3, 8, 64), (2, 3, 1000)]
SCAN_SHAPES = [(1, 1, 1, 1), (2, 16, 5, 3), (1, 35, 9, 4)]
if EMULATED:  # each is compiled for itself, which takes seconds
    SMALL_SHAPES, SHAPES_WITHIN, SCAN_SHAPES = [(2, 17, 130)], [(2, 17, 40)], [(2, 19, 9, 4)]
elif not INTERPRETED:
    EXACT = ()
    SMALL_SHAPES, SHAPES_WITHIN = [*SHAPES, (32, 100, 512)], [(32, 99, 500)]
    SCAN_SHAPES = [*SCAN_SHAPES, (32, 300, 64, 64)]


if not (EMULATED or INTERPRETED):

    @pytest.mark.slow
    @pytest.mark.skipif(
        all(TOO_OLD_FOR_NUMPY), reason="the interpreter of Triton before 3.7 needs NumPy before 2.4"
    )
    def test_in_the_interpreter():
        run_without_gpu(__file__, RECURRENT_DELAYS, TRITON_INTERPRET="1")

    @pytest.mark.slow
    def test_on_an_emulated_gpu(tmp_path):
        files = RECURRENT_DELAYS, str(Path(__file__).with_name("test_emulated_gpu.py"))
        run_without_gpu(__file__, *files, SPRACHE_EMULATES_GPU="90", TRITON_CACHE_DIR=str(tmp_path))


@with_or_without_gpu
@pytest.mark.parametrize("shape", SMALL_SHAPES)
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive(shape, adapts, recurrent):
    B, T, H = shape
    H += -H % VECTOR if recurrent else 0  # a product with V sums as many in either back end
    inputs = adaptive_inputs(B, T, H, adapts=adapts, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cuda", inputs, exact_gradients=EXACT, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("case", RESETTING)
def test_resetting(case, recurrent):
    adapts, form = RESETTING[case]
    run = functools.partial(run_resetting, **form)
    for learns in (False, True):
        inputs = resetting_inputs(
            *SMALL_SHAPES[-1], adapts=adapts, recurrent=recurrent, learns=learns
        )
        for given in (inputs, coarse(inputs)):
            assert_like_naive(run, "cuda", given, exact_gradients=EXACT, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("shape", SMALL_SHAPES)
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_balanced(shape, recurrent, learns):
    inputs = balanced_inputs(*shape, recurrent=recurrent, learns=learns)
    assert_like_naive(run_balanced, "cuda", inputs, exact_gradients=EXACT, device=DEVICE)


@without_gpu
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_of_unstable_neurons(recurrent):
    inputs = adaptive_inputs(2, 25, 40, a_low=-1.0, recurrent=recurrent)
    assert_like_naive(run_adaptive, "cuda", inputs, exact_gradients=EXACT)


def specified(inside):
    """What runs the recurrence of resonating neurons."""
    return specified_on_cpu(functools.partial(run_resonate, inside=inside))


@with_or_without_gpu
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("shape", "gain_is_tensor"),
    [(SMALL_SHAPES[-1], False), *((shape, True) for shape in SMALL_SHAPES)],
)
@pytest.mark.parametrize("recurrent", [False, True])
def test_resonate(shape, inside, gain_is_tensor, recurrent):
    B, T, H = shape
    H += -H % VECTOR if recurrent else 0  # a product with V sums as many in either back end
    options = {"gain_is_tensor": gain_is_tensor, "recurrent": recurrent}
    inputs = resonate_inputs(B, T, H, inside=inside, **options)
    assert_like_naive(specified(inside), "cuda", inputs, exact_gradients=EXACT, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("adapts", [False, True])
def test_the_threshold_may_learn(adapts, recurrent):
    B, T, H = SMALL_SHAPES[-1]
    H += -H % VECTOR if recurrent else 0  # as above
    inputs = adaptive_inputs(B, T, H, adapts=adapts, recurrent=recurrent, learns=True)
    assert_like_naive(run_adaptive, "cuda", inputs, exact_gradients=EXACT, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("inside", [False, True])
def test_threshold_reset_and_scale_may_learn(inside):
    run = specified
    inputs = resonate_inputs(3, 16, VECTOR, inside=inside, learns=True, recurrent=True)
    assert_like_naive(run(inside), "cuda", inputs, exact_gradients=EXACT, device=DEVICE)
    inputs = resonate_inputs(*SMALL_SHAPES[-1], inside=inside, learns=True)
    assert_like_naive(run(inside), "cuda", inputs, exact_gradients=EXACT, device=DEVICE)
    inputs |= fold_inputs(inputs["I"].shape[2])
    assert_like_naive(within_fold(run(inside), 0.4), "cuda", inputs, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("shape", READOUT_SHAPES)
def test_readout(shape):
    inputs = readout_inputs(*shape)
    assert_like_naive(run_readout, "cuda", inputs, exact=False, device=DEVICE)
    assert_like_naive(run_potentials, "cuda", inputs, exact_gradients=EXACT, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("shape", SCAN_SHAPES)
@pytest.mark.parametrize("tile", [2048, 32])
def test_selective_scan(shape, tile, monkeypatch):
    """All channels in one program, and in several."""
    scan = importlib.import_module("models.dynamics.triton_scan")
    monkeypatch.setattr(scan, "LARGEST_TILE", tile)
    inputs = scan_inputs(*shape)
    assert_like_naive(run_scan, "cuda", inputs, exact=False, device=DEVICE)

    def outputs_only(backend, **inputs):
        return run_scan(backend, **inputs)[:1]

    assert_like_naive(outputs_only, "cuda", inputs, exact=False, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("name", ["triangle", "multi_gaussian"] if EMULATED else SURROGATES)
def test_surrogates(name):
    assert_surrogate_like_double_precision(name, "cuda", DEVICE)


def within_fold(run, p):
    """``run`` of a recurrence within a fold, whose mask ``naive`` takes from the kernels."""

    def run_folded(backend, I, mean, slope, shift, **inputs):
        loops = importlib.import_module("models.dynamics.triton_loops")
        seed = torch.tensor([2**40 + 3], device=I.device)
        counts = I.new_full((I.shape[0], I.shape[2]), -1)
        fold = Fold(mean, slope, shift, p, seed, counts)
        if backend != "naive":
            spikes, *state = run(backend, I=I, **inputs, fold=fold)
            assert torch.equal(counts, torch.count_nonzero(spikes, dim=1).float())
            return [spikes, *state]
        current = I if mean is None else (I - mean) * slope + shift
        spikes, *state = run(backend, I=current, **inputs)
        factors = loops.dropout_factors(tuple(I.shape), p, seed) if p else 1
        return [spikes * factors, *state]

    return run_folded


def fold_inputs(H, *, normalizes=True):
    draw = random(7)
    bounds = {"mean": (-1, 1), "slope": (0.5, 1.5), "shift": (-1, 1)}
    return {name: draw(*bounds[name], H) if normalizes else None for name in bounds}


FOLDS = [(True, 0.4), (True, 0.0), (False, 0.4)]  # whether it normalises, and p of dropout
if EMULATED:
    FOLDS = FOLDS[:1]  # the others are parts of it


@with_or_without_gpu
@pytest.mark.parametrize("shape", SHAPES_WITHIN)
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize(("normalizes", "p"), FOLDS)
def test_adaptive_within_a_fold(shape, adapts, normalizes, p):
    inputs = adaptive_inputs(*shape, adapts=adapts) | fold_inputs(shape[2], normalizes=normalizes)
    assert_like_naive(within_fold(run_adaptive, p), "cuda", inputs, device=DEVICE)


@with_or_without_gpu
@pytest.mark.parametrize("shape", SHAPES_WITHIN)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("normalizes", "p"), FOLDS)
def test_resonate_within_a_fold(shape, inside, normalizes, p):
    inputs = resonate_inputs(*shape, inside=inside)
    inputs |= fold_inputs(shape[2], normalizes=normalizes)
    run = within_fold(specified(inside), p)
    assert_like_naive(run, "cuda", inputs, device=DEVICE)


@without_gpu
def test_the_mask_of_dropout():
    loops = importlib.import_module("models.dynamics.triton_loops")
    shape, p = (4, 26, 128), 0.3
    first, again, other = (
        loops.dropout_factors(shape, p, torch.tensor([seed])) for seed in (2**50, 2**50, 5)
    )
    assert torch.equal(first, again)
    dropped = first == 0
    assert torch.equal(first[~dropped], torch.full_like(first[~dropped], 1 / (1 - p)))
    for dims in ((0, 1, 2), (1, 2), (0, 1), (0, 2)):  # no row, neuron or step is special
        share = dropped.double().mean(dim=dims)
        spread = (p * (1 - p) * share.numel() / dropped.numel()) ** 0.5
        assert ((share - p).abs() < 5 * spread).all(), dims
    assert 0.5 < (dropped == (other == 0)).double().mean() < 0.66  # 0.58 if they are independent


@without_gpu
@pytest.mark.parametrize(
    ("neuron", "bidirectional"),
    [("SiLIF", True), ("CSiLIF", False), ("LIFNode", True), ("SEadLIF", False)],
)
def test_networks_train_alike_with_folded_layers(neuron, bidirectional):
    results = []
    for backend in ("naive", "cuda"):
        torch.manual_seed(3)
        options = {"bidirectional": bidirectional, "learn_threshold": bidirectional}
        net = SNN((None, None, 6), [10, 7, 4], neuron, backend=backend, **options)
        for layer in net.hidden_layers:
            torch.nn.init.constant_(layer.norm.weight, 2.0)  # so that they fire
        torch.manual_seed(1)
        output, rates, _ = net(torch.rand(3, 9, 6).mul(4).floor())
        functional.cross_entropy(output, torch.tensor([0, 1, 2])).backward()
        gradients = {name: x.grad for name, x in net.named_parameters()}
        results.append({"output": output, "rates": rates, **gradients, **dict(net.named_buffers())})
    expected, found = results
    for name, value in expected.items():
        assert largest_error(found[name], value) < 1e-4, name  # float32 within the normalisation


@without_gpu
@pytest.mark.parametrize(
    ("run", "inputs"),
    [
        (run_adaptive, adaptive_inputs(2, 11, 40)),
        (run_adaptive, adaptive_inputs(2, 11, 40, adapts=False)),
        (run_adaptive, adaptive_inputs(2, 11, 40, recurrent=True)),
        (
            functools.partial(run_resonate, inside=True),
            resonate_inputs(2, 11, 40, inside=True),
        ),
        (run_resetting, resetting_inputs(2, 11, 40, recurrent=True)),
        (run_balanced, balanced_inputs(2, 11, 40, recurrent=False)),
        (run_readout, readout_inputs(2, 11, 5)),
        (run_potentials, readout_inputs(2, 11, 5)),
    ],
)
def test_the_state_after_the_last_step_may_have_no_gradient(run, inputs):
    """As in training. What a kernel leaves alone is not a number here."""

    def run_for_first(backend, **inputs):
        return run(backend, **inputs)[:1]

    torch.use_deterministic_algorithms(True)
    try:
        assert_like_naive(run_for_first, "cuda", inputs, exact=run is not run_readout)
    finally:
        torch.use_deterministic_algorithms(False)


@without_gpu
def test_inputs_need_not_be_dense():
    inputs = adaptive_inputs(3, 8, 20, recurrent=True)
    inputs["I"] = inputs["I"].transpose(0, 1).contiguous().transpose(0, 1)
    inputs["u"] = inputs["u"].T.contiguous().T
    inputs["a"] = inputs["a"][:1].expand(20)
    assert_like_naive(run_adaptive, "cuda", inputs)


@without_gpu
def test_nothing_is_kept_without_gradients():
    inputs = adaptive_inputs(2, 5, 8)
    expected = run_adaptive("naive", **inputs)
    inputs["alpha"].requires_grad_()
    with torch.no_grad():
        outputs = run_adaptive("cuda", **inputs)
    assert all(x.grad_fn is None for x in outputs)
    assert all(torch.equal(x, y) for x, y in zip(outputs, expected, strict=True))


@with_or_without_gpu
@pytest.mark.parametrize("name", TRIED)
def test_the_trial_before_first_use_passes(name, monkeypatch):
    operation, *variant = TRIED[name]
    module = sys.modules[getattr(operation.trials, "func", operation.trials).__module__]
    if DEVICE == "cpu":  # the interpreter is slow
        for name, size in {"B": 2, "T": 8, "H": 40}.items():
            monkeypatch.setattr(module, name, size)
            monkeypatch.setattr(trial, name, size)
    assert try_kernels(operation, "cuda", torch.device(DEVICE), *variant) == ""


@with_or_without_gpu
@pytest.mark.parametrize("shape", SMALL_SHAPES)
@pytest.mark.parametrize("sigma", [3.0, 0.23])
def test_delays(shape, sigma):
    x, P = random(1)(-1, 1, *shape), random(2)(-3, 3, shape[2])
    outputs, gradient = [], torch.randn(shape, device=DEVICE)
    for backend in ("naive", "cuda"):
        given = [v.to(DEVICE).requires_grad_() for v in (x, P)]
        y = filter_of(backend)(*given, torch.tensor(sigma, device=DEVICE), 7)
        outputs.append([y.detach(), *torch.autograd.grad(y, given, gradient)])
    for found, expected in zip(*outputs[::-1], strict=True):
        scale = float(expected.abs().max().clamp(min=1))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * scale)


@without_gpu
@pytest.mark.parametrize("wrong", ["x", "weight", "running_mean", "running_var", "slope"])
def test_wrong_batch_statistics_are_detected(wrong, monkeypatch):
    statistics = importlib.import_module("models.folding_triton")
    gradients, remember = statistics.gradients, statistics.remember

    def wrong_gradients(*arguments):
        of_x, of_weight = gradients(*arguments)
        if wrong == "x":
            of_x[:, -1] += 0.1 * of_x.abs().max()
        return of_x, 1.1 * of_weight if wrong == "weight" else of_weight

    def wrong_memory(norm, *arguments):
        rate, slope = remember(norm, *arguments)
        if wrong.startswith("running"):
            getattr(norm, wrong).mul_(1.1)
        return rate, rate if wrong == "slope" else slope

    monkeypatch.setattr(statistics, "gradients", wrong_gradients)
    monkeypatch.setattr(statistics, "remember", wrong_memory)
    found = try_kernels(BATCH_STATISTICS, "cuda", torch.device("cpu"))
    what = f"the gradient of {wrong}" if wrong in ("x", "weight") else wrong.replace("_", " ")
    assert f"{what} not as in plain" in found.replace("variance", "var")


@with_or_without_gpu
@pytest.mark.parametrize("count", [1, 8, 4095, 4097, 10_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spikes_are_kept_as_bits(count, dtype):
    bits = importlib.import_module("models.linear_triton")
    x = ((torch.rand(count) < 0.4) * 1.25).to(DEVICE, dtype)
    packed = bits.pack(x)
    assert packed.nbytes <= count / 8 + bits.BLOCK
    assert torch.equal(bits.unpack(packed, x.shape, 1.25, dtype), x)


@without_gpu
def test_wrong_bits_are_detected(monkeypatch):
    bits = importlib.import_module("models.linear_triton")
    monkeypatch.setattr(bits, "pack", lambda x, pack=bits.pack: pack(x) ^ 1)
    found = try_kernels(BITS, "cuda", torch.device("cpu"))
    assert "the gradient of weight not as in plain" in found
