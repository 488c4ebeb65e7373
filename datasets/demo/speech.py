# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Digits spoken by eSpeak NG, and the voices that speak them. Needs ``espeakng-loader``."""

import ctypes
import os
import shutil
import tempfile
from typing import NamedTuple

import numpy as np

from datasets.errors import DataError
from datasets.splits import ENGLISH, GERMAN

WORDS = {"english": ENGLISH, "german": GERMAN}


class Speaker(NamedTuple):
    """A voice: eSpeak ``variant``, English ``accent``, and base ``pitch`` on eSpeak's 0..99."""

    variant: str
    accent: str
    pitch: int


def _speakers(table: str) -> list[Speaker]:
    """Of a table of "variant accent pitch", between commas."""
    rows = (row.split() for row in table.split(","))
    return [Speaker(variant, accent, int(pitch)) for variant, accent, pitch in rows]


# The position in the list is the speaker number; German has a single accent in eSpeak NG.
TRAIN_SPEAKERS = _speakers("""
    m1 en-us 45, m2 en 40, m3 en-gb-scotland 55, m4 en-us 60, m6 en-gb-x-rp 35,
    m7 en-gb-x-gbclan 50, f1 en-us 50, f2 en 45, f3 en-gb-x-rp 40, f5 en-us-nyc 55,
    Mike en-us-nyc 50, Denis en-gb-x-gbcwmd 45, Annie en-us 45, steph en-029 50,
    grandma en-gb-scotland 50, max en-us 40, robert en 60, pablo en-029 50, Alicia en-us 45,
    Andy en 50, Diogo en-us 50, Mario en-gb-x-rp 45, Michael en-us 55, Nguyen en 45,
    adam en-us 50, antonio en-gb-scotland 45, croak en-us 50, david en-us 55,
    edward2 en-gb-x-rp 50, gustave en-us-nyc 45, iven3 en 50, john en-us 40, klatt3 en 50,
    linda en-gb-x-gbclan 40, marcelo en-us 55, mike2 en-us 50, norbert en 50,
    victor en-gb-x-gbcwmd 50, paul en-us-nyc 55, miguel en-gb-x-rp 50, aunty en 45,
    anika en-us 45, belinda en-gb-x-rp 45, shelby en-us 50, sandro en-029 50, Reed en-us 50,
    benjamin en-gb-scotland 50, Tweaky en-us-nyc 45
""")
TEST_SPEAKERS = _speakers("""
    m8 en-us 55, f4 en 45, Gene en-gb-x-rp 50, Andrea en-us 40, Storm en-gb-scotland 45,
    quincy en-us-nyc 55, rob en 50, grandpa en-us 50
""")
# Heard in the background only.
BABBLE_SPEAKERS = _speakers("""
    Alex en-us 50, ed en 45, ian en-gb-x-rp 50, steph2 en-us 50
""")
BABBLE_TEXT = (
    "Have you seen where the other people went? They should be at the station by now, "
    "unless the train was late again or somebody forgot to bring the keys. "
    "Well, I would rather walk than wait for the bus on a morning like this."
)

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns after the last sample
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Synthesizer:
    """eSpeak NG through its C interface (``speak_lib.h``).

    ``rate`` is the sampling rate in Hz. The samples of most voices depend on what was said before
    (the phase of their flutter carries over): the same calls in the same order on a new Synthesizer
    give the same samples. Raises DataError where ``espeakng-loader`` is missing.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise DataError(
                "making the demo data needs eSpeak NG: pip install espeakng-loader"
            ) from error
        # The library's state is global and survives espeak_Terminate; a copy has its own.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            private = shutil.copy(espeakng_loader.get_library_path(), folder)
            self._library = ctypes.CDLL(private)
        data = os.fsencode(espeakng_loader.get_data_path())
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self.rate <= 0:
            raise DataError(f"eSpeak NG does not start with its data in {os.fsdecode(data)}")
        self._chunks: list[np.ndarray] = []
        self._callback = _Callback(self._take)  # kept: the C library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(
        self, text: str, voice: str, speed: int = 175, pitch: int = 50, intonation: int = 50
    ) -> np.ndarray:
        """Speech as float64 [T] in -1..1 with the silence at both ends cut off.

        ``voice`` is ``language+variant``, ``speed`` in words per minute, ``pitch`` and
        ``intonation`` (pitch range) in 0..99. Raises DataError for an unknown voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in ((_RATE, speed), (_PITCH, pitch), (_RANGE, intonation)):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        # Its Klatt voices draw noise from a generator that is otherwise seeded with the time.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks.clear()
        encoded = ctypes.create_string_buffer(text.encode())
        self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8, None, None
        )
        samples = np.concatenate(self._chunks) / 32768.0
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        return samples[loud[0] : loud[-1] + 1]


def voice_name(speaker: Speaker, language: str) -> str:
    """eSpeak's name of ``speaker`` in ``language`` ("english" or "german")."""
    return f"{speaker.accent if language == 'english' else 'de'}+{speaker.variant}"
