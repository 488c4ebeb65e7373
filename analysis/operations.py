# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Operations of a network per clip, layer by layer, and what they would cost in hardware.

Synaptic operations (SOP) are those of the published figure: non-zero inputs of a layer times its
size. For the energy they are divided into accumulates (AC), where the input is 0 or 1, and
multiply-accumulates (MAC), where it is any other number; the updates of the neurons' states come to
them. Energies per operation in 45 nm, 32-bit floating point: M. Horowitz, "Computing's energy
problem (and what we can do about it)", ISSCC 2014 (add 0.9 pJ, multiply 3.7 pJ).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import events, recurrent_fan_out, recurrent_operations
from models.neurons import BRFLayer, ResettingLayer
from models.shell import SpikingLayer
from models.snns import Activity, AdaptiveLayer, ResonateFireLayer, ResonateLayer
from models.ssms import MeanReadout, ResidualLayer

ENERGY_PJ = {"AC": 0.9, "MAC": 4.6}
ENERGY_SOURCE = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014: 45 nm, "
    "32-bit floating point"
)


@dataclass
class LayerOperations:
    """Operations of one layer, per clip.

    ``sop`` and ``recurrent_sop`` are the synaptic operations as reported everywhere else. ``ac``
    and ``mac`` are those of its connections, in both directions of a bidirectional layer;
    ``update_ac`` and ``update_mac`` those of its neurons. ``dense_mac`` is what the same
    connections take where every input is used at every step.
    """

    name: str
    sop: float = 0.0
    recurrent_sop: float = 0.0
    ac: float = 0.0
    mac: float = 0.0
    update_ac: float = 0.0
    update_mac: float = 0.0
    dense_mac: float = 0.0

    @property
    def connections_nj(self) -> float:
        """Energy of the connections in nJ."""
        return energy_nj(self.ac, self.mac)

    @property
    def updates_nj(self) -> float:
        """Energy of the neurons' own updates in nJ."""
        return energy_nj(self.update_ac, self.update_mac)

    @property
    def dense_nj(self) -> float:
        """Energy of the connections in nJ, had no input been zero."""
        return energy_nj(0.0, self.dense_mac)


def energy_nj(ac: float, mac: float) -> float:
    """Energy of operations in nJ."""
    return (ac * ENERGY_PJ["AC"] + mac * ENERGY_PJ["MAC"]) / 1000


def update_operations(layer: nn.Module) -> tuple[int, int]:
    """(ACs, MACs) that a neuron of ``layer`` takes at every step besides its connections.

    A multiplication is a MAC, with the addition of its product; taking off a spike's reset or
    adding a spike's b is an AC, and so is an addition whose terms are no products. Complex numbers
    count by their parts. Batchnorm is folded into the weights, all but one addition; layer
    normalisation takes 3 MACs (variance, scaling twice) and 2 ACs (mean, centring). The threshold
    and the softmax of the readout are not counted, nor is a recurrence that is not known here.

    A channel of a state-space model updates its state step by step, as a chip would, whatever
    convolves here; the product of a gate is a MAC, its sigmoid, GELU and exponentials
    are not counted.
    """
    if isinstance(layer, ResidualLayer):
        return layer.update_operations()
    if isinstance(layer, MeanReadout):
        return 0, 0
    ac, mac = 0, 0
    if isinstance(layer.norm, nn.LayerNorm):
        ac, mac = 2, 3
    elif layer.norm is not None or layer.W.bias is not None:
        ac = 1
    if not isinstance(layer, SpikingLayer):
        folds = getattr(layer, "gain", None) is not None  # into W
        return ac, mac + 2 - folds  # the readout: alpha u + (1 - alpha) I
    if isinstance(layer, ResonateFireLayer):
        return ac + 1, mac + 6  # u + dt (A u + I) - s
    if isinstance(layer, ResonateLayer):
        return ac + 1, mac + 5  # A (u - s / 2) + b I
    if isinstance(layer, BRFLayer):
        return ac + 2, mac + 7  # step (p - q), u + (b u - omega v + I), v + ..., 0.9 q + s
    if isinstance(layer, ResettingLayer):
        form, adapts = layer.form(), 2 * (layer.states_per_neuron == 2)
        # alpha u + (1 - alpha) (I - w), less theta; beta w + a u + b s
        ac, mac = ac + adapts + (not form.get("hard", True)), mac + adapts
        return ac, mac + 1 + form.get("scales", True)
    if not isinstance(layer, AdaptiveLayer):
        return ac, mac
    if layer.states_per_neuron == 1:
        return ac + 1, mac + 2  # alpha (u - s) + (1 - alpha) I
    return ac + 3, mac + 4  # and beta w + a u + b s, which is taken from I


def of_delays(layer: nn.Module, given: Tensor) -> list[int]:
    """Operations of what the layer is ``given`` [B, T, F] that are due after the last step.

    One number for each direction in which it reads. Delays of whole steps take none themselves.
    """
    both = (given, given.flip(1)) if getattr(layer, "bidirectional", False) else (given,)
    return [0 if layer.delay is None else int(layer.delay.lost(x)) for x in both]


