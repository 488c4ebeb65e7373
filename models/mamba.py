# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Mamba (Gu & Dao 2023, arXiv 2312.00752): a state-space model whose steps depend on the input."""

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dynamics import selective_scan
from models.linear import Linear
from models.network import ParameterGroup
from models.shell import in_full

STATE_SIZE, DT_MIN, DT_MAX = 64, 0.001, 0.1
LEAST_DT = 1e-4  # below which no step starts, whatever dt_min is
WIDTH = 4  # of the convolution, in steps
CHANNELS_PER_RANK = 16  # of the step sizes


class MambaState(NamedTuple):
    """What a step leaves behind."""

    recent: Tensor  # [B, WIDTH - 1, H] the last inputs of the convolution
    h: Tensor  # [B, H, N] states of the scan


class Mamba(nn.Module):
    """The block [B, T, H] -> [B, T, H], its inner width H (``expand=1``).

    ::

        x, z = in_proj(input)
        x = silu(conv1d(x))                             causal, each channel by itself
        dt, B, C = x_proj(x);  delta = softplus(dt_proj(dt))
        y = selective_scan(x, delta, -exp(A_log), B, C, D)
        output = out_proj(y * silu(z))

    Names, initial values and the order in which they are drawn are those of the package mamba-ssm.
    ``options``: state_size, dt_min, dt_max, and the backend of the scan. It has no dropout.
    """

    key = "mamba"  # its name in a layer
    spikes = False
    groups: ClassVar[dict[str, ParameterGroup]] = {}
    operation = "selective_scan"

    def __init__(
        self,
        size: int,
        *,
        dropout: float = 0.0,
        options: dict | None = None,
    ):
        super().__init__()
        options = options or {}
        states = options.get("state_size", STATE_SIZE)
        dt_min, dt_max = options.get("dt_min", DT_MIN), options.get("dt_max", DT_MAX)
        if states < 1:
            raise ValueError(f"state_size must be a whole number above 0, got {states}")
        if not 0 < dt_min <= dt_max < math.inf:
            raise ValueError(f"dt_min and dt_max must be positive numbers, got {dt_min}, {dt_max}")
        rank = math.ceil(size / CHANNELS_PER_RANK)
        self.backend = options.get("backend", "auto")
        self.sizes = rank, states, states  # of dt, B and C
        self.in_proj = Linear(size, 2 * size, bias=False, backend="naive")
        self.conv1d = nn.Conv1d(size, size, WIDTH, groups=size)
        self.x_proj = Linear(size, sum(self.sizes), bias=False, backend="naive")
        self.dt_proj = Linear(rank, size, backend="naive")
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = math.log(dt_min), math.log(dt_max)
        dt = torch.exp(torch.rand(size) * (high - low) + low).clamp(min=LEAST_DT)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt
        A = torch.arange(1, states + 1, dtype=dt.dtype).expand(size, states)
        self.A_log = nn.Parameter(torch.log(A))
        self.D = nn.Parameter(torch.ones(size))
        self.out_proj = Linear(size, size, bias=False, backend="naive")
        self.states_per_neuron = states + WIDTH - 1
        self.fan_out = 3 * size + 2 * (rank + states)  # rows of all matrices, by channel
        # Of a channel at each step, as (AC, MAC): delta A, a h, delta u B and C h of every state;
        # the convolution, delta u, D u and the products of two SiLU and the gate; two biases.
        self.update_operations = 2, 4 * states + WIDTH + 5

    def initial_state(self, x: Tensor) -> MambaState:
        """Zeros for ``x`` [B, T, H]."""
        batch, _, size = x.shape
        recent = x.new_zeros(batch, WIDTH - 1, size)
        return MambaState(recent, x.new_zeros(batch, size, self.A_log.shape[1]))

    def forward(
        self, x: Tensor, state: MambaState | None = None
    ) -> tuple[Tensor, Tensor, MambaState]:
        """Output and activations [B, T, H], and the state after the last step."""
        recent, h = self.initial_state(x) if state is None else state
        x, z = self.in_proj(x).chunk(2, dim=2)
        x = torch.cat([recent, x], dim=1)
        recent = x[:, 1 - WIDTH :]
        x = functional.silu(self.conv1d(x.mT).mT)
        dt, B, C = self.x_proj(x).split(self.sizes, dim=2)
        delta, A = functional.softplus(self.dt_proj(dt)), -torch.exp(self.A_log)
        inputs = (in_full(y) for y in (x, delta, A, B, C))
        y, h = selective_scan(*inputs, self.D, state=in_full(h), backend=self.backend)
        y = y * functional.silu(z)
        return self.out_proj(y), y, MambaState(recent, h)
