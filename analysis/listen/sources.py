# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Sound as it comes: from a microphone, or from a file at the speed at which it was spoken."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.recordings import read_or_refuse, resample
from parsers.load import ConfigError

BLOCK_MS = 10
NO_SOUNDDEVICE = (
    "the microphone is read by sounddevice, which is not installed: pip install sounddevice; or "
    "name a recording with --file"
)
WAY_OUT = "choose another with --device, or name a recording with --file"
LONGEST_WAIT = 2.0  # s without a sample, from which on a microphone is taken for dead


class Block(NamedTuple):
    """Samples [n] int16, and when the last of them was there, by ``time.perf_counter``."""

    samples: np.ndarray
    when: float


def from_file(path: Path, rate: int, *, fast: bool = False) -> Iterator[Block]:
    """The samples of a recording, resampled to ``rate`` Hz: when their time has come, all that are
    due; or ``fast``, 10 ms after another, as soon as they are asked for.

    Raises DataError, before the first block, for a file that cannot be used.
    """
    samples = resample(read_or_refuse(path), rate).samples
    return _play(samples, rate, rate * BLOCK_MS // 1000, fast)


def _play(samples: np.ndarray, rate: int, size: int, fast: bool) -> Iterator[Block]:
    start, place = time.perf_counter(), 0
    while place < len(samples):
        end = min(place + size, len(samples))
        if not fast:
            time.sleep(max(0.0, start + end / rate - time.perf_counter()))
            due = int((time.perf_counter() - start) * rate)
            end = min(max(end, due // size * size), len(samples))
        when = time.perf_counter() if fast else start + end / rate
        yield Block(samples[place:end], when)
        place = end


class Microphone:
    """The samples of an input device, at ``rate`` Hz, for as long as somebody wants them.

    ``device`` is its number or a part of its name; None: the usual one. ``latency`` in s is what
    the device says it takes from sound to samples. Raises ConfigError where sounddevice, the
    library that it needs, or such a device is missing.
    """

    def __init__(self, rate: int, device: str | None = None):
        try:
            import sounddevice
        except ModuleNotFoundError:
            raise ConfigError(NO_SOUNDDEVICE) from None
        except OSError as error:  # it is there, and PortAudio is not
            raise ConfigError(
                f"the microphone cannot be read ({error}): install the PortAudio library, such as "
                "libportaudio2 of Debian; or name a recording with --file"
            ) from None
        self.blocks: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self.lost = 0  # times that the device had to drop samples
        try:
            self.stream = sounddevice.InputStream(
                samplerate=rate, channels=1, dtype="int16", blocksize=rate * BLOCK_MS // 1000,
                device=int(device) if device and device.isdigit() else device,
                callback=self._keep,
            )  # fmt: skip
        except (sounddevice.PortAudioError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"no microphone opens at {rate} Hz ({reason}): {WAY_OUT}") from None
        self.latency = float(self.stream.latency)

    def start(self) -> None:
        """Begin to listen."""
        self.stream.start()

    def _keep(self, samples, frames, times, status) -> None:
        """Called by the device, on a thread of its own."""
        self.lost += bool(status.input_overflow)
        self.blocks.put(Block(samples[:, 0].copy(), time.perf_counter()))

    def __iter__(self) -> Iterator[Block]:
        """All samples that are there, again and again."""
        try:
            while True:
                try:
                    found = [self.blocks.get(timeout=LONGEST_WAIT)]
                except queue.Empty:
                    raise ConfigError(f"the microphone has gone silent: {WAY_OUT}") from None
                while not self.blocks.empty():
                    found.append(self.blocks.get())
                yield Block(np.concatenate([block.samples for block in found]), found[-1].when)
        finally:
            self.stream.close()
