# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Learnable delays of the spikes that return through recurrent weights (DelRec, 2025).

A spike of neuron j returns around ``1 + d_j`` steps later, spread by a triangle of half width s::

    h_j(k) = max(0, s - |k - (1 + d_j)|) / s^2          k = 1, 2, ... steps after the spike
    r_t = z_t @ V,      z_tj = sum_k h_j(k) s_{t-k,j}

with ``s = 1 + sigma``, or ``s_j = 1 + 2 sigma sigmoid(p_j)`` where the spread p is learned. What of
the triangle lies before the first step is lost. The wide triangle of early epochs lets gradients
reach far delays; sigma shrinks with the epochs. Evaluation rounds d, and leaves sigma as it is.
``d = sigma = 0`` is V without delays.
"""

import math

import torch
from torch import Tensor, nn

from models.dynamics import Feedback
from models.network import ParameterGroup

DRAWS = ("normal", "uniform")
DECAY, REFERENCE = 0.95, 100  # sigma shrinks by DECAY per epoch of REFERENCE, or as much in others


class RecurrentDelay(nn.Module):
    """Delays d of ``size`` neurons, in steps.

    Args:
        draw, mean, width: "normal", the absolute value of a normal number of that mean and standard
            deviation; or "uniform", between ``mean - width`` and ``mean + width``; at least 0.
        sigma: its value in the first epoch.
        learn_spread: whether p is learned, from 0.
    """

    def __init__(
        self, size: int, *, draw: str = "normal", mean: float = 0.0, width: float = 12.0,
        sigma: float = 10.0, learn_spread: bool = False,
    ):  # fmt: skip
        super().__init__()
        if draw not in DRAWS:
            raise ValueError(f"recurrent_delay_init '{draw}' is not one of {', '.join(DRAWS)}")
        d = torch.empty(size)
        if draw == "normal":
            d.normal_(mean, width).abs_()
        else:
            d.uniform_(mean - width, mean + width).clamp_(min=0)
        self.d = nn.Parameter(d)
        self.p = nn.Parameter(torch.zeros(size)) if learn_spread else None
        self.first_sigma = sigma
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    @property
    def groups(self) -> dict[str, ParameterGroup]:
        """How the parameters are trained."""
        delay = ParameterGroup(kind="delay", clamp=(0.0, math.inf))
        spread = {} if self.p is None else {"p": ParameterGroup(kind="delay")}
        return {"d": delay} | spread

    def set_progress(self, epoch: int, nb_epochs: int) -> None:
        """Bring sigma to its value during ``epoch``, from 0, of ``nb_epochs``."""
        self.sigma.fill_(self.first_sigma * (DECAY ** (REFERENCE / nb_epochs)) ** epoch)

    def delays(self) -> Tensor:
        """d [H] as it is used: in evaluation whole steps."""
        return self.d if self.training else self.d.detach().round().clamp(min=0)

    def feedback(self, V: Tensor, mask: Tensor | None = None) -> Feedback:
        """What the recurrences take: V [H, H] with these delays, and a ``mask`` of dropout."""
        if torch.compiler.is_exporting():
            raise TypeError(
                "torch.export takes no recurrent delays: their number of taps is learned"
            )
        centre, one = 1 + self.delays(), torch.ones_like(self.sigma)
        half = one + self.sigma if self.p is None else one + 2 * self.sigma * self.p.sigmoid()
        # Corners included: a tap of weight 0 there has a gradient.
        with torch.no_grad():
            first = (centre - half).ceil().clamp(min=1).long()
            count = int(2 * half.max()) + 1
            span = int(first.max()) + count - 1
        k = first[:, None] + torch.arange(count, device=first.device)
        half = half[..., None]
        taps = (half - (k - centre[:, None]).abs()).clamp(min=0) / half**2
        return Feedback(V, mask, taps, first, span)

    @torch.no_grad()
    def ways(self) -> Tensor:
        """Whether [L, H] a spike of each neuron returns after 1 ... L steps."""
        return self.feedback(self.d).dense() > 0

    def arrivals(self, spikes: Tensor, later: bool = False) -> Tensor:
        """How often spikes [B, T, H] return, before the last step is over or ``later`` as well."""
        T, ways = spikes.shape[1], self.ways().cumsum(dim=0)
        if later:
            return (torch.count_nonzero(spikes, dim=(0, 1)) * ways[-1]).sum()
        ways = torch.cat([torch.zeros_like(ways[:1]), ways])
        left = torch.arange(T - 1, -1, -1, device=ways.device).clamp(max=len(ways) - 1)
        return (torch.count_nonzero(spikes, dim=0) * ways[left]).sum()

    def nb_state_variables(self) -> int:
        """Values that a chip must hold of spikes on their way, beside those of the last step."""
        ways = self.ways()
        steps = torch.arange(1, len(ways) + 1, device=ways.device)
        return int(((ways * steps[:, None]).amax(dim=0) - 1).clamp(min=0).sum())


def add_recurrent_delay(layer: nn.Module) -> None:
    """Let the spikes of ``layer``, a ``SpikingLayer``, return after delays."""
    given = layer.extra_features
    layer.recurrent_delay = RecurrentDelay(
        layer.hidden_size,
        draw=given.get("recurrent_delay_init", "normal"),
        mean=given.get("recurrent_delay_mean", 0.0),
        width=given.get("recurrent_delay_width", 12.0),
        sigma=given.get("recurrent_sigma", 10.0),
        learn_spread=given.get("recurrent_spread", False),
    )
    groups = {f"recurrent_delay.{k}": v for k, v in layer.recurrent_delay.groups.items()}
    layer.groups = {**layer.groups, **groups}
