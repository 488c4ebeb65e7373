# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The parts of a report that every network has: learning curves, mistakes, operations, energy."""

from dataclasses import asdict

import numpy as np

from analysis.listening import seconds_heard
from analysis.observe import Observation
from analysis.operations import ENERGY_PJ, ENERGY_SOURCE, LayerOperations, total
from analysis.report import figures
from analysis.report.notice import by_speaker
from analysis.report.page import Page
from analysis.trained import OpenedRun
from datasets.binning import Binning
from models.neurons import BRFLayer, ResettingLayer
from models.snns import AdaptiveLayer, ResonateLayer
from models.ssms import SSM, ResidualLayer
from parsers.training_config import SPIKES
from training.metrics import count_parameters, protocol, wilson
from training.record import checkpoint
from training.terminal.console import interval_in_words, percent

WORST_PAIRS = 10
EARLY = (0.5, 0.9, 0.99)  # shares of the final accuracy
MOST_SPEAKERS = 20  # of whom a table is short enough to be read
SPIKING_NOTE = (
    "A connection whose input is 0 or 1 accumulates (AC); one whose input is any other number, a "
    "feature or a bin that counts several events, multiplies and accumulates (MAC). Updating a "
    "neuron's state takes MACs at every step, spike or not. Batchnorm is folded into the weights. "
    "Memory access, thresholds and the softmax are not counted, and on real hardware memory often "
    "costs more than arithmetic: compare networks by these figures, not chips."
)
STATE_NOTE = (
    " The states of a state-space model are counted as the recurrence that a chip would run, not "
    "as the convolution that stands for it here."
)
DENSE_NOTE = (
    "Every weight takes one MAC at every step; activation functions, gates and memory access are "
    "not counted."
)


def show_run(page: Page, run: OpenedRun, seen: Observation) -> None:
    """What was trained on which data, and with what result."""
    page.section("run", "The run")
    for note in notes(run, seen):
        page.say(note, "note")
    options, model, test = run.config.training, run.model, seen.metrics.to_dict()
    sizes = "-".join(map(str, [run.experiment.data.nb_features, *model.layer_sizes]))
    rows = [
        ("folder", run.folder),
        ("network", f"{run.config.model.model_type} {sizes}"),
        ("trainable parameters", f"{count_parameters(model):,}"),
        ("data", f"{options.dataset_name}, steps of {run.step_ms:g} ms"),
        ("test accuracy", f"{percent(seen.metrics.accuracy)} {interval_in_words(**test)}"),
        ("test loss", f"{seen.metrics.loss:.4f}"),
    ]
    if run.summary is not None:
        valid = percent(run.summary["valid"]["accuracy"])
        rows.append(("validation accuracy", f"{valid} at epoch {run.summary['best_epoch']}"))
        rows.append(("validated on", run.summary["validated_on"]))
        rows.append(("protocol", protocol(run.summary["validated_on"])))
    if model.is_snn:
        rows.append(("state variables", f"{model.nb_state_variables():,}"))
        rows.append(("synaptic operations", f"{seen.metrics.sop:,.0f} per clip"))
    page.table(rows, kind="facts")
    options = list(run.config.to_dict().items())
    page.table(options, ["option", "value"], kind="facts", folded="All options")
    page.numbers["test"] = test
    page.numbers["test_accuracy_interval"] = wilson(seen.metrics.accuracy, seen.metrics.samples)


def notes(run: OpenedRun, seen: Observation) -> list[str]:
    """What a reader must know before believing the page."""
    found = []
    options = run.config.training
    if run.summary is None:
        done = max((r["epoch"] for r in run.records if r["split"] == "valid"), default=0)
        last = options.start_epoch + options.nb_epochs
        found.append(
            f"This run has not finished: {done} of {last} epochs are recorded. The page shows the "
            "weights it had saved by then."
            if run.records
            else "The folder holds weights without records of a training."
        )
    elif abs(run.summary["test"]["accuracy"] - seen.metrics.accuracy) > 1e-9:
        found.append(
            f"The run's own test gave {percent(run.summary['test']['accuracy'])}, this one "
            f"{percent(seen.metrics.accuracy)}: on another device the neurons start from other "
            "random states, or the data have changed."
        )
    if run.weights.name != checkpoint.BEST.name:
        found.append("The best weights were not saved: these are the ones of the last epoch.")
    return found


