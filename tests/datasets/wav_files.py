# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small data sets of synthesised words, as WAV files in folders."""

import os
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
WORDS = ("down", "left", "up")


def chirp(word: int, clip: int, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    """A word: a tone that rises, stays or falls, from a pitch that differs a little by clip."""
    rng = np.random.default_rng(1000 * word + clip)
    t = np.arange(round(seconds * rate)) / rate
    start = 700 * rng.uniform(0.8, 1.2)
    phase = 2 * np.pi * (start * t + 1200 * (word % 3 - 1) * t**2 / 2 + 300 * (word // 3) * t)
    return 0.3 * np.sin(phase) + 0.01 * rng.standard_normal(len(t))


def write_wav(path: Path, sound: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """Write sound [S] or [S, channels] in -1..1; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), sound, rate, subtype=subtype)
    return path


def write_words(folder: Path, *, nb_clips: int = 6, words=WORDS, lists: bool = True) -> Path:
    """Word folders of clips 0.2 to 0.3 s long, background noise, and the two lists.

    The last clip of every word is for test, the one before for validation.
    """
    for label, word in enumerate(words):
        for clip in range(nb_clips):
            write_wav(
                folder / word / f"{clip:02d}.wav", chirp(label, clip, 0.3 - 0.02 * (clip % 4))
            )
    write_wav(folder / "_background_noise_" / "hum.wav", np.zeros(RATE))
    (folder / "LICENSE").write_text("a file that is no word\n")
    if lists:
        for name, clip in (
            ("testing_list.txt", nb_clips - 1),
            ("validation_list.txt", nb_clips - 2),
        ):
            (folder / name).write_text("".join(f"{word}/{clip:02d}.wav\n" for word in words))
    return folder


def write_digits(folder: Path) -> Path:
    """Heidelberg Digits of 0.1 s at 48 kHz: a clip of each class for training and for test."""
    for trial, split in enumerate(("train", "test")):
        names = [
            f"lang-{language}_speaker-01_trial-{trial}_digit-{digit}.flac"
            for language in ("english", "german")
            for digit in range(10)
        ]
        for word, name in enumerate(names):
            write_wav(folder / "audio" / name, chirp(word, trial, 0.1, 48000), 48000)
        (folder / f"{split}_filenames.txt").write_text("\n".join(names))
    return folder