def total(layers: Sequence[LayerOperations]) -> LayerOperations:
    """The sums over the layers."""
    names = [name for name in vars(layers[0]) if name != "name"]
    return LayerOperations("all", **{n: sum(getattr(o, n) for o in layers) for n in names})


class OperationCounter:
    """Adds up the operations of the batches that a network has seen."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.clips = 0
        hidden = [f"layer {i}" for i in range(1, len(model.layers))]
        self.layers = [LayerOperations(name) for name in [*hidden, "readout"]]

    @torch.no_grad()
    def add(self, x: Tensor, activity: Activity | None) -> None:
        """Count a batch ``x`` [B, T, F] and the ``activity`` it caused (None: no spikes)."""
        self.clips += len(x)
        if activity is None:
            self._add_dense(x)
            return
        inputs = [x, *(result.output for result in activity.layers)][: len(self.layers)]
        for i, (layer, given, sums) in enumerate(
            zip(self.model.layers, inputs, self.layers, strict=True)
        ):
            if isinstance(layer, ResidualLayer):
                self._add_residual(layer, given, activity.layers[i].spikes, sums, first=i == 0)
            elif isinstance(layer, MeanReadout):
                self._add_readout(layer, *given.shape[:2], sums)
            else:
                self._add_layer(layer, given, sums)
            if getattr(layer, "recurrent", False):
                fired, others = activity.layers[i].spikes, recurrent_fan_out(layer)
                operations = float(recurrent_operations(fired, layer))
                sums.recurrent_sop += operations
                ways = layer.hidden_size
                if layer.recurrent_delay is None:
                    sums.ac += operations
                else:  # graded
                    sums.mac += operations
                    ways = int(layer.recurrent_delay.ways().sum())
                sums.dense_mac += len(fired) * x.shape[1] * ways * others

    def _add_layer(self, layer: nn.Module, given: Tensor, sums: LayerOperations) -> None:
        clips, steps, size = given.shape
        fan_out = getattr(layer, "output_size", layer.hidden_size)
        ones = (given == 1).to(given.dtype)
        number, lost = int(events(given)), of_delays(layer, given)
        unit, lost_unit = int(ones.sum()), of_delays(layer, ones)
        sums.sop += number * layer.hidden_size - lost[0]
        sums.ac += unit * fan_out - sum(lost_unit)
        sums.mac += (number - unit) * fan_out - (sum(lost) - sum(lost_unit))
        sums.dense_mac += clips * steps * size * fan_out
        self._add_updates(layer, clips * steps, sums)

    def _add_residual(
        self, layer: nn.Module, given: Tensor, spikes: Tensor, sums: LayerOperations, *, first: bool
    ) -> None:
        """A residual layer with the ``spikes`` of its block; the first one is given events."""
        clips, steps, _ = given.shape
        ways, fan_out = 1 + layer.bidirectional, layer.block.fan_out
        fired = int(events(spikes))
        sums.ac += fired * fan_out
        sums.sop += fired * fan_out
        if layer.encoder is not None:
            number, ones = int(events(given)), int((given == 1).sum())
            sums.ac += ones * layer.hidden_size * ways
            sums.mac += (number - ones) * layer.hidden_size * ways
            sums.sop += number * layer.hidden_size * first
        sums.dense_mac += clips * layer.macs(steps)
        self._add_updates(layer, clips * steps, sums)

    def _add_updates(self, layer: nn.Module, times: int, sums: LayerOperations) -> None:
        ac, mac = update_operations(layer)
        size = getattr(layer, "output_size", layer.hidden_size)
        sums.update_ac += times * size * ac
        sums.update_mac += times * size * mac

    def _add_readout(self, layer: nn.Module, clips: int, steps: int, sums: LayerOperations) -> None:
        """The mean over time, of which the head makes scores once a clip."""
        sums.mac += clips * layer.macs(steps)
        sums.dense_mac += clips * layer.macs(steps)
        sums.update_ac += clips * steps * layer.linear.in_features

    def _add_dense(self, x: Tensor) -> None:
        """A network of real numbers: every weight at every step; its gates are not counted."""
        clips, steps = x.shape[:2]
        for layer, sums in zip(self.model.layers, self.layers, strict=True):
            if isinstance(layer, MeanReadout):
                self._add_readout(layer, clips, steps, sums)
                continue
            macs = clips * layer.macs(steps)
            sums.mac += macs
            sums.dense_mac += macs
            if isinstance(layer, ResidualLayer):
                self._add_updates(layer, clips * steps, sums)

    def per_clip(self) -> list[LayerOperations]:
        """The means over all clips."""
        means = []
        for sums in self.layers:
            values = {k: v / self.clips for k, v in vars(sums).items() if k != "name"}
            means.append(LayerOperations(sums.name, **values))
        return means
