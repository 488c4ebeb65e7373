# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Batch normalisation and dropout of a layer as parts of the recurrence between them.

On a GPU a training step mostly moves currents and spikes. Batch normalisation, once its statistics
are known, reads and writes all currents once more, and dropout all spikes, forwards and backwards;
in the kernels of the recurrence (``models.dynamics.Fold``) both cost arithmetic only, and
neither the normalised currents nor the mask are kept for the backward pass. The spikes are counted
there, too. In evaluation nothing is folded. For the CPU see ``models.linear``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics import Fold
from models.dynamics.backends import Operation, compiled, tried
from models.dynamics.trial import B, H, T, Trial, uniform
from models.linear import normalizes_by_batch


def fold_of(layer: nn.Module, current: Tensor) -> tuple[Tensor, Fold]:
    """What ``layer.dynamics`` is to be given instead of a normalised current.

    Updates the running statistics of ``layer.norm``. The mask of dropout comes from one number of
    the generator of the device.

    Args:
        layer: a ``SpikingLayer`` whose class folds, in training.
        current: [B, T, H] as the feed-forward weights give it.

    Returns:
        A current [B, T, H], and what is left to do to it and to the spikes.
    """
    affine = (None, None, None)
    if normalizes_by_batch(layer.norm, current):
        current, *affine = _standardized(layer.norm, current)
    elif layer.norm is not None:
        current = layer.norm(current.flatten(0, 1)).view_as(current)
    counts = current.new_empty(current.shape[0], current.shape[2])
    if not layer.drop.training or layer.drop.p == 0:
        return current, Fold(*affine, counts=counts)
    seed = torch.randint(2**62, (1,), device=current.device)
    return current, Fold(*affine, layer.drop.p, seed, counts)


def _standardized(norm: nn.BatchNorm1d, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``x`` [B, T, H] untouched, and mean, slope and shift [H] that make ``norm(x)`` of it."""
    kernels = compiled("cuda", "auto", x) and not tried(BATCH_STATISTICS, "cuda", x.device)
    norm.num_batches_tracked.add_(1)
    return *BatchStatistics.apply(x, norm.weight, norm, kernels), norm.bias


class BatchStatistics(torch.autograd.Function):
    """x [B, T, H] and the weight [H] of a norm -> x, its mean, and weight / sqrt(variance + eps).

    x is passed through so that what the statistics add to its gradient is added in one pass. The
    running statistics of the norm are brought up to date. GPU kernels do it, or PyTorch.
    """

    @staticmethod
    def forward(ctx, x, weight, norm, kernels):
        ctx.kernels = kernels
        count = x.shape[0] * x.shape[1]
        variance, mean = torch.var_mean(x, dim=(0, 1), correction=0)
        if kernels:
            from models.folding_triton import remember

            rate, slope = remember(norm, mean, variance, count)
        else:
            rate = torch.rsqrt(variance + norm.eps)
            slope = weight * rate
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        ctx.save_for_backward(x, mean, rate, weight)
        return x.view_as(x), mean, slope

    @staticmethod
    @once_differentiable
    def backward(ctx, d_x, d_mean, d_slope):
        x, mean, rate, weight = ctx.saved_tensors
        if ctx.kernels:
            from models.folding_triton import gradients

            return *gradients(d_x, x, mean, rate, weight, d_mean, d_slope), None, None
        count = x.shape[0] * x.shape[1]
        slope = -(d_slope * weight) * rate**3 / count  # of the gradient over x - mean
        offset = d_mean / count - slope * mean
        return torch.addcmul(d_x, x, slope).add_(offset), d_slope * rate, None, None


def trials() -> Iterator[Trial]:
    """Statistics of a batch, their gradients, and the running statistics of a norm."""
    draw = uniform()
    inputs = {"x": draw(-1, 3, B, T, H), "weight": draw(0.7, 1.3, H)}
    yield Trial("batch normalisation", inputs, _run)


def _run(standardized, x, weight):
    norm = nn.BatchNorm1d(H, device=x.device)
    norm.weight = nn.Parameter(weight.detach())
    count = x[..., 0].numel()  # of values that share a mean's gradient: else it could hide in x's
    x, mean, slope = standardized(x, weight, norm)
    running = {"the running mean": norm.running_mean, "the running variance": norm.running_var}
    return {"x": x, "mean": mean * count, "slope": slope * count} | running


BATCH_STATISTICS = Operation(
    "the gradient of batch normalisation",
    lambda backend: lambda *arguments: BatchStatistics.apply(*arguments, backend == "cuda"),
    trials,
)