def show_curves(page: Page, run: OpenedRun) -> None:
    """Loss, accuracy, activity and learning rate over the epochs."""
    page.section("curves", "Learning curves")
    records = {name: [r for r in run.records if r["split"] == name] for name in ("train", "valid")}
    if not records["valid"]:
        page.say("metrics.jsonl records no epoch.")
        return

    def points(split, value) -> tuple[list, list]:
        return [r["epoch"] for r in records[split]], [value(r) for r in records[split]]

    def both(value) -> dict:
        return {name: points(name, value) for name in records if records[name]}

    star = None
    if run.summary is not None:
        accuracy = 100 * run.summary["test"]["accuracy"]
        star = (f"test {accuracy:.2f} %", run.summary["best_epoch"], accuracy)
    entries = [
        ("loss", figures.curves("loss", both(lambda r: r["loss"])), "Loss by epoch."),
        (
            "accuracy",
            figures.curves("accuracy (%)", both(lambda r: 100 * r["accuracy"]), mark=star),
            "Accuracy by epoch; the star is the test of the best epoch.",
        ),
    ]
    if layers := len(records["valid"][0].get("firing_rates") or ()):
        rates = {
            f"layer {i + 1}": points("valid", lambda r, i=i: 100 * r["firing_rates"][i])
            for i in range(layers)
        }
        caption = "Mean firing rate of each layer on the validation split, by epoch."
        picture = figures.curves("firing rate (% of steps)", rates)
        entries.append(("rates_over_epochs", picture, caption))
        operations = {"valid": points("valid", lambda r: r["sop"])}
        caption = "Synaptic operations per validation clip, by epoch."
        picture = figures.curves("synaptic operations per clip", operations)
        entries.append(("sop_over_epochs", picture, caption))
    last = records["valid"][-1]
    rates = {
        label: points(
            "valid", lambda r, label=label: r.get("lr_groups", {"weights": r["lr"]})[label]
        )
        for label in last.get("lr_groups", ["weights"])
    }
    picture = figures.curves("learning rate", rates, log=True)
    entries.append(("learning_rate", picture, "Learning rate by epoch."))
    if widths := last.get("sigma"):
        widths = {name: points("valid", lambda r, name=name: r["sigma"][name]) for name in widths}
        picture = figures.curves("width of delays (steps)", widths, log=True)
        entries.append(("delay_widths", picture, "Width of the delays of each layer by epoch."))
    page.figures(entries)


def show_confusion(page: Page, run: OpenedRun, seen: Observation) -> None:
    """Which classes are mistaken for which."""
    page.section("confusion", "Confusion matrix")
    names = run.experiment.data.classes
    counts = seen.confusion().numpy()
    totals = counts.sum(axis=1)
    page.wide_figure(
        "confusion",
        figures.confusion(counts, names),
        f"Test clips by true class (rows) and predicted class (columns); {np.trace(counts):,} of "
        f"{counts.sum():,} are on the diagonal, {percent(seen.metrics.accuracy)}.",
        pan=True,
    )
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST_PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order if wrong.flat[place]]
    if pairs:
        page.say("Most frequent mistakes:")
        rows = [
            (names[i], names[j], counts[i, j], share(counts[i, j], totals[i])) for i, j in pairs
        ]
        page.table(rows, ["class", "taken for", "clips", "of the class"])
    rows = [
        (name, totals[i], share(counts[i, i], totals[i]), share(counts[i, i], counts[:, i].sum()))
        for i, name in enumerate(names)
    ]
    folded = "Recall and precision of every class"
    page.table(rows, ["class", "clips", "recall", "precision"], folded=folded)
    page.numbers |= {"classes": names, "confusion": counts.tolist()}


def show_early_decisions(page: Page, run: OpenedRun, seen: Observation) -> None:
    """How accurate the network would be if each clip had to be decided at a certain time."""
    if seen.right_by_step is None:
        return
    page.section("early", "Early decisions")
    options = run.config.training
    binning = Binning.of(options) if SPIKES.are_met(run.config.to_dict()) else None
    seconds = [seconds_heard(binning, step) for step in range(len(seen.right_by_step))]
    accuracy = (seen.right_by_step.double() / len(seen.labels)).tolist()
    last = accuracy[-1]
    reached = {
        share: next(s for s, a in zip(seconds, accuracy, strict=True) if a >= share * last)
        for share in EARLY
    }
    within = ", ".join(f"{share:.0%} after {s:.2f} s" for share, s in reached.items())
    page.say(
        f"If a clip must be decided before its end, the class that leads is taken. At the end "
        f"{percent(last)} are right; of that, {within}. A clip that has ended keeps its class."
    )
    picture = figures.early_decisions(seconds, accuracy, reached)
    caption = "Test accuracy against the time from the start of a clip at which it is decided."
    page.wide_figure("early_decisions", picture, caption)
    page.numbers["early_decisions"] = {"seconds": seconds, "accuracy": accuracy}


