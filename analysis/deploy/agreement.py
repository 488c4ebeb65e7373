# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How many spikes of an exported network differ from those of the network itself."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.snns import SNN

Run = Callable[[Tensor], tuple[Tensor, list[Tensor]]]  # clips [B, T, F] -> scores, layers' spikes


@dataclass
class Mismatch:
    """How far an export is from its network, over the clips compared so far.

    ``differing`` and ``fired`` count, layer by layer, spikes of which one of the two has none, and
    spikes of the network; ``places`` all neurons and steps. ``rounding`` counts the spikes by which
    the network differs from itself in double precision: a yardstick, as no export can be closer
    than rounding lets it; None where that was not measured. Where a neuron is unstable (adLIF with
    a < -(1 - beta)), rounding grows over time.
    """

    clips: int
    differing: list[int]
    fired: list[int]
    places: list[int]
    rounding: list[int] | None
    same_class: int = 0
    correct_export: int = 0
    correct_network: int = 0


def from_zero(model: SNN) -> SNN:
    """A copy of ``model`` whose neurons start from zero states, as exported ones do."""
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


def run_of(model: SNN) -> Run:
    """What ``model`` does with clips."""
    dtype = next(model.parameters()).dtype

    def run(x):
        activity = model.activity(x.to(dtype))
        return activity.output, [layer.spikes for layer in activity.layers]

    return run


@torch.no_grad()
def compare(network: Run, export: Run, clips, rounding: Run | None = None) -> Mismatch:
    """Run a network from zero states, and its export, on batches (x [B, T, F], y [B])."""
    found = Mismatch(0, [], [], [], None if rounding is None else [])
    for x, y in clips:
        scores, spikes = network(x)
        theirs, their_spikes = export(x)
        pairs = list(zip(spikes, their_spikes, strict=True))
        add(found.differing, [int((ours != other).sum()) for ours, other in pairs])
        add(found.fired, [int(ours.sum()) for ours in spikes])
        add(found.places, [ours.numel() for ours in spikes])
        if rounding is not None:
            pairs = zip(spikes, rounding(x)[1], strict=True)
            add(found.rounding, [int((ours != exact).sum()) for ours, exact in pairs])
        chosen, their_choice = scores.argmax(dim=1), theirs.argmax(dim=1)
        found.clips += len(y)
        found.same_class += int((chosen == their_choice).sum())
        found.correct_network += int((chosen == y).sum())
        found.correct_export += int((their_choice == y).sum())
    return found


def add(sums: list[int], counts: list[int]) -> None:
    """Add the counts of a batch to the sums of each layer."""
    sums[:] = [a + b for a, b in zip(sums or [0] * len(counts), counts, strict=True)]


def report(found: Mismatch, noun: str) -> list[str]:
    """The mismatch in words; ``noun`` is what was exported."""
    lines = [f"against the network, from zero states, on {found.clips:,} test clips:"]
    for i, (differing, fired, places) in enumerate(
        zip(found.differing, found.fired, found.places, strict=True)
    ):
        share = f"{differing / fired:.4%} of its {fired:,} spikes" if fired else "it is silent"
        line = (
            f"  layer {i + 1}: {differing:,} spikes differ, {share}, {differing / places:.6%} of "
        )
        line += "all neurons and steps"
        if found.rounding is not None:
            line += f"; the network in double precision differs in {found.rounding[i]:,} (rounding)"
        lines.append(line)
    lines.append(
        f"  same class: {found.same_class:,} of {found.clips:,}; accuracy of the {noun} "
        f"{found.correct_export / found.clips:.2%}, of the network "
        f"{found.correct_network / found.clips:.2%}"
    )
    return lines
