# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What surrounds a recurrence: feed-forward weights and dropout, faster than PyTorch's on a CPU,
weights of fewer bits, and normalisation."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics import Fold
from models.dynamics.backends import Operation, compiled, tried
from models.dynamics.naive import FIRED
from models.dynamics.trial import B, H, T, Trial, uniform
from models.network import LayerOutput, apart, in_full, join_directions

PRECISIONS = ("fp32", "tf32", "bf16")
NORMALIZATIONS = ("batchnorm", "layernorm", "none")
BATCHNORM_MOMENTUM = 0.05
GAIN = 1.25  # of the spikes of a trial


class Marks(NamedTuple):
    """What is known about spikes after dropout, where a layer hands them on to the next."""

    marks: Tensor | None  # as of ``models.dynamics.Fold``, on a CPU
    gain: float  # of the spikes
    version: int  # of the tensor that holds them: it is not known any more what is changed


def hand_on(x: Tensor, marks: Tensor | None, gain: float) -> None:
    """Let products of ``x`` [B, T, H] know its ``marks``, and that all of it is 0 or ``gain``. Of
    any other tensor made of it they know nothing."""
    x.handed = Marks(marks, gain, x._version)


def handed(x: Tensor) -> Marks | None:
    """What :func:`hand_on` noted of ``x``."""
    marks = getattr(x, "handed", None)
    return marks if marks is not None and marks.version == x._version else None


class Linear(nn.Linear):
    """``nn.Linear`` with a ``precision``, see :func:`set_precision`, and weights of ``bits``, see
    :func:`set_weight_bits`; parameters stay float32.

    ``backend`` "naive" is PyTorch's own product, see ``models.dynamics``. In evaluation a module
    that ``streams`` gives a row the same bits whatever the other rows are, where it can:
    :meth:`is_in_order`.
    """

    precision = "fp32"
    bits: int | None = None
    streams = False

    def __init__(self, in_features: int, out_features: int, bias=True, *, backend: str = "auto"):
        super().__init__(in_features, out_features, bias)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out] float32."""
        return self.multiply(x, self.rounded(), self.bias)

    def rounded(self) -> Tensor:
        """The weights [out, in] as the layer uses them."""
        return rounded(self.weight, self.bits)

    def is_in_order(self, *tensors: Tensor) -> bool:
        """Whether products with ``tensors`` add their terms in the order of the inputs."""
        streams = self.streams and not self.training and self.precision == "fp32"
        return streams and compiled("cpu", self.backend, self.weight, *tensors)

    def may_search(self, rows: int) -> bool:
        """Whether a product with ``rows`` may look for the events in them."""
        from models.events_cpu import WORTH_A_SEARCH

        return rows * self.weight.numel() >= WORTH_A_SEARCH

    def takes_counts(self, x: Tensor) -> bool:
        """Whether a product with uint8 counts ``x`` [..., in] may look for the events in them as
        they are."""
        given = x.dtype == torch.uint8 and x.device.type == "cpu" and self.precision == "fp32"
        given = given and not self.is_in_order() and compiled("cpu", self.backend, self.weight)
        return given and self.may_search(x.numel() // self.in_features)

    def multiply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same with any ``weight`` [out, in] and ``bias`` [out]; x may be uint8."""
        counts = x.dtype == torch.uint8
        if counts and not self.takes_counts(x):
            x, counts = x.to(weight.dtype), False
        rows = x.reshape(-1, self.in_features)
        looked_at = weight if counts else rows
        marks = handed(x)
        on_gpu = marks is not None and compiled("cuda", self.backend, rows)
        if on_gpu and not tried(BITS, "cuda", rows.device):
            y = _Product.apply(rows, weight, self.precision, marks.gain)
        elif self.precision != "fp32":
            y = _Product.apply(rows, weight, self.precision)
        elif self.is_in_order(rows):
            from models.linear_ordered import in_order

            y = in_order(rows, weight)
        elif compiled("cpu", self.backend, looked_at) and self.may_search(rows.shape[0]):
            from models.dynamics.cpu_around import note_sums
            from models.events_cpu import find_events, marked_events
            from models.linear_cpu import product

            wanted = None
            if marks is not None:
                events, wanted = marked_events(*marks[:2], self.out_features)
            else:
                events = find_events(rows.detach().contiguous(), self.out_features)
            if events is None and wanted is None:
                return nn.functional.linear(x.to(weight.dtype), weight, bias)
            y, sums = product(x, weight, events, wanted)
            return note_sums(y, sums) if bias is None else y + bias
        else:
            return nn.functional.linear(x, weight, bias)
        y = y.view(*x.shape[:-1], self.out_features)
        return y if bias is None else y + bias


