# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The parts of a report on spikes: rasters, traces, rates, and what the neurons have learned."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from analysis.eigenvalues import exact_eigenvalues, spread
from analysis.observe import LayerTrace, Observation, Observer
from analysis.report import figures
from analysis.report.page import Page
from analysis.trained import OpenedRun
from models.neurons import BRFLayer, ResettingLayer
from models.shell import SpikingLayer, clamped
from models.snns import AdaptiveLayer, ResonateLayer
from models.ssms import MeanReadout, ResidualLayer
from training.build import SATURATED
from training.terminal.console import percent

Neuron = tuple[int, int]  # layer from 1, neuron from 0
MEMBRANE = "membrane time constant"
ADAPTATION = "adaptation time constant"
DECAY = "decay time constant"
FREQUENCY = "frequency"
OWNERS = {"axonal": "inputs", "dendritic": "neurons", "synaptic": "weights"}  # of delays
UNITS = {MEMBRANE: "ms", ADAPTATION: "ms", DECAY: "ms", FREQUENCY: "Hz"}


def default_clips(seen: Observation) -> list[int]:
    """The first test clip that is classified right, and the first that is not."""
    right = seen.predictions == seen.labels
    return [int(mask.nonzero()[0, 0]) for mask in (right, ~right) if mask.any()]


def show_clips(
    page: Page, run: OpenedRun, seen: Observation, observer: Observer, clips: list[int], asked: list
) -> None:
    """Rasters of test clips, and traces of neurons in the first of them."""
    page.section("rasters", "Spikes")
    page.say(
        "Input, spikes of every layer, and what each step adds to the classes of the readout: "
        f"{'their spikes' if run.model.counts_spikes else 'the softmax of their potentials'}. "
        "Initial states are those of the test; `--clips` shows others."
    )
    names = run.experiment.data.classes
    entries, watched = [], []
    for clip in clips:
        x, traces = observer.trace(clip)
        label, guess = int(seen.labels[clip]), int(seen.predictions[clip])
        verdict = "recognised" if label == guess else f"taken for '{names[guess]}'"
        title = f"test clip {clip}: '{names[label]}', {verdict}"
        watched.append((title, traces))
        classes = {f"true: {names[label]}": label}
        if guess != label:
            classes[f"chosen: {names[guess]}"] = guess
        spikes = [trace.spikes[0].cpu().numpy() for trace in traces[:-1]]
        scores = traces[-1].scores[0].cpu().numpy()
        step_ms = 1000 * run.step_seconds
        picture = figures.raster(title, x.numpy(), spikes, scores, classes, step_ms)
        entries.append((f"raster_clip{clip}", picture, f"Spikes of {title}."))
    page.figures(entries)
    show_traces(page, run, *watched[0], asked)


def show_traces(
    page: Page, run: OpenedRun, title: str, traces: list[LayerTrace], asked: list[Neuron]
) -> None:
    """States of chosen neurons against the threshold, over one clip."""
    page.section("traces", "Membrane and adaptation")
    crossing = "A neuron spikes where u is above θ; the reset follows in the next step. "
    page.say(
        f"States in {title}, as the network's own recurrence leaves them after each step. "
        f"{crossing if traces[0].threshold is not None else ''}Unless `--neurons` names others: "
        "the busiest neuron of a layer, an average one, and one that hardly fires."
    )
    entries = []
    for number, (layer, trace) in enumerate(
        zip(run.model.hidden_layers, traces[:-1], strict=True), start=1
    ):
        chosen = [neuron for of, neuron in asked if of == number]
        if asked and not chosen:
            continue
        neurons = {}
        for neuron in chosen or typical_neurons(trace):
            found = neuron_trace(layer, trace, neuron)
            count = int(found.spikes.sum())
            title_of = f"layer {number}, neuron {neuron}: {count} spike{'' if count == 1 else 's'}"
            neurons[title_of] = found
        picture = figures.traces(neurons, 1000 * run.step_seconds)
        entries.append((f"traces_layer{number}", picture, f"Layer {number}: neurons in {title}."))
    page.figures(entries)


