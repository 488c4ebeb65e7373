# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A trained network as a graph of the Neuromorphic Intermediate Representation, and its check.

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
import itertools
from collections import namedtuple
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from analysis.deploy.weights import affine_of
from models.shell import SpikingLayer
from models.snns import SNN, AdaptiveLayer, ReadoutLayer, ResonateLayer
from training.errors import ExperimentError

with contextlib.suppress(ModuleNotFoundError):  # optional; the commands say so
    import nir
    import nirtorch

INPUT, OUTPUT = "input", "output"
FIELDS = "affine adaptation membrane spikes reset subthreshold triggered recurrent"
Names = namedtuple("Names", FIELDS)  # of the nodes of one layer
READOUT_AFFINE, READOUT_MEMBRANE = "readout_0_affine", "readout_1_membrane"


def names_of(number: int) -> Names:
    """The names of hidden layer ``number`` (from 1), sorted in the order of evaluation."""
    return Names(*(f"layer{number:02d}_{i}_{field}" for i, field in enumerate(Names._fields)))


def check_exportable(model: nn.Module) -> None:
    """ExperimentError, with the reason, for a network that NIR cannot hold faithfully."""
    if not isinstance(model, SNN):
        raise ExperimentError("only networks of spiking neurons are exported, which this is not")
    if any(layer.delay is not None for layer in model.snn):
        raise ExperimentError("a network with --delay cannot be exported: only undelayed ones are")
    for layer in model.hidden_layers:
        reason = "only neurons of the adaptive recurrence can, and it has one of its own"
        if isinstance(layer, ResonateLayer):
            reason = "its potential is complex, and NIR has no node with an oscillating state"
        if not isinstance(layer, AdaptiveLayer):
            raise ExperimentError(f"{model.neuron_type} cannot be exported: {reason}")
        if layer.recurrent_delay is not None:
            raise ExperimentError(
                "recurrent delays cannot be exported: a spike returns spread over several steps, "
                "for which NIR has no node"
            )
    if model.readout != "softmax_sum" or getattr(model.layers[-1], "first", 0):
        raise ExperimentError(
            "only networks with --readout softmax_sum of all steps are exported: the graph ends in "
            "potentials, and the program that runs it must sum their softmax"
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
    source = writer.add_readout(model.snn[-1], source)
    writer.nodes[OUTPUT] = nir.Output(np.array([model.layer_sizes[-1]]))
    writer.connect(source, OUTPUT)
    metadata = {"dt": step_seconds, "discretization": discretization}
    return nir.NIRGraph(writer.nodes, writer.edges, metadata=metadata)


class LayerWriter:
    """Collects the nodes and edges of layers."""

    def __init__(self, step_seconds: float, discretization: str):
        self.step_seconds = step_seconds
        self.discretization = discretization
        self.nodes, self.edges = {}, []

    def add_spiking(self, layer: SpikingLayer, names: Names, source: str) -> str:
        """Add a hidden layer after the node ``source``; the node that emits its spikes."""
        alpha, beta, a, b = layer.coefficients()
        theta = layer.threshold * torch.ones_like(alpha)
        self.nodes[names.affine] = self.affine(layer)
        self.nodes[names.membrane] = self.integrator(alpha, r=1.0)
        self.nodes[names.spikes] = nir.Threshold(array(theta))
        self.nodes[names.reset] = nir.Scale(array(-alpha / (1 - alpha)))
        self.connect(source, names.affine, names.membrane, names.spikes)
        self.connect(names.spikes, names.reset, names.membrane)
        if beta is not None:
            self.nodes[names.adaptation] = self.integrator(beta, r=-1.0)
            self.nodes[names.subthreshold] = nir.Scale(array(a / (1 - beta)))
            self.nodes[names.triggered] = nir.Scale(array(b / (1 - beta)))
            self.connect(names.membrane, names.subthreshold, names.adaptation, names.membrane)
            self.connect(names.spikes, names.triggered, names.adaptation)
        matrix = layer.recurrent_weights()
        if matrix is not None:
            self.nodes[names.recurrent] = nir.Linear(array(matrix.T))
            self.connect(names.spikes, names.recurrent, names.membrane)
        return names.spikes

    def add_readout(self, layer: ReadoutLayer, source: str) -> str:
        """Add the readout after the node ``source``; the node with its potential."""
        self.nodes[READOUT_AFFINE] = self.affine(layer)
        decay = layer.decay()
        r = 1.0 if layer.gain is None else array(layer.gain / (1 - decay))
        self.nodes[READOUT_MEMBRANE] = self.integrator(decay, r)
        self.connect(source, READOUT_AFFINE, READOUT_MEMBRANE)
        return READOUT_MEMBRANE

    def connect(self, *path: str) -> None:
        """Add the edges from node to node of a path."""
        self.edges += itertools.pairwise(path)

    def affine(self, layer: nn.Module):
        """Weights, bias and batchnorm of a layer as one node."""
        scale, bias = affine_of(layer.norm, layer.W.bias)
        weight = layer.W.rounded()
        weight = weight if scale is None else weight * scale[:, None]
        bias = torch.zeros_like(weight[:, 0]) if bias is None else bias
        return nir.Affine(array(weight), array(bias))

    def integrator(self, decay: Tensor, r: float | np.ndarray):
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


class Integrator(nn.Module):
    """A NIR LI node: tau dv/dt = v_leak - v + r I, one step a call."""

    def __init__(self, node, step_seconds: float, discretization: str):
        super().__init__()
        tau = torch.from_numpy(node.tau)
        self.decay = nn.Buffer(decay_of(tau, step_seconds, discretization))
        self.r = nn.Buffer(torch.from_numpy(node.r))
        self.v_leak = nn.Buffer(torch.from_numpy(node.v_leak))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, H] -> (potential, state for the next step), both [B, H]."""
        v = torch.zeros_like(x) if state is None else state
        v = self.decay * v + (1 - self.decay) * (self.v_leak + self.r * x)
        return v, v


class Elementwise(nn.Module):
    """A NIR node that combines its input with an array of the same size."""

    def __init__(self, operation: Callable[[Tensor, Tensor], Tensor], values):
        super().__init__()
        self.operation = operation
        self.values = nn.Buffer(torch.from_numpy(values))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, H] -> [B, H]."""
        return self.operation(x, self.values)