def by_step(W: Linear, multiply: Callable[[Tensor], Tensor], x: Tensor, dim: int = 1) -> Tensor:
    """Every step of ``x`` along ``dim`` as ``W`` would ``multiply`` it by itself, so that sums are
    the same whatever the number of steps is: PyTorch's product of other rows may add its terms in
    another order."""
    if isinstance(W, Linear) and W.is_in_order(x):
        return multiply(x)
    steps = (x_t.clone(memory_format=torch.contiguous_format) for x_t in x.unbind(dim))
    return torch.stack([multiply(x_t) for x_t in steps], dim)


def takes_counts(layer: nn.Module, x: Tensor) -> bool:
    """Whether ``layer`` takes uint8 counts ``x`` [B, T, F] as they are, see ``Linear``."""
    return layer.delay is None and isinstance(layer.W, Linear) and layer.W.takes_counts(x)


def weighted(layer: nn.Module, x: Tensor) -> Tensor:
    """What ``x`` [..., F] gives through the feed-forward weights and delays of ``layer``."""
    return layer.W(x) if layer.delay is None else layer.delay(x, layer.W)


def current_of(layer: nn.Module, x: Tensor) -> Tensor:
    """Currents [..., H] of ``x`` [..., F] behind the weights, delays and norm of ``layer``."""
    if not in_one_kernel(layer, x):
        return in_full(normalize(layer.norm, weighted(layer, x)))
    from models.linear_ordered import normalized_in_order

    y = normalized_in_order(x.flatten(0, -2), layer.W.rounded(), layer.norm)
    return y.view(*x.shape[:-1], layer.W.out_features)


def in_one_kernel(layer: nn.Module, x: Tensor) -> bool:
    """Whether one compiled kernel multiplies and normalises ``x`` [..., F] for ``layer``."""
    W, norm = layer.W, layer.norm
    usual = layer.delay is None and is_usual(W, Linear) and is_usual(norm, nn.BatchNorm1d)
    if not usual or W.bias is not None or torch.is_grad_enabled() or not W.is_in_order(x):
        return False
    from models.linear_ordered import FEW_ROWS, evaluates_alike

    evaluates = norm.affine and norm.track_running_stats and not norm.training
    return evaluates and x.numel() > FEW_ROWS * W.in_features and evaluates_alike()


