# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Synaptic delays by products of spectra: a few dense products in place of one for every tap.

With X and K the discrete Fourier transforms of N steps of the input and of the taps, the product
X conj(K) is that of y_t = sum_k K_k x_{t+k}, of which the steps that do not wrap around are used.
A clip is cut into pieces, each with the D - 1 steps before it. The transforms are matrix products
themselves, and real numbers: [X_re X_im] and [X_im -X_re] times [K_re K_im] are the two parts.
Taps are counted from the middle one, so that the real part takes the sums of those as far before
and behind it, and the imaginary part their differences, which halves the work. Frequencies come in
chunks, so that no spectrum of all weights is held. Currents differ from sums over taps by rounding,
before a spike, too.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.gaussians import EPSILON, SMALLEST

WORTH_IT = 1 << 28  # multiply-adds of all taps
AT_MOST = 24  # frequencies at once


class Plan(NamedTuple):
    """How [B, T, F] is cut: pieces of ``length`` steps, and ``taps`` - 1 before each."""

    steps: int
    taps: int
    length: int
    pieces: int

    @classmethod
    def of(cls, steps: int, taps: int) -> "Plan":
        length = min(steps, 4 * taps)
        length += length % 2 == 0  # so that the only frequency without a partner is 0
        return cls(steps, taps, length, -(-steps // length))

    @property
    def window(self) -> int:
        """Steps of a piece and of those before it."""
        return self.length + self.taps - 1

    def cut(self, x: Tensor) -> Tensor:
        """x [B, T, F] -> windows [N, pieces * B, F]."""
        behind = self.pieces * self.length - self.steps
        padded = F.pad(x.transpose(0, 1), (0, 0, 0, 0, self.taps - 1, behind))
        return torch.cat([padded[i : i + self.window] for i in self.starts()], dim=1)

    def paste(self, d_windows: Tensor, batch: int) -> Tensor:
        """The adjoint of ``cut``."""
        rows = self.pieces * self.length + self.taps - 1
        total = d_windows.new_zeros(rows, batch, d_windows.shape[2])
        for i, part in zip(self.starts(), d_windows.split(batch, dim=1), strict=True):
            total[i : i + self.window] += part
        return total[self.taps - 1 :][: self.steps].transpose(0, 1).contiguous()

    @property
    def frequencies(self) -> int:
        """Those that the others are the conjugates of."""
        return (self.window + 1) // 2

    @property
    def chunks(self) -> int:
        """Into how many the frequencies are split, as evenly as can be."""
        return -(-self.frequencies // AT_MOST)

    def starts(self) -> range:
        return range(0, self.pieces * self.length, self.length)


@cache
def transforms(plan: Plan, dtype: torch.dtype, device: torch.device) -> list[tuple]:
    """For chunks of c frequencies: to the spectrum [2c, N] of steps, whose real and imaginary parts
    alternate; to the real [c, D // 2 + 1] and imaginary parts [c, D // 2] of ``Taps.folded``; and
    back [length, 2c]."""
    N, middle, found = plan.window, plan.taps // 2, []
    angle = 2 * math.pi / N * torch.outer(torch.arange(plan.frequencies), torch.arange(N)).double()
    forth = torch.stack([angle.cos(), -angle.sin()], dim=1)
    back = forth[:, :, middle : middle + plan.length] * (2 / N)
    back[0] /= 2
    for parts in zip(*(x.tensor_split(plan.chunks) for x in (forth, back)), strict=True):
        now, fro = (x.to(device, dtype) for x in parts)
        even, odd = now[:, 0, : middle + 1], now[:, 1, 1 : middle + 1]
        found.append((now.flatten(0, 1), (even, odd), fro.flatten(0, 1).T))
    return found


def is_worth_it(x: Tensor, P: Tensor, taps: int) -> bool:
    """Whether so many operations pay for the transforms of x [B, T, F] and P [H, F]."""
    return len(x) * x.shape[1] * P.numel() * taps > WORTH_IT


def stacked(X: Tensor) -> Tensor:
    """Spectra [c, 2, b, F] as [c, 2b, 2F], to be multiplied by those of the taps [c, 2F, H]."""
    real, imaginary = X.unbind(1)
    return torch.cat([torch.cat([real, imaginary], 2), torch.cat([imaginary, -real], 2)], 1)


def unstacked(d: Tensor) -> Tensor:
    """The adjoint of ``stacked``."""
    (a, b), (c, d) = (part.chunk(2, 2) for part in d.chunk(2, 1))
    return torch.stack([a - d, b + c], dim=1)


class _Delayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, P, width, taps):
        ctx.save_for_backward(x, weight, P, width)
        plan = ctx.plan = Plan.of(x.shape[1], taps)
        windows, y = plan.cut(x), x.new_zeros(plan.length, plan.pieces * len(x) * len(weight))
        K, products = Taps(weight, P, width, taps).folded(), Products(windows, weight)
        for to, of_taps, back in transforms(plan, x.dtype, x.device):
            spectra, multiplied = products.factors(to, of_taps, K)
            y.addmm_(back, torch.bmm(spectra, multiplied).view(len(to), -1))
        y = y.view(plan.length, plan.pieces, len(x), len(weight))
        return y.permute(2, 1, 0, 3).flatten(1, 2)[:, : plan.steps].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        (x, weight, P, width), plan = ctx.saved_tensors, ctx.plan
        windows, taps = plan.cut(x), Taps(weight, P, width, plan.taps)
        K, products = taps.folded(), Products(windows, weight)
        behind = plan.pieces * plan.length - plan.steps
        d_y = F.pad(d_y, (0, 0, 0, behind)).unflatten(1, (plan.pieces, plan.length))
        d_y = d_y.permute(2, 1, 0, 3).reshape(plan.length, -1)
        d_windows, d_K = torch.zeros_like(windows).flatten(1), torch.zeros_like(K)
        for to, of_taps, back in transforms(plan, x.dtype, x.device):
            spectra, multiplied = products.factors(to, of_taps, K)
            d = torch.mm(back.T, d_y).view(*spectra.shape[:2], len(weight))
            if ctx.needs_input_grad[0]:
                d_spectra = unstacked(torch.bmm(d, multiplied.transpose(1, 2)))
                d_windows.addmm_(to.T, d_spectra.view(len(to), -1))
            d_multiplied = torch.bmm(spectra.transpose(1, 2), d, out=multiplied)
            d_parts = d_multiplied.view(-1, 2, d_K.shape[1])
            for k, part in enumerate(of_taps):
                half(d_K, k).addmm_(part.T, d_parts[:, k])
        d_x = plan.paste(d_windows.view_as(windows), len(x)) if ctx.needs_input_grad[0] else None
        return d_x, *taps.gradients(d_K), None, None


class Taps:
    """Taps of weights [H, F] at positions P [H, F], one tap after another, as caches hold one."""

    def __init__(self, weight: Tensor, P: Tensor, width: Tensor, taps: int):
        self.weight, self.width = weight.T.contiguous(), width
        self.position = P.T.contiguous() / width
        self.g = weight.new_empty(taps, *self.position.shape)  # [D, F, H], before normalisation
        total = torch.full_like(self.position, EPSILON)
        for k, g in enumerate(self.g):
            torch.exp(self.z(k).square_().clamp_(max=-2 * SMALLEST).mul_(-0.5), out=g)
            total += g
        self.share = total.reciprocal_()

    def z(self, k: int) -> Tensor:
        """How many widths tap k is away from each position."""
        return (k - len(self.g) // 2) / self.width - self.position

    def folded(self) -> Tensor:
        """Times the weights [D, F * H]: the middle tap, sums of those 1, 2, ... steps behind and
        before it, and differences of these."""
        factor, middle, K = self.weight * self.share, len(self.g) // 2, torch.empty_like(self.g)
        torch.mul(self.g[middle], factor, out=K[0])
        for i in range(1, middle + 1):
            behind, before = self.g[middle + i], self.g[middle - i]
            torch.add(behind, before, out=K[i]).mul_(factor)
            torch.sub(behind, before, out=K[middle + i]).mul_(factor)
        return K.flatten(1)

    def gradients(self, d_K: Tensor) -> tuple[Tensor, Tensor]:
        """Those of weights and positions [H, F], from one of ``folded``."""
        d_weight, centre, moved = (torch.zeros_like(self.weight) for _ in range(3))
        d_K, middle = d_K.view_as(self.g), len(self.g) // 2
        for k, g in enumerate(self.g):
            i, z = abs(k - middle), self.z(k)
            d = (
                d_K[0]
                if i == 0
                else torch.add(d_K[i], d_K[middle + i], alpha=1 if k > middle else -1)
            )
            centre.addcmul_(g, z)
            by = d * g
            d_weight += by
            moved.addcmul_(by, z)
        for total in (d_weight, centre, moved):
            total *= self.share
        d_P = moved.sub_(centre.mul_(d_weight)).mul_(self.weight).div_(self.width)
        return d_weight.T, d_P.T


def half(K: Tensor, part: int) -> Tensor:
    """The rows of ``Taps.folded`` that the real part (0) or the imaginary part (1) takes."""
    edge = len(K) // 2 + 1
    return K[edge:] if part else K[:edge]


class Products:
    """The factors of the products of a chunk of frequencies, in memory that is used again."""

    def __init__(self, windows: Tensor, weight: Tensor):
        self.windows, self.shape = windows, weight.shape
        self.room = windows.new_empty(AT_MOST, 2, weight.numel())

    def factors(self, to: Tensor, of_taps: tuple, K: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra of inputs [c, 2b, 2F] and of taps [c, 2F, H], the latter until the next call."""
        X = torch.mm(to, self.windows.flatten(1)).view(-1, 2, *self.windows.shape[1:])
        (H, size), spectra = self.shape, self.room[: len(X)]
        for k, part in enumerate(of_taps):
            torch.mm(part, half(K, k), out=spectra[:, k])
        return stacked(X), spectra.view(len(X), 2 * size, H)


def delayed(x: Tensor, weight: Tensor, P: Tensor, width: Tensor, taps: int) -> Tensor:
    """y_t = sum_k (weight * g_k) x_{t-(D-1)+k} of x [B, T, F], weight [H, F].

    ``g`` are the Gaussians of this ``width`` around positions P [H, F], see ``models.delays``.
    """
    return _Delayed.apply(x, weight, P, width, taps)
