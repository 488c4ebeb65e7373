# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Weights as a deployed network holds them: normalisation folded in, of 32 bits or quantised."""

import torch
from torch import Tensor, nn

from models.linear import quantized
from models.readouts import ReadoutLayer

NIBBLE = 4  # bits of a weight of which two are packed into a byte


def pack(whole: Tensor, bits: int) -> Tensor:
    """Whole numbers [out, in] as int8, or, up to ``NIBBLE`` bits, two in a byte [out, (in+1)//2]:
    each plus 8, the one of the even column in the low half."""
    if bits > NIBBLE:
        return whole.to(torch.int8)
    raised = nn.functional.pad(whole + 8, (0, whole.shape[1] % 2), value=8)
    return (raised[:, ::2] + 16 * raised[:, 1::2]).to(torch.uint8)


def unpack(packed: Tensor, columns: int) -> Tensor:
    """The numbers [out, columns] (float32) that :func:`pack` has packed."""
    if packed.dtype == torch.int8:
        return packed.float()
    both = packed.to(torch.int32)
    halves = torch.stack([both % 16, torch.div(both, 16, rounding_mode="trunc")], dim=2) - 8
    return halves.flatten(1)[:, :columns].float()


class Weights(nn.Module):
    """Weights [out, in], of ``bits`` if they are quantised, and what is left of normalisation.

    A quantised row is whole numbers and one ``factor``, into which the ``scale`` of the row goes.

    Args:
        weight: [out, in].
        scale, bias: [out], by which the product is multiplied and what is added to it; or None.
    """

    def __init__(self, weight: Tensor, scale: Tensor | None, bias: Tensor | None, bits: int | None):
        super().__init__()
        self.bits, self.shape = bits, tuple(weight.shape)
        if bits is None:
            self.values = nn.Buffer(weight if scale is None else weight * scale[:, None])
            self.factor = None
        else:
            whole, factor = quantized(weight, bits)
            factor = factor[:, 0]
            self.values = nn.Buffer(pack(whole, bits))
            self.factor = nn.Buffer(factor if scale is None else factor * scale)
        self.bias = None if bias is None else nn.Buffer(bias)

    def rows(self) -> Tensor:
        """What ``factor`` makes weights of, or the weights: [out, in] float32."""
        return self.values if self.bits is None else unpack(self.values, self.shape[1])

    def product(self, x: Tensor) -> Tensor:
        """[B, in] -> [B, out] before factor and bias."""
        return x @ self.rows().T

    def finish(self, y: Tensor) -> Tensor:
        """Factor and bias."""
        y = y if self.factor is None else y * self.factor
        return y if self.bias is None else y + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] -> [B, out]."""
        return self.finish(self.product(x))


def affine_of(norm: nn.Module | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Scale and bias [H] of products: those of batchnorm behind ``bias``, or ``bias`` alone."""
    if not isinstance(norm, nn.BatchNorm1d):
        return None, bias
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    return scale, norm.bias + shift * scale


def folded(layer: nn.Module, bits: int | None) -> Weights:
    """Weights, bias and batchnorm of ``layer``, and the gain of a readout, as one affine map."""
    scale, bias = affine_of(layer.norm, layer.W.bias)
    gain = getattr(layer, "gain", None) if isinstance(layer, ReadoutLayer) else None
    if gain is not None and not isinstance(layer.norm, nn.LayerNorm):
        gain = gain / (1 - layer.decay())
        scale = gain if scale is None else scale * gain
        bias = None if bias is None else bias * gain
    return Weights(layer.W.weight, scale, bias, bits)
