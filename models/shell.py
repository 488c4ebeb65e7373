# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every layer, spiking or not, does around its recurrence."""

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("batchnorm", "layernorm", "none")
BATCHNORM_MOMENTUM = 0.05


def make_norm(normalization: str, size: int) -> nn.Module | None:
    """Normalisation of ``size`` features, or None for "none"; ValueError for another name."""
    if normalization == "batchnorm":
        return nn.BatchNorm1d(size, momentum=BATCHNORM_MOMENTUM)
    if normalization == "layernorm":
        return nn.LayerNorm(size)
    if normalization == "none":
        return None
    raise ValueError(f"normalization '{normalization}' is not one of {', '.join(NORMALIZATIONS)}")


def normalize(norm: nn.Module | None, x: Tensor) -> Tensor:
    """Apply ``norm`` to [..., H], statistics over all leading dimensions; None: no change."""
    if norm is None:
        return x
    return norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)


def append_flipped(x: Tensor) -> Tensor:
    """[B, T, F] -> [2B, T, F]: the time-reversed batch behind the batch."""
    return torch.cat([x, x.flip(1)], dim=0)


def join_directions(y: Tensor) -> Tensor:
    """[2B, T, H] -> [B, T, 2H]: the reversed half is turned back and set beside the forward one."""
    forward, backward = y.chunk(2, dim=0)
    return torch.cat([forward, backward.flip(1)], dim=2)


def flatten_features(x: Tensor) -> Tensor:
    """[B, T, F] as it is, [B, T, F, K] -> [B, T, F*K]; ValueError for another rank."""
    if x.ndim == 4:
        return x.flatten(start_dim=2)
    if x.ndim != 3:
        raise ValueError(f"input must be [B, T, F] or [B, T, F, K], got {list(x.shape)}")
    return x


def input_size(input_shape: tuple) -> int:
    """Features per time step of a batch shaped (B, T, F) or (B, T, F, K); B and T are not used."""
    if len(input_shape) not in (3, 4):
        raise ValueError(f"input_shape must be (B, T, F) or (B, T, F, K), got {input_shape}")
    size = 1
    for extent in input_shape[2:]:
        size *= int(extent)
    return size


def check_sizes(layer_sizes: list[int], use_readout_layer: bool) -> None:
    """ValueError unless there is a hidden layer (before the read-out, if any) of positive size."""
    least = 2 if use_readout_layer else 1
    if len(layer_sizes) < least or min(layer_sizes) < 1:
        raise ValueError(
            f"layer_sizes needs at least {least} positive entries"
            f"{' (the last is the readout)' if use_readout_layer else ''}, got {list(layer_sizes)}"
        )