def above(x: Tensor, threshold: Tensor) -> Tensor:
    """1 where x is above the threshold, else 0."""
    return (x > threshold).to(x.dtype)


def linear(node) -> nn.Linear:
    """A NIR Linear or Affine node. (nirtorch 2.6 loses the bias of an Affine.)"""
    weight = torch.from_numpy(node.weight)
    bias = getattr(node, "bias", None)
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(torch.from_numpy(bias))
    return module


def to_torch(graph, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The graph as a module that nirtorch builds: (x [B, F], state) -> (output, state)."""
    dt, discretization = float(graph.metadata["dt"]), graph.metadata["discretization"]
    nodes = {
        nir.LI: lambda node: Integrator(node, dt, discretization),
        nir.Threshold: lambda node: Elementwise(above, node.threshold),
        nir.Scale: lambda node: Elementwise(torch.mul, node.scale),
        nir.Linear: linear,
        nir.Affine: linear,
    }
    return nirtorch.nir_to_torch(graph, nodes, dtype=dtype).eval()


@torch.no_grad()
def run_graph(module: nn.Module, x: Tensor, layers: int) -> tuple[Tensor, list[Tensor]]:
    """Run a graph on clips x [B, T, F] from zero states.

    Returns the class scores [B, C], the readout's softmax summed over time, and the spikes
    [B, T, H] of every hidden layer.
    """
    spikes = [[] for _ in range(layers)]
    hooks = []
    for number, seen in enumerate(spikes, start=1):
        node = module.get_submodule(names_of(number).spikes)
        hooks.append(node.register_forward_hook(lambda m, args, out, seen=seen: seen.append(out)))
    scores, state = 0, None
    try:
        for frame in x.unbind(dim=1):
            potential, state = module(frame, state)
            scores = scores + torch.softmax(potential, dim=1)
    finally:
        for hook in hooks:
            hook.remove()
    return scores, [torch.stack(seen, dim=1) for seen in spikes]


def conventions(step_seconds: float, discretization: str) -> list[str]:
    """What anyone who runs a graph must know."""
    rule = "1 - dt / tau" if discretization == "euler" else "exp(-dt / tau)"
    return [
        f"time step dt {1000 * step_seconds:.6g} ms; a decay per step is {rule}",
        "edges into adaptation, and from spikes into membrane, arrive one step later",
        "the output is the readout's potential: softmax over classes and the sum over time are "
        "left to the reader, as NIR has no node for them",
    ]
