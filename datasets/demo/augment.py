# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What happens to a spoken digit before the ear: place in the clip, colouring, noise, level.

A word's mean spectrum says much about it. The colouring and the noise of each clip bury that cue
and leave the order of its sounds, so that a network has to use time.
"""

import numpy as np
import scipy.fft

CLIP = 1.0  # s
MARGIN = 0.03  # s, the fade of the clip's ends
NOISES = ("white", "pink", "brown", "hum", "gusts", "babble")
SNR = (22.0, 38.0)  # dB over the duration of the word
TILT = 0.6  # dB per octave, standard deviation
RIPPLE = 0.8  # dB, standard deviation of each of three ripples along log frequency
LEVEL = (-8.0, -1.0)  # dB around the standard RMS


def random_clip(
    rng: np.random.Generator, word: np.ndarray, babble: np.ndarray, rate: int
) -> tuple[np.ndarray, float]:
    """One clip of 1 s around ``word`` [W], and the level as a factor on its standard RMS.

    ``babble`` is a long stretch of background voices, ``rate`` the sampling rate of both in Hz.
    """
    length = int(CLIP * rate)
    margin = int(MARGIN * rate)
    word = word[: length - 2 * margin]
    start = rng.integers(margin, length - margin - len(word) + 1)
    clip = np.zeros(length)
    clip[start : start + len(word)] = colour(rng, word, rate)
    power = np.mean(clip[start : start + len(word)] ** 2)
    noise = colour(rng, random_noise(rng, length, babble, rate), rate)
    snr = rng.uniform(*SNR)
    clip += noise * np.sqrt(power / np.mean(noise**2) / 10 ** (snr / 10))
    return clip, 10 ** (rng.uniform(*LEVEL) / 20)


def colour(rng: np.random.Generator, sound: np.ndarray, rate: int) -> np.ndarray:
    """``sound`` [T] through a random smooth filter: a tilt and three ripples on log frequency."""
    padded = scipy.fft.next_fast_len(2 * len(sound), real=True)
    spectrum = np.fft.rfft(sound, padded)
    frequencies = np.fft.rfftfreq(padded, 1 / rate)
    octaves = np.log2(np.clip(frequencies, 80, 8000) / 800)
    gain = TILT * rng.standard_normal() * octaves
    for cycles in (1, 2, 3):  # over the 6.6 octaves between 80 Hz and 8 kHz
        phase = rng.uniform(0, 2 * np.pi)
        gain += RIPPLE * rng.standard_normal() * np.sin(2 * np.pi * cycles * octaves / 6.64 + phase)
    return np.fft.irfft(spectrum * 10 ** (gain / 20), padded)[: len(sound)]


def random_noise(
    rng: np.random.Generator, length: int, babble: np.ndarray, rate: int
) -> np.ndarray:
    """Noise [length] of a kind drawn from NOISES, at any level."""
    kind = NOISES[rng.integers(len(NOISES))]
    if kind == "babble":
        start = rng.integers(len(babble) - length)
        return babble[start : start + length]
    if kind == "hum":
        return _hum(rng, length, rate)
    slope = {"white": 0.0, "pink": 0.5, "brown": 1.0, "gusts": 0.5}[kind]
    noise = _power_law_noise(rng, length, slope, rate)
    return noise * _gusts(rng, length, rate) if kind == "gusts" else noise


def _power_law_noise(rng, length, slope, rate):
    """Gaussian noise whose amplitude falls as frequency ** -slope above 50 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / rate)
    return np.fft.irfft(spectrum * np.maximum(frequencies, 50.0) ** -slope, length)


def _hum(rng, length, rate):
    """A machine: harmonics of 40 to 200 Hz with random strengths, over a little white noise."""
    t = np.arange(length) / rate
    fundamental = rng.uniform(40, 200)
    noise = 0.1 * rng.standard_normal(length)
    for harmonic in range(1, 20):
        strength = rng.standard_normal() / harmonic**0.5
        phase = rng.uniform(0, 2 * np.pi)
        noise += strength * np.sin(2 * np.pi * fundamental * harmonic * t + phase)
    return noise


def _gusts(rng, length, rate):
    """A slow random envelope, 2 to 8 changes per second, from near silence to full strength."""
    knots = rng.uniform(0.05, 1.0, rng.integers(4, 12))
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(knots)), knots)


def background_voices(voices: list[np.ndarray], length: int) -> np.ndarray:
    """Sum [length] of ``voices`` at equal strength, each repeated as often as it takes."""
    total = np.zeros(length)
    for voice in voices:
        repeated = np.resize(voice, length)
        total += repeated / np.sqrt(np.mean(repeated**2))
    return total
