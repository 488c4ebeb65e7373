# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The sentence on top of a report: how good the network is, and what to look at first."""

from collections.abc import Iterator

import numpy as np

from analysis.observe import Observation
from analysis.report.neurons import is_dead, is_saturated
from analysis.trained import OpenedRun
from training.metrics import wilson
from training.terminal.console import interval_in_words, percent

MENTIONED = 2  # remarks
GAP = 0.1  # between training and test, worth a remark
IDLE = 0.2  # share of the neurons of a layer
CONFUSED = 0.1  # share of the clips of a class


def sentence(run: OpenedRun, seen: Observation) -> str:
    """The result, and the most important remarks on it."""
    figures = seen.metrics.to_dict()
    result = f"{percent(figures['accuracy'], 1)} of the test clips are recognised"
    found = [f"{result} {interval_in_words(**figures)}", *remarks(run, seen)]
    return f"{'; '.join(found[: MENTIONED + 1])}."


def remarks(run: OpenedRun, seen: Observation) -> Iterator[str]:
    """What a researcher should notice, most important first."""
    low, high = wilson(seen.metrics.accuracy, len(seen.labels))
    if low <= float(seen.labels.bincount().max()) / len(seen.labels):
        yield "this is no better than naming one class every time"
    if len(set(run.experiment.data.test.speaker_names)) == 1:
        yield "all test clips are of one speaker, so expect less with others"
    if run.summary is not None:
        yield from of_training(run, high)
    for number, rates in enumerate(seen.rates, start=1):
        for words, mask in (("never fire", is_dead(rates)), ("always fire", is_saturated(rates))):
            if (share := float(mask.float().mean())) > IDLE:
                yield f"{percent(share, 0)} of the neurons of layer {number} {words}"
    for name, (clips, right) in by_speaker(run, seen).items():
        if wilson(right / clips, clips)[1] < low:
            yield f"of speaker {name} only {percent(right / clips, 1)} are recognised"
    counts, names = seen.confusion().numpy(), run.experiment.data.classes
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    true, taken = divmod(int(shares.argmax()), len(names))
    if shares[true, taken] >= CONFUSED:
        often = f"{counts[true, taken]} of {counts[true].sum()} clips"
        yield f"the most frequent mistake is '{names[true]}' taken for '{names[taken]}', in {often}"


def of_training(run: OpenedRun, high: float) -> Iterator[str]:
    """What the epochs say of the result, whose interval ends at ``high``."""
    best = run.summary["best_epoch"]
    if "test split" in run.summary["validated_on"]:
        yield "the epoch was chosen on these clips, so expect less on others"
    trained = [r["accuracy"] for r in run.records if (r["split"], r["epoch"]) == ("train", best)]
    if trained and trained[0] > high + GAP:
        yield f"the training clips reach {percent(trained[0], 1)}, so it overfits"
    if best == run.config.training.start_epoch + run.summary["epochs"]:
        yield "the last epoch was the best one, so longer training may help"


def by_speaker(run: OpenedRun, seen: Observation) -> dict[str, tuple[int, int]]:
    """(clips, those recognised) of each speaker, hardest first; empty where speakers are unknown
    or only one."""
    speakers = np.array(run.experiment.data.test.speaker_names)
    right = (seen.predictions == seen.labels).numpy()
    found = {}
    for name in np.unique(speakers):
        of_one = right[speakers == name]
        found[str(name)] = (len(of_one), int(of_one.sum()))
    if len(found) < 2:
        return {}
    return dict(
        sorted(found.items(), key=lambda pair: wilson(pair[1][1] / pair[1][0], pair[1][0])[1])
    )
