# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings from files as 16-bit samples, one by one or many in threads."""

import io
import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.errors import DataError

MIN_RATE = 1000  # Hz; below it a frame of features is a handful of samples
FULL_SCALE = 32768  # of 16-bit samples, as torchaudio.load divides by it
MAX_RATE = 768_000  # Hz; a damaged header claims billions, and no filter resamples from those
READ_AHEAD = 512  # files that are read before they are asked for
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
FORMATS = "WAV, FLAC, MP3 or Ogg"
OTHER_SUFFIXES = (  # of sound that libsndfile does not read, or that nobody trains on as it is
    *(".m4a", ".aac", ".mp4", ".amr", ".3gp", ".3ga", ".wma", ".caf", ".webm", ".mov", ".mka"),
    *(".aif", ".aiff", ".au", ".sph", ".raw", ".pcm", ".wv", ".ape", ".oga", ".mp2"),
)
FINE_ENOUGH = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
COMPRESSED = ("MPEG_LAYER_III", "VORBIS", "OPUS")
LONGEST = 2**28  # samples, 4 h 39 min at 16 kHz; a damaged header claims any number
UNKNOWN_LENGTH = 2**63 - 1  # samples, as libsndfile has it
# Programs that write a WAV into a pipe cannot know its size, and write about the largest one.
UNKNOWN_SIZE = 0x7FFF0000


class Recording(NamedTuple):
    """``samples`` [S] int16 at ``rate`` Hz."""

    samples: np.ndarray
    rate: int


class BadRecordingError(Exception):
    """Why a file cannot be used, worded to follow its path."""


def read_recording(path: Path) -> Recording:
    """The samples of a mono WAV or FLAC file of 16 bits or more, or of a mono MP3 or Ogg file.

    Finer ones are rounded to 16 bits.

    Raises:
        BadRecordingError: the file is missing, empty, truncated, not audio, not mono or of 8 bits.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadRecordingError("does not exist") from None
    except OSError as error:
        raise BadRecordingError(f"cannot be read ({error.strerror})") from error
    if not content:
        raise BadRecordingError("is empty (0 bytes)")
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        _refuse_truncated_wav(content)
    return _decode(content)


def read_or_refuse(path: Path) -> Recording:
    """As `read_recording`, but raises DataError, which names the file."""
    try:
        return read_recording(path)
    except BadRecordingError as reason:
        raise DataError(f"{path} {reason}") from None


def _refuse_truncated_wav(content: bytes) -> None:
    """libsndfile reads what is there of a truncated WAV without a word."""
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"data":
            there = len(content) - position
            if there < size < UNKNOWN_SIZE:
                raise BadRecordingError(
                    f"is truncated: its header promises {size} bytes of sound but {there} are there"
                )
            return
        position += size + size % 2  # chunks begin at even positions
    raise BadRecordingError("is truncated: it ends before its sound begins")


def _decode(content: bytes) -> Recording:
    import soundfile  # spikes need no such library

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.channels != 1:
                raise BadRecordingError(
                    f"has {file.channels} channels, where one is needed (sox IN OUT remix 1-)"
                )
            if file.subtype not in (*FINE_ENOUGH, *COMPRESSED):
                raise BadRecordingError(
                    f"is {file.subtype_info}, where 16-bit PCM or better is needed (sox IN -b 16 "
                    "-e signed OUT)"
                )
            promised, rate = file.frames, file.samplerate
            if not MIN_RATE <= rate <= MAX_RATE:
                raise BadRecordingError(
                    f"has {rate} samples a second, where {MIN_RATE} to {MAX_RATE} can be used"
                )
            if promised == UNKNOWN_LENGTH:
                raise BadRecordingError(
                    "does not say how long it is, as FLAC from a pipe does not (ffmpeg -i IN OUT "
                    "rewrites it)"
                )
            if promised > LONGEST:
                raise BadRecordingError(
                    f"claims {promised:,} samples, where at most {LONGEST:,} can be used"
                )
            dtype = "int16" if file.subtype == "PCM_16" else "float64"
            samples = file.read(dtype=dtype)
    except MemoryError:
        raise BadRecordingError(f"claims {promised} samples, more than memory holds") from None
    except soundfile.LibsndfileError as error:
        reason = str(error).removeprefix("Error opening <_io.BytesIO").split(": ")[-1].rstrip(".")
        way = f"{reason}; ffmpeg -i IN -ac 1 OUT.wav converts others, whatever their names end in"
        raise BadRecordingError(f"is not a {FORMATS} file, or is damaged ({way})") from error
    if len(samples) == 0:
        raise BadRecordingError("holds no samples")
    if len(samples) < promised:
        raise BadRecordingError(
            f"is truncated: its header promises {promised} samples but {len(samples)} are there"
        )
    return Recording(samples if dtype == "int16" else _to_int16(samples), rate)


def _to_int16(samples: np.ndarray) -> np.ndarray:
    """[S] float in -1..1 -> int16, the loudest clipped."""
    if not np.isfinite(samples).all():
        raise BadRecordingError("holds samples that are not finite numbers")
    return (samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def resample(recording: Recording, rate: int) -> Recording:
    """The same sound at ``rate`` Hz, by a polyphase filter."""
    if recording.rate == rate:
        return recording
    divisor = math.gcd(recording.rate, rate)
    sound = recording.samples / FULL_SCALE
    import scipy.signal  # takes seconds, and most data sets have one rate

    sound = scipy.signal.resample_poly(sound, rate // divisor, recording.rate // divisor)
    return Recording(_to_int16(sound), rate)


def read_in_order(
    paths: Iterable[Path], num_workers: int
) -> Iterator[Recording | BadRecordingError]:
    """Every file's recording, or why it cannot be used, in the order of ``paths``.

    ``num_workers`` threads read ahead, by a bounded number of files, whichever side is slower.
    """
    waiting = deque()
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        for path in paths:
            waiting.append(pool.submit(_read_or_reason, path))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_or_reason(path: Path) -> Recording | BadRecordingError:
    try:
        return read_recording(path)
    except BadRecordingError as reason:
        return reason


def prevailing_rate(paths: Iterable[Path]) -> int:
    """The sampling rate in Hz of most of the files, the highest of several.

    Raises DataError where none of them can be read.
    """
    found = {path: _read_or_reason(path) for path in paths}
    rates = [recording.rate for recording in found.values() if isinstance(recording, Recording)]
    if not rates:
        path, reason = next(iter(found.items()))
        raise DataError(f"none of {len(found)} recordings can be used, the first: {path} {reason}")
    return max(sorted(rates, reverse=True), key=rates.count)
