# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking networks that hear a stream in chunks of any size.

Chunks give what the whole gives, to the last bit, as nothing is computed in an order that depends
on their size: each step is multiplied by the weights by itself, delays hand over what they hold,
and readouts add one step after another. A pass without a state multiplies all steps at once, whose
sums may be rounded in another way.
"""

import torch
from torch import Tensor, nn

from models.dynamics import Delayed
from models.network import (
    Activity,
    LayerOutput,
    LayerState,
    NetworkState,
    events,
    input_rates,
    recurrent_operations,
)
from models.readouts import ReadoutLayer, find_readout, gathered


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