def show_speakers(page: Page, run: OpenedRun, seen: Observation) -> None:
    """How well each speaker of the test split is recognised, where they are known."""
    speakers = by_speaker(run, seen)
    if not speakers:
        return
    page.section("speakers", "Accuracy by speaker")
    accuracies = [right / clips for clips, right in speakers.values()]
    page.say(
        f"{len(speakers)} speakers, hardest first: from {percent(min(accuracies), 1)} to "
        f"{percent(max(accuracies), 1)}. Their 95% intervals say how far so few clips decide it."
    )
    rows = []
    for name, (clips, right) in speakers.items():
        low, high = wilson(right / clips, clips)
        interval = f"{100 * low:.1f} to {percent(high, 1)}"
        rows.append((name, clips, percent(right / clips, 1), interval))
    headers = ["speaker", "clips", "accuracy", "95% interval"]
    page.table(rows[:MOST_SPEAKERS], headers)
    if rows[MOST_SPEAKERS:]:
        page.table(rows, headers, folded="All speakers")
    page.numbers["speakers"] = {
        name: {"clips": clips, "right": right} for name, (clips, right) in speakers.items()
    }


def share(part: int, whole: int) -> str:
    """A percentage, or a dash where there is nothing to divide."""
    return percent(part / whole, 1) if whole else "-"


def show_energy(page: Page, run: OpenedRun, seen: Observation) -> None:
    """Synaptic operations by layer, and an estimate of their energy."""
    page.section("energy", "Operations and energy")
    page.say(
        f"Means per test clip. Energies: {ENERGY_PJ['MAC']} pJ for a MAC, {ENERGY_PJ['AC']} pJ for "
        f"an AC ({ENERGY_SOURCE}). {SPIKING_NOTE if run.model.is_snn else DENSE_NOTE}"
        f"{STATE_NOTE if isinstance(run.model, SSM) else ''}"
    )
    layers = [*seen.operations, total(seen.operations)]
    counts = {"SOP": "sop", "recurrent SOP": "recurrent_sop", "ACs": "ac", "MACs": "mac"}
    energies = {"connections": "connections_nj", "neurons": "updates_nj", "dense": "dense_nj"}
    page.numbers["operations"] = [
        asdict(o) | {name: getattr(o, name) for name in energies.values()} for o in layers
    ]
    if not run.model.is_snn:
        counts, energies = {"MACs": "mac"}, {"energy": "connections_nj"}
        if isinstance(run.model, SSM):
            counts |= {"MACs of states": "update_mac"}
            energies = {"matrices": "connections_nj", "states": "updates_nj"}
    rows = [
        (
            o.name,
            *(f"{getattr(o, name):,.0f}" for name in counts.values()),
            *(f"{getattr(o, name):,.1f}" for name in energies.values()),
        )
        for o in layers
    ]
    page.table(rows, ["", *counts, *(f"{name} (nJ)" for name in energies)])
    if run.model.is_snn:
        show_spiking(page, run, layers)


def show_spiking(page: Page, run: OpenedRun, layers: list[LayerOperations]) -> None:
    """What the energy of a spiking network means, and its picture."""
    *parts, everything = layers
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
    known = (AdaptiveLayer, ResonateLayer, ResettingLayer, BRFLayer, ResidualLayer)
    if not all(isinstance(layer, known) for layer in run.model.hidden_layers):
        page.say(
            f"{run.model.neuron_type} neurons have a recurrence of their own, whose updates are "
            "not counted here.",
            "note",
        )
    energies = {
        "connections": [o.connections_nj for o in parts],
        "updates of neurons": [o.updates_nj for o in parts],
    }
    picture = figures.energy_bars([o.name for o in parts], energies)
    page.wide_figure("energy", picture, "Estimated energy per test clip, by layer.")
