# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""S4D (Gu et al. 2022, arXiv 2206.11893), a diagonal state-space model for each channel, and one
that spikes.

    x' = A x + u,  y = 2 Re(C x) + D u          N / 2 complex modes, zero-order hold with step dt

is, over the steps of a sequence, a convolution with the kernel

    k[l] = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n l)

or the recurrence x[l] = exp(dt A) x[l - 1] + u[l].
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.linear import Pointwise
from models.network import ParameterGroup
from models.surrogate import BOXCAR, spike

DT_MIN, DT_MAX, STATE_SIZE = 0.001, 0.1, 64


class S4DKernel(nn.Module):
    """Kernels [H, L] of ``size`` channels H with ``state_size`` N real states each.

    A starts at -1/2 + i pi n (S4D-Lin), log dt uniformly between the logarithms of ``dt_min`` and
    ``dt_max``. The published code takes 0.001 for ``dt_min`` whatever its option says.
    """

    def __init__(
        self,
        size: int,
        state_size: int = STATE_SIZE,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
    ):
        super().__init__()
        if state_size < 2 or state_size % 2:
            raise ValueError(f"state_size must be an even number above 0, got {state_size}")
        if not 0 < dt_min <= dt_max < math.inf:
            raise ValueError(f"dt_min and dt_max must be positive numbers, got {dt_min}, {dt_max}")
        modes, low, high = state_size // 2, math.log(dt_min), math.log(dt_max)
        log_dt = torch.rand(size) * (high - low) + low
        self.C = nn.Parameter(torch.view_as_real(torch.randn(size, modes, dtype=torch.cfloat)))
        self.log_dt = nn.Parameter(log_dt)
        self.log_A_real = nn.Parameter(torch.full((size, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).expand(size, modes).clone())

    def discrete(self) -> tuple[Tensor, Tensor]:
        """dt A, and C (exp(dt A) - 1) / A, [H, N / 2] complex."""
        A = torch.complex(-self.log_A_real.exp(), self.A_imag)
        dt_A = A * self.log_dt.exp()[:, None]
        return dt_A, torch.view_as_complex(self.C) * (torch.exp(dt_A) - 1) / A

    def forward(self, length: int) -> Tensor:
        """k [H, ``length``].

        The powers of exp(dt A) are products of two: of few short and few long ones, by one matrix
        product for each channel.
        """
        dt_A, C = self.discrete()
        width = math.isqrt(length - 1) + 1
        count = -(-length // width)
        steps = torch.arange(max(width, count), device=C.device, dtype=self.log_dt.dtype)
        columns = torch.cat(_powers(dt_A, steps[:width]), dim=1)  # [H, N, width]
        real, imag = _powers(dt_A, width * steps[:count])
        C_real, C_imag = C.real[..., None], C.imag[..., None]
        rows = [C_real * real - C_imag * imag, -C_real * imag - C_imag * real]
        rows = torch.cat(rows, dim=1).mT  # [H, count, N]
        return 2 * torch.bmm(rows, columns).flatten(start_dim=1)[:, :length]


def _powers(x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part [H, N / 2, K] of exp(``x`` ``steps``), several times faster on a CPU
    than torch.exp of complex numbers."""
    size, angle = torch.exp(x.real[..., None] * steps), x.imag[..., None] * steps
    return size * angle.cos(), size * angle.sin()


class _Convolution(torch.autograd.Function):
    """Causal convolution over the last dimension of u [B, H, L] with k [H, L]."""

    @staticmethod
    def forward(ctx, u, k):
        ctx.length = length = u.shape[-1]
        U, K = (torch.fft.rfft(x, n=2 * length) for x in (u, k))
        ctx.save_for_backward(U, K)
        return torch.fft.irfft(U * K, n=2 * length)[..., :length].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        (U, K), length = ctx.saved_tensors, ctx.length
        d_Y = torch.fft.rfft(d_y, n=2 * length)
        d_k = torch.fft.irfft((d_Y * U.conj()).sum(dim=0), n=2 * length)[:, :length]
        d_u = None
        if ctx.needs_input_grad[0]:
            d_u = torch.fft.irfft(d_Y * K.conj(), n=2 * length)[..., :length]
        return d_u, d_k


class S4D(nn.Module):
    """The block [B, T, H] -> [B, T, H]: kernels, D, GELU, dropout, H -> 2 H, and GLU.

    ``options``: state_size, dt_min and dt_max. Dropout leaves out a channel for all steps.
    """

    key = "S4D"  # its name in a layer, and in published checkpoints
    spikes = False
    groups: ClassVar[dict[str, ParameterGroup]] = {
        f"kernel.{name}": ParameterGroup(kind="ssm") for name in ("log_dt", "log_A_real", "A_imag")
    }

    def __init__(self, size: int, *, dropout: float = 0.0, options: dict | None = None):
        super().__init__()
        options = options or {}
        self.D = nn.Parameter(torch.randn(size))
        names = [name for name in ("state_size", "dt_min", "dt_max") if name in options]
        self.kernel = S4DKernel(size, **{name: options[name] for name in names})
        self.dropout = dropout
        self.output_linear = nn.Sequential(Pointwise(size, 2 * size), nn.GLU(dim=1))
        self.fan_out = 2 * size  # what an activation reaches
        self.states_per_neuron = 2 * self.kernel.A_imag.shape[1]
        # Of a channel at each step, as (AC, MAC) of the recurrence: decay x and Re(C x), of complex
        # numbers, D u and the product of GLU; two biases.
        self.update_operations = 2, 3 * self.states_per_neuron + 2

    def forward(
        self, x: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Output and activations [B, T, H], and the state [B, H, N / 2] after the last step (None
        without ``state``)."""
        u, state = self.filtered(x, state)
        activations = self.activation(u)
        y = self.dropped(activations)
        return self.output_linear(y).mT, activations.mT, state

    def filtered(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """y [B, H, T] of ``x`` [B, T, H]: by convolution, or step by step from ``state`` on."""
        u = x.mT
        if state is not None:
            return self.recurrence(u, state)
        k = self.kernel(u.shape[2])
        k = torch.cat([k[:, :1] + self.D[:, None], k[:, 1:]], dim=1)  # D u is a tap of its own
        return _Convolution.apply(u, k), None

    def recurrence(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same one step of ``u`` [B, H, T] at a time."""
        dt_A, C = self.kernel.discrete()
        decay, steps = torch.exp(dt_A), []
        for u_t in u.unbind(dim=2):
            x = decay * x + u_t[..., None]
            steps.append(2 * (C * x).sum(dim=2).real + self.D * u_t)
        return torch.stack(steps, dim=2), x

    def modes(self) -> Tensor:
        """What the modes are multiplied by at each step [H N / 2]."""
        return torch.exp(self.kernel.discrete()[0]).flatten()

    def initial_state(self, x: Tensor) -> Tensor:
        """Modes [B, H, N / 2] of zero for ``x`` [B, T, H]."""
        shape = (len(x), *self.kernel.A_imag.shape)
        return torch.zeros(shape, dtype=x.dtype.to_complex(), device=x.device)

    def activation(self, u: Tensor) -> Tensor:
        """GELU, by the error function."""
        return functional.gelu(u)

    def dropped(self, x: Tensor) -> Tensor:
        """``x`` [B, H, T] without the channels that are left out in this pass of training."""
        if not self.training or self.dropout == 0:
            return x
        keep = 1 - self.dropout
        mask = torch.rand(*x.shape[:2], 1, device=x.device) < keep
        return x * (mask / keep)


class SpikingS4D(S4D):
    """S4D whose activation is a spike where y is above ``threshold``; its gradient is a surrogate.

    Unlike the SpikingSSM of Shen et al. (2024, arXiv 2408.14909), it has no membrane and no reset,
    and its threshold is not learned: y itself is compared, so that spikes of all steps are known at
    once with no network to predict them.
    """

    spikes = True

    def __init__(self, size: int, *, dropout: float = 0.0, options: dict | None = None):
        super().__init__(size, dropout=dropout, options=options)
        options = options or {}
        self.threshold = options.get("threshold", 1.0)
        self.surrogate = options.get("surrogate", BOXCAR)

    def activation(self, u):
        return spike(u - self.threshold, self.surrogate)
