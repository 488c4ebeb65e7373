# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Running an exported NIR graph beside the network that it came from."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.nir_graph import decay_of, names_of
from models.snns import SNN


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
    """A NIR node that does something with an input and an array of its own size."""

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
    import nir
    import nirtorch

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


@dataclass
class Mismatch:
    """How far a graph is from its network, over the clips compared so far.

    ``differing`` and ``fired`` count, layer by layer, spikes of which one of the two has none, and
    spikes of the network; ``places`` all neurons and steps. ``rounding`` counts the spikes by which
    the network differs from itself in double precision: a yardstick, as no graph can be closer than
    rounding lets it. Where a neuron is unstable (adLIF with a < -(1 - beta)), rounding grows over
    time.
    """

    clips: int
    differing: list[int]
    fired: list[int]
    places: list[int]
    rounding: list[int]
    same_class: int = 0
    correct_graph: int = 0
    correct_network: int = 0


def from_zero(model: SNN) -> SNN:
    """A copy of ``model`` whose neurons start from zero states, as graphs do."""
    twin = copy.deepcopy(model).eval()
    for layer in twin.snn:
        layer.init_state = "zero"
    return twin


def in_double_precision(model: SNN) -> SNN:
    """A copy of ``model`` from zero whose weights and neurons compute in double precision."""
    twin = from_zero(model).double()
    for layer in twin.snn:
        layer.backend = "naive"
    return twin


@torch.no_grad()
def compare(model: SNN, module: nn.Module, clips) -> Mismatch:
    """Run a network that starts from zero, and its graph, on batches (x [B, T, F], y [B])."""
    layers, precise = len(model.hidden_layers), in_double_precision(model)
    found = Mismatch(0, *([0] * layers for _ in range(4)))
    for x, y in clips:
        activity = model.activity(x)
        for i, (one, two) in enumerate(
            zip(activity.layers, precise.activity(x.double()).layers, strict=True)
        ):
            found.rounding[i] += int((one.spikes != two.spikes).sum())
        scores, spikes = run_graph(module, x, layers)
        for i, (ours, theirs) in enumerate(zip(activity.layers, spikes, strict=True)):
            found.differing[i] += int((ours.spikes != theirs).sum())
            found.fired[i] += int(ours.spikes.sum())
            found.places[i] += ours.spikes.numel()
        chosen, chosen_by_graph = activity.output.argmax(dim=1), scores.argmax(dim=1)
        found.clips += len(y)
        found.same_class += int((chosen == chosen_by_graph).sum())
        found.correct_network += int((chosen == y).sum())
        found.correct_graph += int((chosen_by_graph == y).sum())
    return found
