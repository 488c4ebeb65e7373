# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking networks that hear a stream in chunks of any size.

Chunks give what clips give in evaluation, to the last bit, as nothing is computed in an order that
depends on their size: products add their terms in the order of the inputs, delays hand over what
they hold, and readouts add one step after another. Where plain PyTorch multiplies, a chunk does so
step by step, and a pass without a state all at once, whose sums may be rounded in another way.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dynamics import OPERATIONS, Delayed, naive
from models.dynamics.backends import choose, implementation
from models.linear import Linear, is_usual
from models.network import (
    Activity,
    LayerOutput,
    LayerState,
    Network,
    NetworkState,
    as_input,
    events,
    in_full,
    input_rates,
    recurrent_operations,
)
from models.readouts import ReadoutLayer, find_readout, gathered
from models.shell import CompiledLayer


def initial_state(network: nn.Module, batch_size: int) -> NetworkState:
    """The state of an ``SNN`` before the first step; random numbers are drawn as by a pass."""
    check(network)
    layers = []
    for layer in network.layers:
        weight, line = layer.W.weight, None
        like = weight.new_empty(batch_size, 1, layer.hidden_size)
        neurons = layer.initial_state(like)
        if getattr(layer, "recurrent_delay", None) is not None:
            held = layer.feedback(like).span - 1
            neurons = Delayed(neurons, like.new_zeros(batch_size, held, layer.hidden_size))
        if layer.delay is not None:
            size = layer.delay.outputs if layer.delay.kind == "dendritic" else layer.delay.inputs
            line = like.new_zeros(batch_size, layer.delay.taps - 1, size)
        layers.append(LayerState(neurons, line))
    total = None
    if network.use_readout_layer:
        start = find_readout(network.readout).start
        total = like.new_full((batch_size, network.layer_sizes[-1]), start)
    steps = torch.zeros((), dtype=torch.int64, device=like.device)
    return NetworkState(tuple(layers), steps, total)


def advance(
    network: nn.Module, x: Tensor, state: NetworkState
) -> tuple[Tensor, NetworkState, list[LayerOutput | Tensor]]:
    """Run an ``SNN`` on the next chunk ``x`` [B, T, F]: its output, the state after it, and what
    each layer gave, potentials [B, T, C] of a ``ReadoutLayer``."""
    check(network, state)
    results, after, steps = [], [], x.shape[1]
    for layer, before in zip(network.layers, state.layers, strict=True):
        if isinstance(layer, ReadoutLayer):
            x, left = layer.resumed(x, before)
            results.append(x)
        else:
            results.append(layer(x, before))
            x, left = results[-1].output, results[-1].state
        after.append(left)
    total = state.total
    if network.use_readout_layer:
        first = getattr(network.layers[-1], "first", 0)
        x, total = gathered(network.readout, x, total, state.steps, first)
    return x, NetworkState(tuple(after), state.steps + steps, total), results


def activity_of(network: nn.Module, x: Tensor, state: NetworkState) -> Activity:
    """The same, with what the chunk costs; whatever delays hold arrives, and is counted."""
    output, state, results = advance(network, x, state)
    spiking = [layer for layer in results if isinstance(layer, LayerOutput)]
    hidden = spiking[: len(network.hidden_sizes)]
    inputs = [x, *(layer.output for layer in hidden)]
    counted = zip(network.layers, inputs, strict=False)  # without a readout, nothing hears the last
    sop = sum(events(given) * layer.hidden_size for layer, given in counted)
    recurrent_sop = torch.zeros_like(sop)
    for layer, result in zip(network.layers, spiking, strict=False):
        if layer.recurrent:
            recurrent_sop += recurrent_operations(result.spikes, layer, all_arrive=True)
    rates = [input_rates(x), *(layer.output.mean(dim=(0, 1)) for layer in hidden)]
    potentials = results[-1] if network.keep_potentials else None
    clips = x.shape[0]
    sop, recurrent_sop = sop / clips, recurrent_sop / clips
    return Activity(output, torch.cat(rates), sop, recurrent_sop, spiking, potentials, state)


