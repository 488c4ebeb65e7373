# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What all GPU kernels share: how they are launched, and the surrogate of the spike."""

import torch
import triton
import triton.language as tl

from models.dynamics.fold import Fold

LARGEST_BLOCK = 128  # neurons of one program
RUN = 8  # steps whose states are computed again, in registers, from the state before the first
# Steps and neurons; a kernel made anew for every kind of number gains nothing by it.
SIZES = ["T", "H"]
# That `derivative` below knows.
SURROGATES = (
    "boxcar", "triangle", "atan", "slayer", "gaussian", "double_gaussian", "multi_gaussian",
)  # fmt: skip


@triton.jit
def spike(x):
    """1 where the distance to the threshold is positive, else 0."""
    return tl.where(x > 0.0, 1.0, 0.0)


@triton.jit
def normal(x, mean: tl.constexpr, deviation: tl.constexpr):
    """Density of the normal distribution."""
    z = (x - mean) * (1.0 / deviation)
    return tl.exp(-0.5 * (z * z)) * (0.3989422804014327 / deviation)


@triton.jit
def derivative(x, NAME: tl.constexpr, W: tl.constexpr):
    """The derivative of the spike that models.surrogate calls NAME, of width W."""
    return (
        tl.where((x > -W) & (x <= W), 1.0, 0.0) if NAME == "boxcar"
        else tl.maximum(1.0 - tl.abs(x) * (1.0 / W), 0.0) if NAME == "triangle"
        else W / (W * W + 9.869604401089358 * x * x) if NAME == "atan"
        else 0.2 / W * tl.exp(tl.abs(x) * (-1.0 / W)) if NAME == "slayer"
        else normal(x, 0.0, W) if NAME == "gaussian"
        else 0.575 * normal(x, 0.0, W) - 0.15 * normal(x, 0.0, 6.0 * W) if NAME == "double_gaussian"
        else 1.15 * normal(x, 0.0, W) - 0.15 * (normal(x, W, 6.0 * W) + normal(x, -W, 6.0 * W))
    )  # fmt: skip


@triton.jit
def load_eight(first, stride, mask):
    """What lies at ``first`` and at the next seven multiples of ``stride`` behind it.

    Loads of several steps before any is used: a load that follows a store waits for it.
    """
    return (
        tl.load(first, mask, 0.0),
        tl.load(first + stride, mask, 0.0),
        tl.load(first + 2 * stride, mask, 0.0),
        tl.load(first + 3 * stride, mask, 0.0),
        tl.load(first + 4 * stride, mask, 0.0),
        tl.load(first + 5 * stride, mask, 0.0),
        tl.load(first + 6 * stride, mask, 0.0),
        tl.load(first + 7 * stride, mask, 0.0),
    )


@triton.jit
def load_fold(
    mean, slope, shift, seed, j, mask, NORMALIZES: tl.constexpr, DROPS: tl.constexpr
):  # fmt: skip
    """mean, slope and shift of the neurons j, and the seed; what is not used is 0."""
    mean_j, slope_j, shift_j, random = 0.0, 0.0, 0.0, 0
    if NORMALIZES:
        mean_j, slope_j = tl.load(mean + j, mask, 0.0), tl.load(slope + j, mask, 0.0)
        shift_j = tl.load(shift + j, mask, 0.0)
    if DROPS:
        random = tl.load(seed)
    return mean_j, slope_j, shift_j, random


@triton.jit
def normalized(x, mean, slope, shift, NORMALIZES: tl.constexpr):
    """The current of an input, see ``models.dynamics.fold``."""
    if NORMALIZES:
        x = (x - mean) * slope + shift
    return x


@triton.jit
def store_spikes(target, s, factor, count, mask, DROPS: tl.constexpr, COUNTS: tl.constexpr):
    """Store the spikes ``s`` after dropout; ``count`` with those that are left."""
    if DROPS:
        s = s * factor
    tl.store(target, s, mask)
    if COUNTS:
        count += tl.where(s > 0.0, 1.0, 0.0)
    return count


@triton.jit
def store_gradient(
    target, g, x, mean, slope, sum_slope, sum_shift, mask, NORMALIZES: tl.constexpr
):  # fmt: skip
    """Store the gradient of the input ``x`` whose current's is ``g``; the sums with ``g`` added."""
    if NORMALIZES:
        sum_slope += g * (x - mean)
        sum_shift += g
        g = g * slope
    tl.store(target, g, mask)
    return sum_slope, sum_shift


