# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A trained network as a graph of the Neuromorphic Intermediate Representation.

NIR: Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for
interoperable brain-inspired computing", Nature Communications 15, 2024.

NIR's own LIF node sets a neuron to a value after its spike. Our neurons subtract 1 and may adapt,
so a layer becomes several nodes, here in the order of their evaluation within a step::

    affine      Affine     feed-forward weights with batchnorm folded in
    adaptation  LI         -w, with r = -1                       } where the neuron adapts
    membrane    LI         u, driven by affine + adaptation + reset (+ recurrent)
    spikes      Threshold  u > theta
    reset       Scale      spikes -> membrane
    subthreshold, triggered  Scale   membrane, spikes -> adaptation   } where the neuron adapts
    recurrent   Linear     spikes -> membrane                    } where the layer has V

What leads backwards (into adaptation, and from spikes into membrane) arrives one step later, as in
our recurrence. An LI node of decay d per step adds (1 - d) of its input, so a term c * x of the
recurrence is a Scale of c / (1 - d). Names sort in the order of evaluation: files keep nodes sorted
by name, and nirtorch takes an edge for a delayed one when its source comes later in that order.
"""

import contextlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.shell import SpikingLayer
from models.snns import SNN, AdaptiveLayer, ReadoutLayer, ResonateLayer
from training.errors import ExperimentError

with contextlib.suppress(ModuleNotFoundError):  # optional; the commands say so
    import nir

INPUT, OUTPUT = "input", "output"


class Names(NamedTuple):
    """Names of the nodes of one layer."""

    affine: str
    adaptation: str
    membrane: str
    spikes: str
    reset: str
    subthreshold: str
    triggered: str
    recurrent: str


def names_of(number: int) -> Names:
    """The names of hidden layer ``number`` (from 1), sorted in the order of evaluation."""
    return Names(*(f"layer{number:02d}_{i}_{field}" for i, field in enumerate(Names._fields)))


READOUT_AFFINE, READOUT_MEMBRANE = "readout_0_affine", "readout_1_membrane"


def check_exportable(model: nn.Module) -> None:
    """ExperimentError, with the reason, for a network that NIR cannot hold faithfully."""
    if not isinstance(model, SNN):
        raise ExperimentError("only spiking networks are exported; this one does not spike")
    for layer in model.hidden_layers:
        if not isinstance(layer, AdaptiveLayer | ResonateLayer):
            raise ExperimentError(
                f"{model.neuron_type} cannot be exported: only neurons of the adaptive recurrence "
                "can, and it has one of its own"
            )
        if isinstance(layer, ResonateLayer):
            raise ExperimentError(
                f"{model.neuron_type} cannot be exported: its potential is complex, and NIR has no "
                "node with an oscillating state"
            )
    if model.readout != "softmax_sum":
        raise ExperimentError(
            "only networks with --readout softmax_sum are exported: the graph ends in potentials, "
            "and whoever runs it sums their softmax"
        )
    first = model.hidden_layers[0]
    if first.bidirectional:
        raise ExperimentError(
            "a bidirectional network cannot be exported: it reads the clip backwards, and a NIR "
            "graph runs forward in time"
        )
    if isinstance(first.norm, nn.LayerNorm):
        raise ExperimentError(
            "layer normalisation cannot be exported: it depends on the input at every step, and "
            "NIR has no node for it (batchnorm is folded into the weights)"
        )


@torch.no_grad()
def build_graph(model: SNN, step_seconds: float, discretization: str = "euler"):
    """The NIR graph of a trained network; it starts from zero states.

    Args:
        model: in evaluation mode; its dtype is that of the graph's arrays.
        step_seconds: dt, seconds of a time step.
        discretization: how whoever runs the graph turns the time constant of an LI node into a
            decay per step: ``euler``, 1 - dt / tau, or ``exact``, exp(-dt / tau).

    Returns:
        ``nir.NIRGraph`` from input frames [F] to the readout's potentials [C] at each step. The
        class is the largest of their softmax, summed over time, for which NIR has no node.

    Raises:
        ExperimentError: the network cannot be exported.
    """
    check_exportable(model)
    writer = LayerWriter(step_seconds, discretization)
    writer.nodes[INPUT] = nir.Input(np.array([model.input_size]))
    source = INPUT
    for number, layer in enumerate(model.hidden_layers, start=1):
        source = writer.add_spiking(layer, names_of(number), source)
    last = model.snn[-1]
    if isinstance(last, ReadoutLayer):
        source = writer.add_readout(last, source)
    writer.nodes[OUTPUT] = nir.Output(np.array([model.layer_sizes[-1]]))
    writer.edges.append((source, OUTPUT))
    metadata = {"dt": step_seconds, "discretization": discretization}
    return nir.NIRGraph(writer.nodes, writer.edges, metadata=metadata)


class LayerWriter:
    """Collects the nodes and edges of layers."""

    def __init__(self, step_seconds: float, discretization: str):
        self.step_seconds = step_seconds
        self.discretization = discretization
        self.nodes, self.edges = {}, []

    def add_spiking(self, layer: SpikingLayer, names: Names, source: str) -> str:
        """Add a hidden layer behind the node ``source``; the node that gives its spikes."""
        alpha, beta, a, b = layer.coefficients()
        theta = torch.full_like(alpha, layer.threshold)
        self.nodes[names.affine] = self.affine(layer)
        self.nodes[names.membrane] = self.integrator(alpha, r=1.0)
        self.nodes[names.spikes] = nir.Threshold(array(theta))
        self.nodes[names.reset] = nir.Scale(array(-alpha / (1 - alpha)))
        self.edges += [
            (source, names.affine),
            (names.affine, names.membrane),
            (names.membrane, names.spikes),
            (names.spikes, names.reset),
            (names.reset, names.membrane),
        ]
        if beta is not None:
            self.add_adaptation(beta, a, b, names)
        matrix = layer.recurrent_weights()
        if matrix is not None:
            self.nodes[names.recurrent] = nir.Linear(array(matrix.T))
            self.edges += [(names.spikes, names.recurrent), (names.recurrent, names.membrane)]
        return names.spikes

    def add_adaptation(self, beta: Tensor, a: Tensor, b: Tensor, names: Names) -> None:
        """Let the layer adapt to its potential and its spikes."""
        self.nodes[names.adaptation] = self.integrator(beta, r=-1.0)
        self.nodes[names.subthreshold] = nir.Scale(array(a / (1 - beta)))
        self.nodes[names.triggered] = nir.Scale(array(b / (1 - beta)))
        self.edges += [
            (names.membrane, names.subthreshold),
            (names.spikes, names.triggered),
            (names.subthreshold, names.adaptation),
            (names.triggered, names.adaptation),
            (names.adaptation, names.membrane),
        ]

    def add_readout(self, layer: ReadoutLayer, source: str) -> str:
        """Add the readout behind the node ``source``; the node that gives its potential."""
        self.nodes[READOUT_AFFINE] = self.affine(layer)
        self.nodes[READOUT_MEMBRANE] = self.integrator(layer.decay(), r=1.0)
        self.edges += [(source, READOUT_AFFINE), (READOUT_AFFINE, READOUT_MEMBRANE)]
        return READOUT_MEMBRANE

    def affine(self, layer: nn.Module):
        """Weights, bias and batchnorm of a layer as one node."""
        weight = layer.W.weight
        bias = torch.zeros_like(weight[:, 0]) if layer.W.bias is None else layer.W.bias
        norm = layer.norm
        if norm is not None:
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = weight * scale[:, None]
            bias = norm.bias + (bias - norm.running_mean) * scale
        return nir.Affine(array(weight), array(bias))

    def integrator(self, decay: Tensor, r: float):
        """An LI node that keeps ``decay`` [H] of its value in every step."""
        if (decay >= 1).any():
            raise ExperimentError(
                f"{int((decay >= 1).sum())} neurons never decay, and NIR has no infinite time "
                "constant"
            )
        exact = self.discretization == "exact"
        steps = -1 / decay.log() if exact else 1 / (1 - decay)
        tau = array(self.step_seconds * steps)
        return nir.LI(tau=tau, r=np.full_like(tau, r), v_leak=np.zeros_like(tau))


def decay_of(tau: Tensor, step_seconds: float, discretization: str) -> Tensor:
    """What an LI node of time constant ``tau`` keeps of its value in every step."""
    if discretization == "exact":
        return torch.exp(-step_seconds / tau)
    return 1 - step_seconds / tau


def array(values: Tensor) -> np.ndarray:
    """A parameter as NIR holds it."""
    found = values.detach().cpu().numpy().copy()
    assert np.isfinite(found).all(), "parameters must be finite"
    return found