def check(network: nn.Module, state: NetworkState | None = None) -> None:
    """ValueError for a network that takes no steps, or not in this mode; TypeError for what is no
    ``state`` of it."""
    if any(layer.bidirectional for layer in network.hidden_layers):
        raise ValueError("a bidirectional network hears clips from their end: it has no steps")
    if network.training:
        raise ValueError(
            "a network takes chunks in evaluation mode, eval(): in training, batch normalisation "
            "and dropout would treat each chunk as a batch of its own"
        )
    if state is not None and not (
        isinstance(state, NetworkState) and len(state.layers) == len(network.layers)
    ):
        raise TypeError(
            f"state must be what initial_state(batch_size) of the network gives, or what a chunk "
            f"left, got {type(state).__name__}"
        )


class Stream:
    """An ``SNN`` that hears one step after another, prepared once so that each takes little time.

    What it says is what ``SNN.step`` says, to the last bit; it keeps the state. Coefficients and
    recurrent weights are computed at the start, and compiled CPU recurrences called directly: the
    network must not change meanwhile. Initial states of ``batch_size`` streams are drawn as by
    :func:`initial_state`, and again by every ``reset``.
    """

    def __init__(self, network: nn.Module, batch_size: int = 1):
        self.network, self.batch_size = network, batch_size
        self.dtype = next(network.parameters()).dtype
        self.reset()

    @torch.inference_mode()
    def reset(self) -> None:
        """Forget all that was heard."""
        state = initial_state(self.network, self.batch_size)
        self.steps, self.total = state.steps, state.total
        given = zip(self.network.layers, state.layers, strict=True)
        self.layers = [_prepared(layer, before) for layer, before in given]
        self.first = getattr(self.network.layers[-1], "first", 0)

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        """Class scores [B, C] of all steps so far, the last being ``x`` [B, F] or [B, F, K], or
        its spikes [B, H] without a readout."""
        x = as_input(x[:, None], self.network.input_size, self.dtype)[:, 0].clone()
        if len(x) != self.batch_size:
            raise ValueError(f"a step of this stream is of {self.batch_size} inputs, got {len(x)}")
        for layer in self.layers:
            x = layer(x)
        if self.total is None:
            return x.clone()
        readout, x = self.network.readout, x[:, None]
        scores, self.total = gathered(readout, x, self.total, self.steps, self.first)
        self.steps = self.steps + 1
        return scores


def _prepared(layer: nn.Module, state: LayerState) -> "_Layer":
    """What takes ``layer`` from step to step, [B, F] -> [B, H], behind ``state``."""
    if layer.delay is None and isinstance(layer, ReadoutLayer):
        return _Integrator(layer, state)
    compiled = getattr(type(layer), "dynamics", None) is CompiledLayer.dynamics
    if layer.delay is None and compiled and layer.recurrent_delay is None:
        kind = OPERATIONS[layer.operation], layer.backend, layer.W.weight
        if choose(*kind, surrogate=layer.surrogate).backend == "cpu":
            return _Kernel(layer, state)
    return _Layer(layer, state)


class _Layer:
    """Any layer, as it is."""

    def __init__(self, layer: nn.Module, state: LayerState):
        self.layer, self.state = layer, state

    def __call__(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, ReadoutLayer):
            x, self.state = self.layer.resumed(x[:, None], self.state)
        else:
            x, _, self.state, _ = self.layer(x[:, None], self.state)
        return x[:, 0]


class _Kernel:
    """A compiled recurrence without delays."""

    def __init__(self, layer: nn.Module, state: LayerState):
        from models.dynamics.cpu_stepper import Stepper  # only where its library is

        batch, size = state.neurons[0].shape
        self.current = _current(layer, batch)
        self.stepper = Stepper()
        implementation(layer.operation, "cpu")(
            layer.W.weight.new_empty(batch, 1, size),
            **layer.coefficients()._asdict(),
            **layer.form(),
            theta=layer.threshold,
            surrogate=layer.surrogate,
            state=state.neurons,
            V=layer.recurrent_weights(),
            run=self.stepper,
        )

    def __call__(self, x: Tensor) -> Tensor:
        return self.stepper.step(self.current(x))