@triton.jit
def four_factors(seed, row, t, T, H, j, p, grown, DROPS: tl.constexpr):
    """What dropout multiplies the spikes of the steps t // 4 * 4 and the three behind it by.

    A counter-based generator (Philox) gives four numbers at once, and gives them again in the
    backward pass: nothing is kept.
    """
    if DROPS:
        at = (row * ((T + 3) // 4) + t // 4) * H + j
        r_0, r_1, r_2, r_3 = tl.rand4x(seed, at)
        return (
            tl.where(r_0 >= p, grown, 0.0),
            tl.where(r_1 >= p, grown, 0.0),
            tl.where(r_2 >= p, grown, 0.0),
            tl.where(r_3 >= p, grown, 0.0),
        )
    else:  # the compiler looks at one branch only
        return (1.0, 1.0, 1.0, 1.0)


@triton.jit
def eight_factors(seed, row, t, T, H, j, p, grown, DROPS: tl.constexpr):
    """The same for eight steps from ``t``, a multiple of four."""
    low = four_factors(seed, row, t, T, H, j, p, grown, DROPS)
    high = four_factors(seed, row, t + 4, T, H, j, p, grown, DROPS)
    return (low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3])


@triton.jit
def one_of_four(four, k):
    """``four[k]`` for a k that is not known when the kernel is compiled."""
    return tl.where(k == 0, four[0], tl.where(k == 1, four[1], tl.where(k == 2, four[2], four[3])))


@triton.jit(do_not_specialize=SIZES)
def _factors(seed, out, T, p, grown, H, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for t in range(0, T, 4):
        four = four_factors(tl.load(seed), row, t, T, H, j, p, grown, True)
        for k in tl.static_range(4):
            at = (row * T + t + k) * H + j
            tl.store(out + at, four[k], (j < H) & (at < (row + 1) * T * H))


def dropout_factors(shape: tuple[int, int, int], p: float, seed: torch.Tensor) -> torch.Tensor:
    """What the kernels multiply spikes [B, T, H] by for ``p`` and ``seed`` of a ``Fold``."""
    out = torch.empty(shape, device=seed.device)
    B, T, H = shape
    launch(_factors, B, H, seed, out, T, p, 1 / (1 - p))
    return out


def fold_arguments(fold: Fold | None) -> tuple:
    """mean, slope, shift, seed, counts, p as the recurrences' autograd functions take them."""
    if fold is None:
        return None, None, None, None, None, 0.0
    return fold.mean, fold.slope, fold.shift, fold.seed, fold.counts, float(fold.p)


def kept_states(steps: int) -> int:
    """How many states of a sequence are kept: one per whole run, and that before each odd step."""
    return steps // RUN + steps % RUN


def launch(
    kernel,
    rows: int,
    neurons: int,
    *arguments,
    block: int | None = None,
    warps: int | None = None,
    **flags,
) -> None:
    """Run one program per batch row and block of neurons on the device of the first argument.

    Contraction to fused multiply-adds is off: it would round differently from the specification,
    and flip spikes.
    """
    if block is None:
        block = min(LARGEST_BLOCK, triton.next_power_of_2(neurons))
    warps = warps or max(1, min(4, block // 32))
    with torch.cuda.device_of(arguments[0]):
        kernel[(rows, triton.cdiv(neurons, block))](
            *arguments, neurons, **flags, BLOCK=block, num_warps=warps, enable_fp_fusion=False
        )


def dense_copy(x: torch.Tensor) -> torch.Tensor:
    """A copy that a kernel may write to."""
    return x.clone(memory_format=torch.contiguous_format)


def own_gradient(x: torch.Tensor | None, of: torch.Tensor, given: bool) -> torch.Tensor:
    """The gradient ``x`` of an output that is shaped like ``of``, in memory that a kernel may use.

    Where there is none it is zeros, or if no output has one (not ``given``) left for the kernel to
    write. PyTorch would make zeros of its own, and these be copied.
    """
    if x is not None:
        return dense_copy(x)
    return (torch.zeros if given else torch.empty)(of.shape, dtype=of.dtype, device=of.device)
