# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The part of a report on operations and energy."""

from dataclasses import asdict

from analysis.observe import Observation
from analysis.operations import ENERGY_PJ, ENERGY_SOURCE, LayerOperations
from analysis.report import figures
from analysis.report.page import Page
from analysis.run import OpenedRun
from models.snns import AdaptiveLayer, ResonateLayer

SPIKING_NOTE = (
    "A connection whose input is 0 or 1 accumulates (AC); one whose input is any other number, a "
    "feature or a bin that counts several events, multiplies and accumulates (MAC). Updating a "
    "neuron's state takes MACs at every step, spike or not. Batchnorm is folded into the weights. "
    "Memory access, thresholds and the softmax are left out, and on real hardware memory often "
    "costs more than arithmetic: compare networks by these figures, not chips."
)
DENSE_NOTE = (
    "Every weight takes one MAC at every step; activation functions, gates and memory access are "
    "left out."
)


def show_energy(page: Page, run: OpenedRun, seen: Observation) -> None:
    """Synaptic operations by layer, and an estimate of their energy."""
    page.section("energy", "Operations and energy")
    page.say(
        f"Means per test clip. Energies: {ENERGY_PJ['MAC']} pJ for a MAC, {ENERGY_PJ['AC']} pJ for "
        f"an AC ({ENERGY_SOURCE}). {SPIKING_NOTE if run.model.is_snn else DENSE_NOTE}"
    )
    layers = [*seen.operations, total(seen.operations)]
    if run.model.is_snn:
        show_spiking(page, run, layers)
    else:
        page.table(
            [(o.name, f"{o.mac:,.0f}", f"{o.connections_nj:,.1f}") for o in layers],
            ["", "MACs", "energy (nJ)"],
        )
    page.numbers["operations"] = [
        asdict(o)
        | {"connections_nj": o.connections_nj, "updates_nj": o.updates_nj, "dense_nj": o.dense_nj}
        for o in layers
    ]


def show_spiking(page: Page, run: OpenedRun, layers: list[LayerOperations]) -> None:
    """Table and picture of a spiking network."""
    columns = {"SOP": "sop", "recurrent SOP": "recurrent_sop", "ACs": "ac", "MACs": "mac"}
    energies = {"connections": "connections_nj", "neurons": "updates_nj", "dense": "dense_nj"}
    rows = [
        (
            o.name,
            *(f"{getattr(o, name):,.0f}" for name in columns.values()),
            *(f"{getattr(o, name):,.1f}" for name in energies.values()),
        )
        for o in layers
    ]
    page.table(rows, ["", *columns, *(f"{name} (nJ)" for name in energies)])
    everything = layers[-1]
    spent = everything.connections_nj + everything.updates_nj
    page.say(
        f"Together {spent:,.0f} nJ per clip. The same connections with every input used at every "
        f"step (dense), as in a network without spikes, would take {everything.dense_nj:,.0f} nJ, "
        f"{everything.dense_nj / spent:.1f} times as much."
    )
    if run.config.model.bidirectional:
        page.say(
            "SOP count one direction of a layer, as published; ACs, MACs and energy count both."
        )
    known = (AdaptiveLayer, ResonateLayer)
    if not all(isinstance(layer, known) for layer in run.model.hidden_layers):
        page.say(
            f"{run.model.neuron_type} neurons have a recurrence of their own, whose updates are "
            "not counted here.",
            "note",
        )
    parts = {
        "connections": [o.connections_nj for o in layers[:-1]],
        "updates of neurons": [o.updates_nj for o in layers[:-1]],
    }
    picture = figures.energy_bars([o.name for o in layers[:-1]], parts)
    page.wide_figure("energy", picture, "Estimated energy per test clip, by layer.")


def total(layers: list[LayerOperations]) -> LayerOperations:
    """The sums over the layers."""
    names = [name for name in vars(layers[0]) if name != "name"]
    return LayerOperations("all", **{n: sum(getattr(o, n) for o in layers) for n in names})