class _Integrator:
    """A readout of potentials without delays."""

    def __init__(self, layer: nn.Module, state: LayerState):
        batch = len(state.neurons)
        self.current = layer.current if layer.gain else _current(layer, batch)
        self.decay, self.potential = layer.decay(), state.neurons

    def __call__(self, x: Tensor) -> Tensor:
        current = self.current(x)[:, None]
        _, self.potential = naive.potentials(current, self.decay, state=self.potential)
        return self.potential


def _current(layer: nn.Module, batch: int) -> Callable[[Tensor], Tensor]:
    """What gives normalised currents [B, H] of ``x`` [B, F]: the usual modules, whose calls take
    longer than what they do, by the functions that they call."""
    W, norm = layer.W, layer.norm
    multiply, then = W, norm
    if is_usual(W, Linear) and W.is_in_order():
        multiply = _in_order(W, batch)
    elif is_usual(W, Linear) and W.precision == "fp32":
        multiply = partial(functional.linear, weight=W.rounded(), bias=W.bias)
    if is_usual(norm, nn.BatchNorm1d) and norm.running_mean is not None:
        given = norm.weight, norm.bias, norm.running_mean, norm.running_var, False, 0.0, norm.eps

        def then(x):
            return torch.batch_norm(x, *given, False)

    if norm is None:
        return lambda x: in_full(multiply(x))
    return lambda x: in_full(then(multiply(x)))


def _in_order(W: Linear, batch: int) -> Callable[[Tensor], Tensor]:
    """Its products by the compiled kernel, whose arrays are made once."""
    from models.linear_ordered import multiply_in_order

    weight, y = W.rounded().T.contiguous(), W.weight.new_empty(batch, W.out_features)

    def multiply(x):
        multiply_in_order(x.contiguous(), weight, y)
        return y if W.bias is None else y + W.bias

    return multiply


@torch.no_grad()
def fold_batchnorm(network: nn.Module) -> nn.Module:
    """A copy of an ``SNN`` for inference, whose weights and biases hold its batch normalisation.

    With m, v the running statistics and g, b the weight and bias of the normalisation,
    ``W' = W g / sqrt(v + eps)`` and ``bias' = b + (bias - m) g / sqrt(v + eps)``, computed in
    float64 and rounded once. Currents are those of ``network`` but for rounding, by which a
    potential may pass its threshold that did not, or the other way round. The copy is in evaluation
    mode; other normalisations stay.

    Raises TypeError for what is no network, and where the weights are made anew at each call, as
    those of pruning are.
    """
    if not isinstance(network, Network):
        kind = type(network)
        raise TypeError(
            f"{kind.__module__}.{kind.__name__} is no network of {Network.__module__}: take all "
            "modules from one copy of Sprache"
        )
    for number, layer in enumerate(network.layers, start=1):
        if not is_usual(layer.W, Linear):
            raise TypeError(
                f"the weights of layer {number} are made at each call, so that nothing can be "
                "folded into them: make pruning or parametrisation permanent first"
            )
    network = copy.deepcopy(network).eval()
    for layer in network.layers:
        W, norm = layer.W, layer.norm
        if not isinstance(norm, nn.BatchNorm1d):
            continue
        slope = (norm.running_var.double() + norm.eps).rsqrt()
        slope = slope if norm.weight is None else slope * norm.weight
        shift = -norm.running_mean * slope
        shift = shift if W.bias is None else shift + W.bias * slope
        shift = shift if norm.bias is None else shift + norm.bias
        W.bias = nn.Parameter(shift.to(W.weight.dtype))
        W.weight.copy_(W.weight * slope[:, None])
        layer.norm = None
    return network