def typical_neurons(trace: LayerTrace) -> list[int]:
    """The busiest neuron, the median of those that fire, and the quietest, without repetition."""
    counts, drive = trace.spikes[0].sum(dim=0), trace.drive[0].amax(dim=0)
    order = sorted(range(len(counts)), key=lambda i: (float(counts[i]), float(drive[i])))[::-1]
    firing = int((counts > 0).sum())
    places = [0, firing // 2, min(firing, len(order) - 1)]
    return list(dict.fromkeys(order[place] for place in places))


def neuron_trace(layer: SpikingLayer, trace: LayerTrace, neuron: int) -> LayerTrace:
    """One neuron of a trace: its spikes [T], and the states [T] that are worth drawing."""
    unused = {"s", "w"} if getattr(layer, "states_per_neuron", 0) == 1 else {"s"}
    states = {
        name: values[0, :, neuron].cpu()
        for name, values in trace.states.items()
        if name == trace.potential or not (name in unused or values.is_complex())
    }
    threshold = trace.threshold
    threshold = float(threshold[neuron]) if isinstance(threshold, Tensor) else threshold
    return LayerTrace(states, trace.spikes[0, :, neuron].cpu(), threshold=threshold)


def is_dead(rates: Tensor) -> Tensor:
    """Which neurons never fired, by their rates."""
    return rates == 0


def is_saturated(rates: Tensor) -> Tensor:
    """Which neurons fired at nearly every step."""
    return rates > SATURATED


def show_rates(page: Page, run: OpenedRun, seen: Observation) -> None:
    """How often neurons fire, and which never or always do."""
    page.section("rates", "Firing rates")
    page.say(
        f"Over all {len(seen.labels):,} test clips. A dead neuron never fired; a saturated one "
        f"fired in more than {percent(SATURATED, 0)} of the steps."
    )
    rows, entries, numbers = [], [], []
    for number, rates in enumerate(seen.rates, start=1):
        dead, saturated = int(is_dead(rates).sum()), int(is_saturated(rates).sum())
        mean, median, highest = (float(x) for x in (rates.mean(), rates.median(), rates.max()))
        title, hertz = f"layer {number}", f"{mean / run.step_seconds:.2f}"
        shares = percent(mean), hertz, percent(median), percent(highest)
        rows.append((title, f"{len(rates):,}", *shares, dead, saturated))
        picture = figures.rate_histogram(rates.numpy(), title, dead, saturated)
        caption = f"Firing rates of the {len(rates):,} neurons of layer {number}."
        entries.append((f"rates_layer{number}", picture, caption))
        numbers.append({"rates": rates.tolist(), "dead": dead, "saturated": saturated})
    titles = ["", "neurons", "mean", "mean (Hz)", "median", "highest", "dead", "saturated"]
    page.table(rows, titles)
    page.figures(entries)
    page.numbers["firing_rates"] = numbers


def show_parameters(page: Page, run: OpenedRun) -> None:
    """Time constants and couplings before and after training."""
    page.section("parameters", "Time constants")
    page.say(
        f"As the neurons use them, within their bounds. Before training: {run.initial_model()[1]}. "
        f"A step is {run.step_ms:g} ms of the clip."
    )
    rows, entries, numbers = [], [], {}
    for number, before, after in layers_before_and_after(run):
        old, new = (quantities(layer, run.step_seconds) for layer in (before, after))
        for name, values in new.items():
            unit = UNITS.get(name, "")
            title = f"{number}: {name}"
            picture = figures.before_and_after(old[name], values, title, unit)
            file = f"{number}_{name}".replace(" ", "_").replace("-", "_")
            entries.append((file, picture, f"{title}{unit and f' in {unit}'}, by neuron."))
            never = int((~np.isfinite(values)).sum())
            rows.append((number, name, unit, spread(old[name]), spread(values), never))
            both = {"before": finite(old[name]), "after": finite(values)}
            numbers.setdefault(number, {})[name] = both
    titles = ["layer", "quantity", "", "before: median (5 to 95 %)", "after", "never decay"]
    page.table(rows, titles)
    page.figures(entries)
    page.numbers["parameters"] = numbers


def delays_of(layer: nn.Module) -> list[tuple[str, str, np.ndarray]]:
    """(kind, whose they are, values in steps) of all learned delays of ``layer``."""
    found = []
    if layer.delay is not None:
        found.append(
            (layer.delay.kind, OWNERS[layer.delay.kind], layer.delay.longest - layer.delay.P)
        )
    if getattr(layer, "recurrent_delay", None) is not None:
        found.append(("recurrent", "neurons", layer.recurrent_delay.d))
    return [(kind, of, x.flatten().detach().cpu().numpy()) for kind, of, x in found]


def show_delays(page: Page, run: OpenedRun) -> None:
    """Learned delays of every layer before and after training; nothing where there are none."""
    rows, entries, numbers, step_ms = [], [], {}, 1000 * run.step_seconds
    for number, before, after in layers_before_and_after(run):
        for (kind, of, old), (*_, new) in zip(*map(delays_of, (before, after)), strict=True):
            old, new = old * step_ms, new * step_ms
            least = after.delay.taps if kind in OWNERS else 1
            steps = max(least, round(max(old.max(), new.max()) / step_ms) + 1)
            edges = (np.arange(steps + 1) - 0.5) * step_ms  # one bar a whole step
            title = f"{number}: {kind} delay"
            picture = figures.before_and_after(old, new, title, "ms", of, edges)
            name = title.replace(": ", "_").replace(" ", "_")
            entries.append((name, picture, f"{title}s in ms."))
            rows.append((number, kind, f"{len(new):,} {of}", spread(old), spread(new)))
            counts = (np.histogram(values, edges)[0].tolist() for values in (old, new))
            key = f"{number}, recurrent" if kind == "recurrent" else number
            numbers[key] = dict(zip(("before", "after"), counts, strict=True))
    if not rows:
        return
    page.section("delays", "Delays")
    page.say(
        f"In ms, a bar for each step of {run.step_ms:g} ms, to which tests round them. Before "
        f"training: {run.initial_model()[1]}."
    )
    page.table(rows, ["layer", "kind", "of", "before: median (5 to 95 %)", "after"])
    page.figures(entries)
    page.numbers["delays"] = numbers


def show_clamped(page: Page, run: OpenedRun) -> None:
    """Shares of parameters that clamping holds at a bound."""
    page.section("clamped", "Clamped parameters")
    rows, numbers = [], {}
    for number, before, after in layers_before_and_after(run):
        for name, (low, high) in after.ranges.items():
            shares = [share_at_bound(layer, name) for layer in (before, after)]
            rows.append(
                (number, name, f"{low:.4g} to {high:.4g}", *(percent(s, 1) for s in shares))
            )
            numbers.setdefault(number, {})[name] = shares[1]
    page.say(
        "Share of the values at or outside a bound, where they are used as the bound itself."
        if rows
        else "No parameter of this network is clamped."
    )
    if rows:
        page.table(rows, ["layer", "parameter", "bounds", "before", "after training"])
    page.numbers["clamped"] = numbers


def layers_before_and_after(run: OpenedRun) -> list[tuple]:
    """(name, layer before training, layer after it) of every layer and the readout."""
    pairs = list(zip(run.initial_model()[0].snn, run.model.snn, strict=True))
    names = [f"layer {i}" for i in range(1, len(pairs))] + ["readout"]
    return [(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def finite(values: np.ndarray) -> list[float | None]:
    """Values as JSON knows them; None for one that is not finite."""
    return [float(v) if np.isfinite(v) else None for v in torch.as_tensor(values).tolist()]


@torch.no_grad()
def quantities(layer: nn.Module, step_seconds: float) -> dict[str, np.ndarray]:
    """What characterises the neurons of a layer, as they are in use, each [H].

    Time constants in ms and frequencies in Hz, for a step of ``step_seconds``; couplings a and b
    and the input gain b are pure numbers. A neuron that does not decay has an infinite time
    constant. Of a neuron with a recurrence of its own these are its parameters [H], clamped.
    """
    if isinstance(layer, ResonateLayer | BRFLayer):
        turn = exact_eigenvalues(layer)[:, 0]
        found = {
            DECAY: time_constants(np.abs(turn), step_seconds),
            FREQUENCY: np.abs(np.angle(turn)) / (2 * math.pi * step_seconds),
        }
        gain = getattr(layer.coefficients(), "gain", None)
        found |= {"input gain b": gain.cpu().numpy()} if isinstance(gain, Tensor) else {}
        return found | learned_threshold(layer)
    if isinstance(layer, AdaptiveLayer | ResettingLayer):
        alpha, beta, a, b = layer.coefficients()
        found = {MEMBRANE: time_constants(alpha.cpu().numpy(), step_seconds)}
        if beta is not None:
            found[ADAPTATION] = time_constants(beta.cpu().numpy(), step_seconds)
            found["sub-threshold coupling a"] = a.cpu().numpy()
            found["spike-triggered coupling b"] = b.cpu().numpy()
        return found | learned_threshold(layer)
    if isinstance(layer, SpikingLayer):
        return own_parameters(layer)
    if isinstance(layer, ResidualLayer):
        turn = layer.block.modes().cpu().numpy()
        return {
            DECAY: time_constants(np.abs(turn), step_seconds),
            FREQUENCY: np.abs(np.angle(turn)) / (2 * math.pi * step_seconds),
        }
    if isinstance(layer, MeanReadout):
        return {}
    return {MEMBRANE: time_constants(layer.decay().cpu().numpy(), step_seconds)}


def learned_threshold(layer: SpikingLayer) -> dict[str, np.ndarray]:
    """The firing thresholds [H] of ``layer`` by their name, if they learn."""
    theta = layer.threshold
    if not isinstance(theta, nn.Parameter):
        return {}
    return {"firing threshold": theta.detach().expand(layer.hidden_size).cpu().numpy()}


def own_parameters(layer: SpikingLayer) -> dict[str, np.ndarray]:
    """The real parameters [H] of the neurons of ``layer`` by name, within their ranges."""
    found = {
        name: clamped(layer, name) if name in layer.ranges else values
        for name, values in layer.named_parameters(recurse=False)
        if values.shape == (layer.hidden_size,) and not values.is_complex()
    }
    return {name: values.detach().cpu().numpy() for name, values in found.items()}


def time_constants(decay: np.ndarray, step_seconds: float) -> np.ndarray:
    """Time constants in ms of decays per step [H]; infinite for 1 and more, 0 for 0 and less."""
    with np.errstate(divide="ignore"):
        rate = -np.log(np.clip(decay.astype(float), 0.0, 1.0))
        return 1000 * step_seconds / rate


def share_at_bound(layer: nn.Module, name: str) -> float:
    """Share of the values of a parameter at or outside its bounds, where clamping stops it."""
    low, high = layer.ranges[name]
    values = getattr(layer, name)
    return float(((values <= low) | (values >= high)).double().mean())
