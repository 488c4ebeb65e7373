# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Words in a long recording: a window slides over it, and what stands out is kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from analysis.listening import Answer, Listener
from analysis.predict.clips import Prediction, predictions
from datasets.features import SHIFT_MS, frame_counts
from datasets.recordings import FULL_SCALE, Recording
from training.terminal.console import progress_bar

LEVEL_SECONDS = 0.025  # over which the level of the sound is taken
# Somebody speaks where the level is above this share of the way, in dB, from the quiet moments of
# the recording, its `FLOOR` quantile, to the loudest one.
LOUD, FLOOR = 0.4, 0.1
OVERLAP = 0.5  # share of a word, while somebody speaks, that may belong to others too


@dataclass(frozen=True)
class Windows:
    """How a recording is searched: windows of ``seconds``, one every ``hop`` s, and the lowest
    probability, ``threshold``, that makes a word."""

    seconds: float
    hop: float
    threshold: float

    def starts(self, duration: float) -> list[float]:
        """Where windows begin, in s; the last one ends with the recording of ``duration`` s."""
        last = max(duration - self.seconds, 0.0)
        count = int(last / self.hop + 1e-9)
        starts = [*(i * self.hop for i in range(count + 1)), last]
        return [round(start, 6) for start in starts[: None if last > starts[-2] + 1e-6 else -1]]


@dataclass(frozen=True)
class Search:
    """What was heard in a recording: the start in s of every window, its prediction and the
    probabilities [W, C], and the words that were found, in order.

    ``level`` [L] in dB below full scale is that of the sound, every `LEVEL_SECONDS`.
    """

    starts: list[float]
    windows: list[Prediction]
    probabilities: Tensor
    level: np.ndarray
    words: list[Prediction]


def search(listener: Listener, name: str, sound: Recording, how: Windows) -> Search:
    """Search the recording ``name`` for words.

    Of the windows that are sure enough, the one whose class leads by most is a word, from the first
    to the last moment that somebody speaks in it; so is the next one, unless most of what is spoken
    in it belongs to words already, and so on.
    """
    starts = how.starts(len(sound.samples) / sound.rate)
    found, chances, margins = [], [], []
    for first, answer in answers(listener, sound, starts, how, name):
        heard = starts[first : first + len(answer.scores)]
        found += predictions(
            listener, answer, [(name, start, start + how.seconds, None) for start in heard]
        )
        chances.append(answer.probabilities())
        best = answer.scores.topk(2).values
        margins += (best[:, 0] - best[:, 1]).tolist()
    level = levels(sound)
    words, left = [], is_loud(level)
    loud = left.copy()
    for index in sorted(range(len(starts)), key=lambda index: -margins[index]):
        window = found[index]
        part = slice(*(round(time / LEVEL_SECONDS) for time in (window.start, window.end)))
        spoken = part.start + np.flatnonzero(loud[part])
        own = left[spoken].sum()
        if window.probability >= how.threshold and own > (1 - OVERLAP) * len(spoken):
            first, last = int(spoken[0]), int(spoken[-1])
            ends = [round(LEVEL_SECONDS * block, 3) for block in (first, last + 1)]
            words.append(replace(window, start=ends[0], end=ends[1]))
            left[spoken] = False
    return Search(starts, found, torch.cat(chances), level, merged(words))


def merged(words: list[Prediction]) -> list[Prediction]:
    """The words in order; of those that are the same and overlap, the one heard with the highest
    probability, from the start of the first to the end of the last."""
    kept: list[Prediction] = []
    for word in sorted(words, key=lambda word: word.start):
        last = kept[-1] if kept else None
        if last is not None and word.word == last.word and word.start < last.end:
            surest = max(last, word, key=lambda word: word.probability)
            kept[-1] = replace(surest, start=last.start, end=max(last.end, word.end))
        else:
            kept.append(word)
    return kept


def answers(
    listener: Listener, sound: Recording, starts: list[float], how: Windows, name: str
) -> Iterator[tuple[int, Answer]]:
    """The answers to the windows of a recording, with the number of the first of each batch."""
    size, inputs = listener.config.training.batch_size, windows(listener, sound, starts, how)
    with progress_bar(len(starts), f"searching {name}", " windows") as bar:
        for first in range(0, len(starts), size):
            batch = []
            for _ in starts[first : first + size]:
                batch.append(next(inputs))
                bar.update()
            yield first, listener.answer(torch.stack(batch), alone=True).cpu()


def windows(
    listener: Listener, sound: Recording, starts: list[float], how: Windows
) -> Iterator[Tensor]:
    """What the network hears [T, F] of each window; nothing, zeros, of one that is silent."""
    if listener.binning is None:
        features = listener.input_of(sound)
        steps = frame_counts(round(how.seconds * listener.rate), listener.rate)
        for start in starts:
            first = min(round(1000 * start / SHIFT_MS), len(features) - steps)
            yield listener.padded(features[first : first + steps])
        return
    binning, rate = listener.binning, sound.rate
    for number, start in enumerate(starts):
        first = round(start * rate)
        part = Recording(sound.samples[first : first + round(how.seconds * rate)], rate)
        if np.ptp(part.samples):
            yield listener.input_of(part, number)
        else:
            yield torch.zeros(binning.nb_steps, binning.nb_features)


def levels(sound: Recording) -> np.ndarray:
    """Level [L] in dB below full scale of every `LEVEL_SECONDS` of a recording."""
    size = round(LEVEL_SECONDS * sound.rate)
    parts = np.resize(sound.samples, (len(sound.samples) // size, size)) / FULL_SCALE
    return 10 * np.log10(np.maximum(np.mean(parts**2, axis=1), 1e-10))


def is_loud(level: np.ndarray) -> np.ndarray:
    """Where somebody speaks [L], by the ``level`` [L] in dB."""
    floor, peak = np.quantile(level, FLOOR), level.max()
    return level >= floor + LOUD * (peak - floor)
