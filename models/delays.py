# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Learnable delays in front of the neurons of a layer (Hammouamri et al. 2024, DCLS).

A delay is a position on an axis of ``taps`` time steps, spread by a Gaussian whose width shrinks
over the training; evaluation takes the rounded position. Where a position belongs to:

    synaptic    every weight [H, F]       I = sum_k (W * g_k) x_{t-(taps-1)+k}
    axonal      every input [F]           I = W sum_k g_k x_{t-(taps-1)+k}
    dendritic   every neuron [H]          I = sum_k g_k (W x)_{t-(taps-1)+k}

The last two are of Bouhadjar et al. 2026. Nothing is seen before it happens, and the number of
steps stays: what would arrive after the last one is lost.
"""

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models import delays_spectral
from models.dynamics.backends import Operation, compiled, in_graph, tried
from models.dynamics.trial import B, H, T, Trial, uniform
from models.gaussians import gaussian, slopes, width_of
from models.linear import Linear, by_step
from models.network import ParameterGroup

DELAYS = ("none", "axonal", "dendritic", "synaptic")
NARROWEST = 0.23  # sigma at which the published schedule ends


def taps_of(max_delay_ms: float, step_ms: float) -> int:
    """The odd number of taps whose longest delay comes near ``max_delay_ms``, as published.

    ValueError where that is no delay at all.
    """
    taps = int(max_delay_ms / step_ms + 1e-6) + 1
    taps -= taps % 2 == 0
    if taps < 3:
        raise ValueError(
            f"{max_delay_ms:g} ms are less than two time steps of {step_ms:g} ms: no delay fits"
        )
    return taps


def filtered(x: Tensor, g: Tensor) -> Tensor:
    """y_t = sum_k g_k x_{t-(D-1)+k} of every feature of x [B, T, F]; g [F, D]."""
    padded = F.pad(x.transpose(1, 2), (g.shape[1] - 1, 0))
    if g.requires_grad and x.device.type == "cpu" and not in_graph():
        # Each clip with filters of its own: PyTorch would add up the gradient of a tap over all
        # steps of all clips one by one, and what the position gets is a difference of such sums.
        y = F.conv1d(padded.flatten(0, 1), g.repeat(len(x), 1)[:, None], groups=len(x) * len(g))
        return y.view(len(x), len(g), -1).transpose(1, 2)
    return F.conv1d(padded, g[:, None], groups=len(g)).transpose(1, 2)


def shifted(x: Tensor, delay: Tensor, longest: int) -> Tensor:
    """x [B, T, F] of every feature, ``delay`` [F] whole steps, 0 to ``longest``, later."""
    steps = torch.arange(longest, longest + x.shape[1], device=x.device)
    index = (steps[:, None] - delay).expand(x.shape)
    return F.pad(x, (0, 0, longest, 0)).gather(1, index)


class Delay(nn.Module):
    """Delays of what a layer of ``inputs`` -> ``outputs`` receives through its weights W.

    Args:
        kind: "axonal", "dendritic" or "synaptic".
        taps: D, an odd number; delays are 0 to D - 1 steps.
        inputs, outputs: features F, neurons H.

    Positions ``P`` start uniformly from one step beyond the longest delay, as published, and are
    brought back to it; ``floor(D/2) - P`` is the delay in steps. Raises ValueError for an unknown
    kind or an impossible number of taps.
    """

    def __init__(self, kind: str, taps: int, inputs: int, outputs: int):
        super().__init__()
        if kind not in DELAYS[1:]:
            raise ValueError(f"delay '{kind}' is not one of {', '.join(DELAYS)}")
        if not isinstance(taps, int) or taps < 3 or taps % 2 == 0:
            raise ValueError(f"delays need an odd number of taps from 3 on, got {taps}")
        self.kind, self.taps, self.longest = kind, taps, taps // 2
        self.inputs, self.outputs = inputs, outputs
        shape = {"axonal": (inputs,), "dendritic": (outputs,), "synaptic": (outputs, inputs)}[kind]
        P = torch.empty(shape).uniform_(-self.longest - 1, self.longest)  # as published
        self.P = nn.Parameter(P.clamp_(-self.longest, self.longest))
        self.register_buffer("sigma", torch.tensor(float(self.longest)))

    def set_progress(self, epoch: int, nb_epochs: int) -> None:
        """Bring sigma to its value during ``epoch``, from 0, of ``nb_epochs``.

        It starts at floor(D/2), shrinks by a constant factor for a quarter of the training, and
        stays at ``NARROWEST``. In float32, one epoch after another, as published.
        """
        shrinking = max(1, nb_epochs // 4)
        factor = (NARROWEST / self.longest) ** (1 / shrinking)
        sigma = torch.tensor(float(self.longest))
        for _ in range(min(epoch, shrinking)):
            sigma = sigma * factor if sigma > NARROWEST else sigma
        self.sigma.copy_(sigma)

    def delays(self) -> Tensor:
        """The delays as evaluation uses them, whole steps (int64), of the shape of P."""
        return self.longest - self.P.detach().round().clamp(-self.longest, self.longest).long()

    def nb_state_variables(self) -> int:
        """Values that a chip must hold: the last D - 1 of each input, or current of a neuron."""
        lines = self.outputs if self.kind == "dendritic" else self.inputs
        return (self.taps - 1) * lines

    @torch.no_grad()
    def lost(self, x: Tensor) -> Tensor:
        """How many operations of the events in x [B, T, F] are due after the last step."""
        delays = self.delays()
        late = torch.count_nonzero(x[:, 1 - self.taps :], dim=0)  # [steps, F]
        if self.kind == "synaptic":
            counts = x.new_zeros(self.taps, self.inputs)
            counts.scatter_add_(0, delays, torch.ones_like(delays, dtype=x.dtype))
            longer = counts[1:].flip(0).cumsum(0)[-len(late) :]  # than what is left of the clip
            return (late * longer).sum(dtype=torch.int64)
        left = torch.arange(len(late) - 1, -1, -1, device=x.device)
        longer = delays.flatten() > left[:, None]
        if self.kind == "axonal":
            return (late * longer).sum() * self.outputs
        return (late.sum(1) * longer.sum(1)).sum()

    def forward(self, x: Tensor, W: Linear) -> Tensor:
        """Delayed currents [B, T, H] that ``x`` [B, T, F] gives through ``W``."""
        if self.kind == "axonal":
            current = self.of_events(x, W)
            if current is None:
                return W(self.along(x, W.backend))
        elif self.kind == "dendritic":
            current = self.along(W.multiply(x, W.rounded()), W.backend)
        else:
            current = self.synaptic(x, W)
        return current if W.bias is None else current + W.bias

    def resumed(self, x: Tensor, W: Linear, line: Tensor) -> tuple[Tensor, Tensor]:
        """The same behind the ``line`` [B, D - 1, ...] of earlier steps, and the line after ``x``.

        In evaluation, where the chunks of a clip give what the clip gives, to the last bit.
        """
        earlier = self.taps - 1
        if self.kind == "dendritic":
            x = by_step(W, partial(W.multiply, weight=W.rounded()), x)
        x = torch.cat([line, x], dim=1)
        line = x[:, -earlier:]
        if self.kind == "axonal":
            return by_step(W, W, self.along(x, W.backend)[:, earlier:]), line
        if self.kind == "dendritic":
            current = self.along(x, W.backend)[:, earlier:]
        else:
            current = self.synaptic(x, W, earlier)
        return (current if W.bias is None else current + W.bias), line

    def of_events(self, x: Tensor, W: Linear) -> Tensor | None:
        """Currents in training, delayed along the axons, from the events in x alone; None where
        that takes no less time, or cannot be."""
        plain = not self.training or W.precision != "fp32" or in_graph()
        if plain or not W.may_search(x.shape[0] * x.shape[1]):
            return None
        if not compiled("cpu", W.backend, x, self.P):
            return None
        return kernels_of("cpu").currents(x, self.P, self.sigma, self.taps, W.rounded())

    def along(self, x: Tensor, backend: str) -> Tensor:
        """x [B, T, F], every feature delayed by itself."""
        if not self.training:
            if kernels := kernels_without_gradients(backend, x):
                return kernels.shifted(x, self.delays())
            return shifted(x, self.delays(), self.taps - 1)
        kernels = kernels_for(backend, x, self.P)
        if kernels is None:
            return filtered(x, gaussian(self.P, self.sigma, self.taps))
        return _Filtered.apply(x.contiguous(), self.P, self.sigma, self.taps, kernels)

    def synaptic(self, x: Tensor, W: Linear, earlier: int = 0) -> Tensor:
        """Currents [B, T, H] of x [B, T, F], delayed at each synapse.

        ``earlier``, all that delays reach back, are steps at the start of x that get none.
        """
        weight = W.rounded()
        if self.training:
            plain = W.backend == "naive" or W.precision != "fp32" or in_graph()
            if not plain and delays_spectral.is_worth_it(x, self.P, self.taps):
                width = width_of(self.sigma)
                return delays_spectral.delayed(x, weight, self.P, width, self.taps)
            g = gaussian(self.P, self.sigma, self.taps)
        else:
            kernels = kernels_without_gradients(W.backend, x, weight)
            if kernels and W.precision == "fp32":
                return kernels.delayed(x, weight, self.delays())[:, earlier:]
            g = F.one_hot(self.taps - 1 - self.delays(), self.taps).to(x.dtype)
        # Time first, so that the inputs of a tap are rows one after another, and no copy.
        rows = x.transpose(0, 1)
        rows = rows if earlier else F.pad(rows, (0, 0, 0, 0, self.taps - 1, 0))
        T = x.shape[1] - earlier

        def product(k):
            multiply = partial(W.multiply, weight=weight * g[..., k])
            given = rows[k : k + T]
            return by_step(W, multiply, given, dim=0) if earlier else multiply(given)

        return sum(product(k) for k in range(self.taps)).transpose(0, 1)


class _Filtered(torch.autograd.Function):
    """The filter by compiled kernels, which keep at most their input for the backward pass."""

    @staticmethod
    def forward(ctx, x, P, sigma, taps, kernels):
        g = gaussian(P, sigma, taps)
        y, kept = kernels.apply(x, g)
        ctx.save_for_backward(g, slopes(g, P, sigma), *kept)
        ctx.kernels = kernels
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        (g, slope, *kept), of_x = ctx.saved_tensors, ctx.needs_input_grad[0]
        found = ctx.kernels.gradients(kept, g, slope, d_y.contiguous(), of_x)
        return *found, None, None, None


def trials() -> Iterator[Trial]:
    """A filter of real numbers, at a wide and at a narrow sigma."""
    draw = uniform()
    inputs = {"x": draw(-1, 1, B, T, H), "P": draw(-4, 4, H)}
    for sigma in (4.0, NARROWEST):

        def run(filter_of, x, P, sigma=sigma):
            return {"the filtered input": filter_of(x, P, torch.tensor(sigma, device=x.device), 9)}

        yield Trial(f"sigma {sigma:g}", inputs, run)


def filter_of(backend: str) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """The filter by ``backend``, of x [B, T, F], P [F], sigma and the number of taps."""
    if backend == "naive":
        return lambda x, P, sigma, taps: filtered(x, gaussian(P, sigma, taps))
    return lambda *given: _Filtered.apply(*given, kernels_of(backend))


DELAYS_OF_FEATURES = Operation("delays", filter_of, trials)


def kernels_of(backend: str) -> ModuleType:
    """The module of compiled kernels of a back end."""
    return importlib.import_module(
        f"{__package__}.delays_" + {"cpu": "cpu", "cuda": "triton"}[backend]
    )


def kernels_for(backend: str, *tensors: Tensor) -> ModuleType | None:
    """The module of compiled kernels for these ``tensors``, None where plain PyTorch computes."""
    if compiled("cpu", backend, *tensors):
        return kernels_of("cpu")
    if not compiled("cuda", backend, *tensors):
        return None
    if backend == "auto" and tried(DELAYS_OF_FEATURES, "cuda", tensors[0].device):
        return None
    return kernels_of("cuda")


def kernels_without_gradients(backend: str, *tensors: Tensor) -> ModuleType | None:
    """The same for delays of whole steps where no gradient is asked for; CPU kernels alone."""
    plain = torch.is_grad_enabled() or not compiled("cpu", backend, *tensors)
    return None if plain else importlib.import_module(f"{__package__}.delays_whole")


def add_delay(layer: nn.Module, kind: str, taps: int) -> None:
    """Let ``layer``, a ``SpikingLayer`` or ``ReadoutLayer``, delay what it receives."""
    layer.delay = Delay(kind, taps, layer.W.in_features, layer.W.out_features).to(layer.W.weight)
    group = ParameterGroup(kind="delay", clamp=(-layer.delay.longest, layer.delay.longest))
    layer.groups = {**getattr(layer, "groups", {}), "delay.P": group}