def resumed(layer: nn.Module, x: Tensor, line: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The same behind what its delays hold, see ``LayerState``, and what they hold after it."""
    if layer.delay is None:
        return by_step(layer.W, layer.W, x), None
    current, line = layer.delay.resumed(x, layer.W, line)
    return current.contiguous(), line  # for normalisation, which rounds otherwise elsewhere


class Pointwise(nn.Conv1d):
    """``nn.Conv1d`` of kernel size 1 with a ``precision``, as ``Linear`` has it."""

    precision = "fp32"

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, T] -> [B, out, T] float32."""
        weight = self.weight.squeeze(2)
        if self.precision == "fp32":
            return torch.baddbmm(self.bias[:, None], weight.expand(len(x), -1, -1), x)
        y = _Product.apply(x.mT.reshape(-1, x.shape[1]), weight, self.precision)
        return (y.view(len(x), -1, len(weight)) + self.bias).mT


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


class Dropout(nn.Dropout):
    """``nn.Dropout`` that draws its random numbers faster on a CPU.

    ``backend`` "naive" is PyTorch's own, see ``models.dynamics``.
    """

    def __init__(self, p: float = 0.5, *, backend: str = "auto"):
        super().__init__(p)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the numbers, and the state of the generator afterwards, are PyTorch's."""
        drops = self.training and 0 < self.p < 1
        if drops and x.is_contiguous() and compiled("cpu", self.backend, x):
            from models.dynamics import cpu_around

            if cpu_around.draws_alike():
                return cpu_around.dropout(x, self.p)
        return super().forward(x)


def fold_on_cpu(layer: nn.Module, current: Tensor) -> tuple[Tensor, Fold]:
    """What ``layer.dynamics`` of a ``SpikingLayer`` in training is given on a CPU, ``current``
    [B, T, H] being as the feed-forward weights give it.

    Without recurrent weights the kernels normalise by the batch, whose statistics are taken and
    remembered here as PyTorch does it. They drop spikes by a mask that is drawn here as PyTorch
    draws it, and mark what the next layer needs to know in order to compute only what is not
    multiplied by zero.
    """
    from models.dynamics.cpu_around import Finished, gain_of, kept, normalize_alike, statistics

    (B, T, H), norm, given = current.shape, layer.norm, {}
    if not layer.recurrent and normalizes_by_batch(norm, current) and normalize_alike():
        mean, rate = statistics(norm, current)
        current = current if hasattr(current, "noted") else Finished.apply(current)
        given = {"mean": mean, "rate": rate, "weight": norm.weight, "shift": norm.bias}
        given["eps"] = norm.eps
    else:
        current = in_full(normalize(norm, current))
    shape = (B // 2, T, 2 * H) if layer.bidirectional else current.shape
    p = layer.drop.p if layer.drop.training else 0.0
    stays = apart(kept(shape, p)) if layer.bidirectional else kept(shape, p)
    given |= {"p": p, "gain": gain_of(p)}
    given |= {"stays": stays, "marks": torch.empty_like(stays)}
    return current, Fold(counts=current.new_empty(B, H), **given)


def is_usual(module: nn.Module | None, kind: type) -> bool:
    """Whether it is of this very class, and nothing (such as pruning) acts on its calls."""
    return type(module) is kind and not (module._forward_pre_hooks or module._forward_hooks)


def normalizes_by_batch(norm: nn.Module | None, current: Tensor) -> bool:
    """Whether ``norm`` takes statistics of the batch ``current`` [B, T, H], remembers them, and
    learns weight and bias."""
    return (
        isinstance(norm, nn.BatchNorm1d)
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and current.shape[0] * current.shape[1] > 1  # else PyTorch says what is wrong
    )


def output_of(layer: nn.Module, spikes: Tensor, state: tuple, fold: Fold | None) -> LayerOutput:
    """What ``layer`` passes on of the spikes and the state that its ``dynamics`` made.

    Within a fold the spikes are those after dropout.
    """
    joined = join_directions(spikes) if layer.bidirectional else spikes
    if fold is None:
        return LayerOutput(layer.drop(joined), spikes, state)
    counts, marks = fold.counts, fold.marks
    if layer.bidirectional:
        counts = torch.cat(counts.chunk(2), dim=1)
        marks = None if marks is None else join_directions(marks)
    if marks is None:  # on a GPU
        hand_on(joined, None, 1 / (1 - fold.p))
    else:
        hand_on(joined, marks, fold.gain)
        if layer.recurrent:  # whose spikes reach the layer itself before dropout
            spikes = (fold.marks & FIRED).to(spikes.dtype) / FIRED
    return LayerOutput(joined, spikes, state, counts)


def set_precision(model: nn.Module, precision: str) -> None:
    """Let all feed-forward weights of ``model`` multiply in ``precision``, and their gradients too.

    Operands are rounded to the precision, sums and results are float32: fp32 (24 bits of mantissa),
    tf32 (11 bits, GPUs only; a CPU computes fp32) or bf16 (8 bits). Spikes and event counts up to
    256 are exact in all three. Everything else stays float32: normalisation, neuron dynamics, the
    optimiser, and the recurrent weights V, whose rounding would feed back at every step.

    Raises ValueError for another name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    for module in model.modules():
        if isinstance(module, Linear | Pointwise):
            module.precision = precision


def quantized(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers [out, in] (float32) of ``bits``, and the factor [out, 1] that makes weights.

    Symmetric: a row's largest magnitude becomes ``2**(bits - 1) - 1``, and 0 stays 0; halves are
    rounded to even.
    """
    factor = weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    factor = torch.where(factor == 0, 1.0, factor)
    return torch.round(weight / factor), factor


def rounded(weight: Tensor, bits: int | None) -> Tensor:
    """``weight`` [out, in] on the grid of :func:`quantized`; None: as it is.

    The gradient passes straight through (Bengio et al. 2013), as no weight is beyond the grid.
    """
    return weight if bits is None else _Rounded.apply(weight, bits)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, bits):
        whole, factor = quantized(weight, bits)
        return whole * factor

    @staticmethod
    def backward(ctx, d_rounded):
        return d_rounded, None


def set_weight_bits(model: nn.Module, bits: int | None) -> None:
    """Let the spiking layers and the readout of ``model`` use weights, recurrent ones as well, that
    are rounded to ``bits``; those of a neuron share a factor. The parameters keep what an optimiser
    adds up, so a checkpoint holds them as float32.
    """
    for layer in model.layers:
        layer.W.bits = bits


class _Product(torch.autograd.Function):
    """x [N, in] times weight [out, in] transposed, and its two gradients, in one precision.

    Of spikes, which are 0 or ``gain``, GPU kernels keep a bit each for the backward pass.
    """

    @staticmethod
    def forward(ctx, x, weight, precision, gain=None):
        if precision == "bf16":
            x, weight = x.bfloat16(), weight.bfloat16()
        ctx.precision, ctx.gain, ctx.shape, kept = precision, gain, x.shape, x
        if gain is not None:
            from models.linear_triton import pack

            kept = pack(x.contiguous())
        ctx.save_for_backward(kept, weight)
        return _multiply(x, weight.T, precision)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        x, weight = ctx.saved_tensors
        if ctx.gain is not None:
            from models.linear_triton import unpack

            x = unpack(x, ctx.shape, ctx.gain, weight.dtype)
        if ctx.precision == "bf16":
            d_y = d_y.bfloat16()
        d_x = _multiply(d_y, weight, ctx.precision) if ctx.needs_input_grad[0] else None
        return d_x, _multiply(d_y.T, x, ctx.precision), None, None


def trials() -> Iterator[Trial]:
    """A product with spikes that dropout has left."""
    draw = uniform()
    inputs = {"x": (draw(0, 1, B * T, H) < 0.3) * GAIN, "weight": draw(-1, 1, 5, H)}
    yield Trial("bits", inputs, lambda product, x, weight: {"y": product(x, weight)})


BITS = Operation(
    "products with spikes",
    lambda backend: (
        lambda x, weight: _Product.apply(x, weight, "fp32", GAIN if backend == "cuda" else None)
    ),
    trials,
)


def _multiply(a: Tensor, b: Tensor, precision: str) -> Tensor:
    """a @ b in float32 of operands that are rounded already (bf16) or by the device (tf32)."""
    if precision == "bf16":
        if a.is_cuda:
            return torch.mm(a, b, out_dtype=torch.float32)
        # A CPU has no such product; rounded operands in a float32 one are the same numbers.
        return torch.mm(a.float(), b.float())
    if not a.is_cuda or precision == "fp32":
        return torch.mm(a, b)
    before = torch.get_float32_matmul_precision()
    # A switch of the whole process, in which nothing else multiplies meanwhile.
    torch.set_float32_matmul_precision("high")
    try:
        return torch.mm(a, b)
    finally:
        torch.set_float32_matmul_precision(before)
