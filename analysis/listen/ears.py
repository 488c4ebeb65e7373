# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From sound as it comes to what a network says of the last seconds.

A network that takes steps hears each frame of features once, 25 ms after it began. Several of it
listen in turn, each for a window, so that there is always one that has heard most of one. Spikes
cannot be made in this way: the model of the inner ear is given clips of one loudness, which is
known at their end alone. There, and for networks that hear clips from both ends, the last window
is heard anew from its start every time.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.listening import Listener
from datasets.errors import DataError
from datasets.features import FILTERBANKS, FRAME_MS, NB_BINS, SHIFT_MS, frame_counts
from datasets.recordings import FULL_SCALE, Recording
from models.snns import SNN
from models.ssms import SSM
from models.streaming import Stream

SILENCE = -120.0  # dB below full scale; no sample of 16 bits is quieter


class Heard(NamedTuple):
    """What a network says of the sound from ``start`` to ``end``, in s since the first sample.

    ``scores`` [C]; ``level`` in dB below full scale is that of the sound; ``whole``: it was a whole
    window, or all there was.
    """

    start: float
    end: float
    scores: Tensor
    level: float
    whole: bool


class Ear(ABC):
    """Hears for ``listener`` in windows of ``seconds``, one every ``hop`` s."""

    def __init__(self, listener: Listener, seconds: float, hop: float):
        self.listener, self.rate = listener, listener.rate
        self.seconds, self.hop = seconds, hop
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget all that was heard; initial states are drawn as by a test of the run."""

    def warm_up(self) -> None:
        """Hear a window of noise, and forget it: what is done first takes far longer."""
        noise = np.random.default_rng(0).integers(-1000, 1000, round(self.seconds * self.rate))
        self.hear(noise.astype(np.int16))
        self.end()
        self.reset()

    @abstractmethod
    def hear(self, samples: np.ndarray) -> list[Heard]:
        """What there is to say after the next ``samples`` [n] int16."""

    @abstractmethod
    def end(self) -> list[Heard]:
        """The same after the last ones."""

    @property
    @abstractmethod
    def delay(self) -> str:
        """What passes, beside computing, between a sound and an answer that knows it."""


class MeanStream:
    """A state-space network that takes steps, as a ``Stream``."""

    def __init__(self, network: SSM):
        self.network = network
        self.reset()

    @torch.inference_mode()
    def reset(self) -> None:
        """Forget all that was heard."""
        self.state, self.total, self.steps = self.network.initial_state(1), 0.0, 0

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        """Class scores [B, C] of all steps so far, the last being ``x`` [B, F]."""
        scores, self.state = self.network.step(x, self.state)
        self.total, self.steps = self.total + scores, self.steps + 1
        return self.total / self.steps


class FrameEar(Ear):
    """Frame by frame, for networks of features that take steps."""

    def __init__(self, listener: Listener, seconds: float, hop: float):
        rate = listener.rate
        self.window = int(frame_counts(round(seconds * rate), rate))  # frames, as those of a clip
        self.apart = max(1, round(1000 * hop / SHIFT_MS))  # frames from one window to the next
        self.size, self.shift = (rate * ms // 1000 for ms in (FRAME_MS, SHIFT_MS))
        self.filterbank = FILTERBANKS[listener.config.training.feature_backend]
        super().__init__(listener, seconds, hop)

    def reset(self) -> None:
        self.listener.start()
        kind = MeanStream if isinstance(self.listener.model, SSM) else Stream
        count = -(-self.window // self.apart)
        self.streams = [kind(self.listener.model) for _ in range(count)]
        self.samples = np.empty(0, np.int16)  # from the start of the next frame on
        self.next = 0  # number of that frame
        self.powers: deque[float] = deque(maxlen=self.window)  # of the last frames

    def hear(self, samples: np.ndarray) -> list[Heard]:
        self.samples = np.concatenate([self.samples, samples])
        count = max(0, (len(self.samples) - self.size) // self.shift + 1)
        if not count:
            return []
        used = self.samples[: (count - 1) * self.shift + self.size]
        wave = torch.from_numpy(used)[None].float().div_(FULL_SCALE)
        features = self.filterbank(wave, self.rate)[0]
        parts = used[: count * self.shift].reshape(count, self.shift) / FULL_SCALE
        powers = np.mean(parts**2, axis=1)
        self.samples = self.samples[count * self.shift :]
        return [self._frame(*each) for each in zip(features[:, None], powers, strict=True)]

    def ages(self) -> dict[int, int]:
        """How many frames each of the streams that listen has heard, by their numbers."""
        period = self.apart * len(self.streams)
        ages = {
            number: (self.next - number * self.apart) % period
            for number in range(len(self.streams))
            if self.next >= number * self.apart
        }
        return {number: age for number, age in ages.items() if age < self.window}

    def _frame(self, x: Tensor, power: float) -> Heard:
        """All streams that listen hear a frame [1, F]; what the one says that has heard most."""
        self.powers.append(power)
        ages, scores = self.ages(), {}
        for number, age in ages.items():
            if age == 0 and self.next >= self.window:
                self.streams[number].reset()
            scores[number] = self.streams[number].step(x)[0]
        self.next += 1
        oldest = max(ages, key=ages.get)
        return self._heard(scores[oldest], ages[oldest] + 1)

    def _heard(self, scores: Tensor, frames: int) -> Heard:
        power = np.mean(list(self.powers)[-frames:])
        start, end = (self.next - frames) * SHIFT_MS, (self.next - 1) * SHIFT_MS + FRAME_MS
        return Heard(start / 1000, end / 1000, scores, decibels(power), frames == self.window)

    def end(self) -> list[Heard]:
        """What the stream that has heard most says if zeros follow, as they do in training."""
        oldest = max(ages := self.ages(), key=ages.get)
        if ages[oldest] == 0:  # it has just begun, and another has said all
            return []
        for _ in range(self.window - ages[oldest]):
            scores = self.streams[oldest].step(torch.zeros(1, NB_BINS))[0]
        return [self._heard(scores, ages[oldest])._replace(whole=True)]

    @property
    def delay(self) -> str:
        return f"{FRAME_MS} ms of a frame"


class WindowEar(Ear):
    """Every window from its start, for all networks."""

    def reset(self) -> None:
        self.listener.start()
        self.kept = np.empty(0, np.int16)  # at most a window
        self.heard = self.said = 0  # samples

    def hear(self, samples: np.ndarray) -> list[Heard]:
        self.heard += len(samples)
        most = round(self.seconds * self.rate)
        self.kept = np.concatenate([self.kept, samples])[-most:]
        if self.heard < most or self.heard - self.said < round(self.hop * self.rate):
            return []
        return self._window()

    def end(self) -> list[Heard]:
        """The last window, or, of a short recording, all of it."""
        return self._window() if self.heard > self.said else []

    def _window(self) -> list[Heard]:
        self.said = self.heard
        try:
            x = self.listener.input_of(Recording(self.kept, self.rate))
        except DataError:  # silent throughout, or shorter than a frame
            return []
        scores = self.listener.answer(self.listener.padded(x)[None]).scores[0]
        ends = (self.heard - len(self.kept)) / self.rate, self.heard / self.rate
        level = decibels(float(np.mean((self.kept / FULL_SCALE) ** 2)))
        return [Heard(*ends, scores, level, True)]

    @property
    def delay(self) -> str:
        return f"up to {1000 * self.hop:.0f} ms until the next window"


def decibels(power: float) -> float:
    """Below full scale."""
    return 10 * math.log10(power) if power > 0 else SILENCE


def make_ear(listener: Listener, seconds: float, hop: float) -> Ear:
    """The quickest that the network of ``listener`` allows."""
    steps = isinstance(listener.model, SNN | SSM) and listener.binning is None
    if steps and not any(layer.bidirectional for layer in listener.model.hidden_layers):
        return FrameEar(listener, seconds, hop)
    return WindowEar(listener, seconds, hop)
