# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Audio to spikes: a model of the inner ear, after the chain of the Heidelberg Spiking Data Sets.

    python -m datasets.cochlea FOLDER_OF_WAVS OUT [--seed N] [--speaker_from REGEX]

OUT is a file, OUT.h5, or a folder, which gets shd_train.h5, shd_valid.h5 and shd_test.h5.

The chain is that of Cramer, Stradmann, Schemmel & Zenke, "The Heidelberg Spiking Data Sets for the
Systematic Evaluation of Spiking Neural Networks" (IEEE TNNLS 2020), section II:

1. the clip is brought to RMS 0.3 and its ends are faded with halves of a Hann window (30 ms);
2. a hydrodynamic basilar membrane, 700 places along 3.5 cm (:func:`membrane_response`);
3. at each place an inner hair cell after Meddis (JASA 1986, 1988), which 40 nerve fibres listen to;
4. at each place a leaky integrate-and-fire bushy cell that sums the 40 fibres and spikes.

The stages are theirs, the code and the constants are ours: spikes from here resemble SHD's in kind
but are not a continuation of it. Unit 0 lies at the base of the cochlea (next to the stapes, high
frequencies), unit 699 at the apex (low frequencies).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from math import gcd
from pathlib import Path

import numba
import numpy as np
import scipy.fft
import scipy.signal
from tqdm import tqdm

from datasets.errors import DataError
from datasets.partition import find_wavs, partition, why_not
from datasets.recordings import FORMATS, read_or_refuse
from datasets.shares import speaker_numbers, speaker_pattern
from datasets.shd_file import Clip, write_shd
from datasets.splits import LIST_WORDS, SPLIT_NAMES, SPLITS, some
from parsers.program import Parser, check_file, deaf_children, numeric, program

PROGRAM = "datasets.cochlea"
SUFFIXES = (".h5", ".hdf5")
OUT = "an HDF5 file in the SHD layout, .h5, or a folder of one file for each split"
CLIPS_WORTH_A_PROCESS = 16  # fewer are done before other processes have begun
RATE = 16_000  # Hz inside the model: speech bandwidth; one step of 62.5 us resolves the 1 ms cells
CHANNELS = 700
TARGET_RMS = 0.3
RAMP = 0.030  # s

# Outer and middle ear. Cramer et al. have no such stage; without it the low harmonics of a voice
# drive every place basal of their own and hide the formants. The human middle ear passes pressure
# with about 6 dB per octave up to 1 kHz (Puria, JASA 113, 2003): a first-order high-pass.
MIDDLE_EAR = 1000.0  # Hz

# Basilar membrane, CGS units. Length, stiffness at the base and mass are those of Neely (JASA
# 1981) for a human-sized cochlea. The stiffness falls with 3/cm instead of his 2/cm, so that the
# places resonate from 13 kHz down to 68 Hz and all of them have a use for speech.
LENGTH = 3.5  # cm
FLUID_DENSITY = 1.0  # g cm^-3
FLUID_HEIGHT = 0.1  # cm
STIFFNESS = 1e9  # g s^-2 cm^-2
STIFFNESS_DECAY = 3.0  # cm^-1
MASS = 0.15  # g cm^-2
# Damping falls with the root of the stiffness, which makes every place equally sharp:
# Q = sqrt(STIFFNESS * MASS) / DAMPING = 8, the order of human tuning at moderate level.
DAMPING = 1500.0  # g s^-1 cm^-2

# Inner hair cell: the medium-spontaneous-rate fibre of Meddis (JASA 83, 1988, table II).
PERMEABILITY_A, PERMEABILITY_B, PERMEABILITY_G = 5.0, 300.0, 2000.0
REPLENISH, LOSS, RECOVER, REPROCESS = 5.05, 2500.0, 6580.0, 66.31  # y, l, r, x in s^-1
POOL = 1.0  # M
FIRING = 50_000.0  # h in s^-1
# Meddis' amplitude scale is arbitrary (RMS 1 is his 30 dB). With this factor the strong places of
# a clip at RMS 0.3 approach saturation, some 60 dB above that, and the others stay near rest.
DRIVE = 2000.0

# Nerve fibres and bushy cell: the time constants of Cramer et al.
FIBRES = 40
REFRACTORY = 0.001  # s
TAU_MEMBRANE, TAU_SYNAPSE = 0.001, 0.0005  # s
# Threshold 1. The weight keeps a bushy cell silent on the spontaneous firing of its fibres, which
# holds it at a third of the threshold, and gives 4 to 10 thousand spikes per second of speech.
WEIGHT = 0.25

BLOCK, TAIL = 16_000, 4_000  # samples; the slowest place has rung down (38 ms time constant)


def membrane_transfer(frequencies: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Velocity of the membrane per unit of stapes pressure, complex [places, frequencies].

    Two-dimensional box model of the cochlea (inviscid, incompressible fluid; the model class of
    Sieroka, Dosch & Rupp, JASA 120, 2006) in Liouville-Green (WKB) approximation, forward wave
    only. ``frequencies`` in Hz, above 0; ``places`` in cm from the stapes, evenly spaced and
    ascending. With stiffness ``S = STIFFNESS exp(-a x)``, damping ``R = DAMPING exp(-a x / 2)`` and
    mass ``m``, the local wave number ``k`` solves the dispersion relation

        k tanh(k h) = K,   K = 2 rho w^2 / (S + i w R - w^2 m),

    and conservation of energy flux gives pressure and velocity at the membrane (Steele & Taber,
    JASA 65, 1979; de Boer & Viergever, Hear. Res. 8, 1982)

        p(x) = cosh(k h) / sqrt(k h + sinh(k h) cosh(k h)) exp(-i int_0^x k dx),
        v(x) = i w p(x) / (S + i w R - w^2 m).

    Beyond the place of resonance, where the wave has died out, the approximation is not accurate.
    """
    transfer = np.empty((len(places), len(frequencies)), np.complex64)
    _solve_waves(np.asarray(frequencies, float), np.asarray(places, float), transfer)
    return transfer


def _kernel(function):
    """Compile ``function``, and keep the result on disk under a name that has its module."""
    function.__qualname__ = f"{function.__module__}.{function.__qualname__}"
    return numba.njit(cache=True, parallel=True)(function)


@_kernel
def _solve_waves(frequencies, places, transfer):
    step = places[1] - places[0]
    for f in numba.prange(len(frequencies)):
        w = 2 * np.pi * frequencies[f]
        phase = 0j
        q = 0j  # k h, followed from place to place
        for i in range(len(places)):
            softness = np.exp(-STIFFNESS_DECAY * places[i])
            impedance = STIFFNESS * softness + 1j * w * DAMPING * np.sqrt(softness) - w * w * MASS
            target = 2 * FLUID_DENSITY * w * w / impedance * FLUID_HEIGHT
            last = q
            if i == 0:
                last = q = np.sqrt(target)
            for _ in range(12):
                th = np.tanh(q)
                change = (q * th - target) / (th + q * (1 - th * th))
                q -= change
                if abs(change) < 1e-9 * abs(q):
                    break
            phase += (last + q) / 2 * step / FLUID_HEIGHT
            # cosh / sqrt(q + sinh cosh), divided through by exp(q) against overflow
            small = np.exp(-2 * q)
            flux = np.sqrt(4 * q * small + (1 - small) * (1 + small))
            pressure = (1 + small) / flux * np.exp(-1j * phase)
            transfer[i, f] = 1j * w * pressure / impedance


@lru_cache(maxsize=1)
def _block_transfer() -> np.ndarray:
    """Middle ear and membrane at the FFT's frequencies of a block, complex64 [CHANNELS, F].

    Every place is scaled to the same sensitivity at its own best frequency; unscaled, the velocity
    at the apex is a hundred times that at the base and low tones would drown all others.
    """
    places = (np.arange(CHANNELS) + 0.5) * LENGTH / CHANNELS
    frequencies = scipy.fft.rfftfreq(BLOCK + TAIL, 1 / RATE)
    transfer = np.zeros((CHANNELS, len(frequencies)), np.complex64)  # silent at 0 Hz
    transfer[:, 1:] = membrane_transfer(frequencies[1:], places)
    transfer /= np.abs(transfer).max(axis=1, keepdims=True)
    transfer *= 1j * frequencies / (MIDDLE_EAR + 1j * frequencies)
    return transfer


def membrane_response(audio: np.ndarray) -> np.ndarray:
    """Membrane velocity at the 700 places, float32 [CHANNELS, T], for ``audio`` [T] at 16 kHz.

    Linear filtering with :func:`membrane_transfer` by FFT, in blocks of one second whose tails are
    added up (overlap-add). The unit is that of the audio: a tone well above 1 kHz comes out with
    its own amplitude at the place that answers it best.
    """
    transfer = _block_transfer()
    length = len(audio)
    velocity = np.zeros((CHANNELS, length), np.float32)
    for start in range(0, length, BLOCK):
        spectrum = scipy.fft.rfft(audio[start : start + BLOCK].astype(np.float32), BLOCK + TAIL)
        block = scipy.fft.irfft(transfer * spectrum, BLOCK + TAIL, workers=numba.get_num_threads())
        if length <= BLOCK:
            return block[:, :length]
        part = min(BLOCK + TAIL, length - start)
        velocity[:, start : start + part] += block[:, :part]
    return velocity


@numba.njit(inline="always")
def _mix(z):
    """Scramble 64 bits: the output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(inline="always")
def _binomial(u, n, p):
    """Binomial(n, p) variate by inversion of one uniform ``u`` in [0, 1)."""
    # Bernoulli's inequality, (1 - p)^n >= 1 - n p, settles most draws without a power.
    if n == 0 or u < 1 - n * p:
        return 0
    total = mass = (1 - p) ** n
    k = 0
    while u >= total and k < n:
        mass *= p / (1 - p) * (n - k) / (k + 1)
        total += mass
        k += 1
    return k


@_kernel
def _spiking_steps(velocity, key, spikes, fibre_rates):
    """Hair cells, fibres and bushy cells; marks ``spikes`` [CHANNELS, T], see hair_cells.

    Places do not interact, so that threads share them out; each has its own random stream.
    """
    dt = 1 / RATE
    hold = round(REFRACTORY * RATE)
    keep_u, keep_i = np.exp(-dt / TAU_MEMBRANE), np.exp(-dt / TAU_SYNAPSE)
    resting = PERMEABILITY_G * PERMEABILITY_A / (PERMEABILITY_A + PERMEABILITY_B)
    # Steady state of the silent cell: dq = dc = dw = 0 (Meddis 1986, equations 1 to 3).
    rest_cleft = POOL * resting * REPLENISH / (LOSS * resting + REPLENISH * (LOSS + RECOVER))
    for place in numba.prange(velocity.shape[0]):
        stream = _mix(key + _mix(np.uint64(place + 1)))
        cleft = rest_cleft
        pool = cleft * (LOSS + RECOVER) / resting
        store = cleft * RECOVER / REPROCESS
        recent = np.zeros(hold, np.int64)  # how many fibres fired in each step of the last 1 ms
        tired, slot, fired = 0, 0, 0
        current = potential = 0.0
        for t in range(velocity.shape[1]):
            push = DRIVE * velocity[place, t] + PERMEABILITY_A
            release = 0.0
            if push > 0:
                release = PERMEABILITY_G * push / (push + PERMEABILITY_B) * pool
            back = REPROCESS * store
            pool += dt * (REPLENISH * (POOL - pool) + back - release)
            store += dt * (RECOVER * cleft - back)
            cleft += dt * (release - (LOSS + RECOVER) * cleft)

            stream += np.uint64(0x9E3779B97F4A7C15)
            uniform = float(_mix(stream) >> np.uint64(11)) * 2.0**-53
            count = _binomial(uniform, FIBRES - tired, min(FIRING * cleft * dt, 1.0 - 1e-9))
            tired += count - recent[slot]
            recent[slot] = count
            slot = slot + 1 if slot + 1 < hold else 0
            fired += count

            current = keep_i * current + WEIGHT * count
            potential = keep_u * potential + (1 - keep_u) * current
            if potential > 1.0:
                spikes[place, t] = True
                potential = 0.0
        fibre_rates[place] = fired / (FIBRES * dt * velocity.shape[1])


def hair_cells(velocity: np.ndarray, seed: int | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Membrane velocity [CHANNELS, T] at 16 kHz -> spikes of the bushy cells.

    The inner hair cell is the transmitter pool of Meddis (JASA 79, 1986), equations 1 to 4, in
    Euler steps: permeability ``k = g (s + A) / (s + A + B)`` for ``s + A > 0``, else 0, and

        dq/dt = y (M - q) + x w - k q,   dc/dt = k q - (l + r) c,   dw/dt = r c - x w.

    Each of the 40 fibres fires with probability ``h c dt`` per step unless it fired within the last
    millisecond. The fibres of a place are exchangeable, so that their number in a step is drawn at
    once, from Binomial(rested fibres, h c dt): the same distribution as 40 separate draws.
    The bushy cell is ``tau_syn di/dt = -i``, ``tau_mem du/dt = -u + i``, ``i += WEIGHT`` per fibre
    spike, with a spike and ``u = 0`` where ``u`` passes 1.

    Returns:
        Spikes, bool [CHANNELS, T], and the mean firing rate of a fibre of each place in Hz.
        Both depend on ``seed`` and not on the number of threads.
    """
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    spikes = np.zeros(velocity.shape, np.bool_)
    fibre_rates = np.empty(len(velocity))
    _spiking_steps(velocity, key, spikes, fibre_rates)
    return spikes, fibre_rates


def prepare(audio: np.ndarray, rate: int) -> np.ndarray:
    """Resample [T] to 16 kHz, remove the mean, bring to RMS 0.3, fade both ends; float64."""
    audio = np.asarray(audio, np.float64)
    if audio.ndim != 1 or audio.size == 0:
        raise DataError(f"audio of shape {audio.shape} is not one channel of samples")
    if not np.isfinite(audio).all():
        raise DataError("audio holds samples that are not finite numbers")
    if rate != RATE:
        common = gcd(rate, RATE)
        audio = scipy.signal.resample_poly(audio, RATE // common, rate // common)
    audio = audio - audio.mean()
    rms = np.sqrt(np.mean(audio**2))
    if rms == 0:
        raise DataError("audio is silent")
    ramp = min(int(RAMP * RATE), len(audio) // 2)
    fade = np.ones(len(audio))
    fade[:ramp] = np.hanning(2 * ramp + 1)[:ramp]
    fade[len(audio) - ramp :] = fade[:ramp][::-1]
    return audio * fade * (TARGET_RMS / rms)


def spikes_from_audio(
    audio: np.ndarray, rate: int, seed: int | list[int] = 0, gain: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes of one mono clip: ``times`` float16 [E] in s, ascending, and ``units`` uint16 [E] in
    0..699, ascending among equal steps of 1/16000 s.

    ``audio`` is [T] samples of any real type and scale at ``rate`` Hz. ``seed``, integers >= 0, is
    that of the random fibres: the same audio and seed give the same spikes. ``gain`` is a factor on
    the level after normalisation; 1 is the RMS of 0.3.

    Raises DataError for audio that is empty, silent, not one-dimensional or not finite.
    """
    spikes, _ = hair_cells(membrane_response(gain * prepare(audio, rate)), seed)
    units, steps = np.divmod(np.flatnonzero(spikes), spikes.shape[1])
    order = np.argsort(steps, kind="stable")
    return (steps[order] / RATE).astype(np.float16), units[order].astype(np.uint16)


def convert(
    folder: Path,
    out: Path,
    seed: int = 0,
    speaker_from: str | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    skip_bad_files: bool = False,
) -> int:
    """Turn a folder of recordings into one file in the SHD layout, or where ``out`` has no suffix
    of such a file, into one for each split; returns the number of clips.

    The spikes of a clip follow from ``seed`` and its place in the folder: ``num_workers`` processes
    give the same file as one. Makes the folder of ``out``. Raises DataError, before the long work,
    for a file that is there or cannot be used, unless such recordings are to be skipped.
    """
    is_file = out.suffix.lower() in SUFFIXES
    targets = [out] if is_file else [out / f"shd_{split}.h5" for split in SPLITS]
    for target in targets:
        check_file("OUT", target)
        if target.exists() and not overwrite:
            raise DataError(f"{target} exists: choose another name or pass --overwrite")
    paths, labels, keys = find_wavs(folder)
    reasons = [why_not(path) for path in paths]
    if bad := [reason for reason in reasons if reason]:
        if not skip_bad_files or all(reasons):
            raise DataError(f"{some(bad)}: repair or remove it, or pass --skip_bad_files")
        print(f"skipped: {some(bad)}")
        good = [i for i, reason in enumerate(reasons) if not reason]
        paths, labels = [paths[i] for i in good], [labels[i] for i in good]
    pattern = speaker_from or speaker_pattern([path.name for path in paths])
    speakers = speaker_numbers(paths, pattern)
    parts, rule = {"": list(range(len(paths)))}, ""
    if not is_file:
        parts, rule = partition(folder, paths, labels, speakers, seed)
        if pattern is None and rule == "class":
            print("file names do not tell who speaks (--speaker_from): one may be in all files")
        if empty := [SPLIT_NAMES[split] for split, clips in parts.items() if not clips]:
            raise DataError(f"{folder}: split by {rule}, there is no {empty[0]} clip: {LIST_WORDS}")
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    seeds = [[seed, i] for i in range(len(paths))]
    with ExitStack() as stack:
        run = map
        if num_workers > 1 and len(paths) > CLIPS_WORTH_A_PROCESS:
            spawn = multiprocessing.get_context("spawn")  # threads do not survive a fork
            threads = max(1, numba.get_num_threads() // num_workers)
            pool = ProcessPoolExecutor(num_workers, spawn, numba.set_num_threads, (threads,))
            stack.enter_context(pool)
            stack.callback(pool.shutdown, cancel_futures=True)
            run = pool.map
        with deaf_children():
            made = run(_clip, paths, labels, speakers, seeds)
        clips = list(tqdm(made, folder.name, len(paths), unit="clip", disable=None))
    for target, chosen in zip(targets, parts.values(), strict=True):
        recordings = [paths[i].relative_to(folder).as_posix() for i in chosen]
        write_shd(target, [clips[i] for i in chosen], keys, recordings, seed)
        clip = "clip" if len(chosen) == 1 else "clips"
        print(f"{len(chosen)} {clip} in {target}{rule and f', split by {rule}'}")
    return sum(map(len, parts.values()))


def _clip(path: Path, label: int, speaker: int, seed: list[int]) -> Clip:
    try:
        return Clip(*spikes_from_audio(*read_or_refuse(path), seed), label, speaker)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Do what the command line asks for; the exit status (2: something the user can mend)."""
    parser = Parser(
        PROGRAM, description=f"Turn mono {FORMATS} files, in one sub-folder per word, into spikes."
    )
    parser.add_argument("folder", type=Path, help="FOLDER/WORD/FILE; labels in sorted word order")
    parser.add_argument("out", type=Path, help=OUT)
    parser.add_argument(
        "--seed", type=numeric(int, 0), default=0, help="of nerve fibres and splits [default: 0]"
    )
    speaker = "group 1 of REGEX in a file name; known by themselves: SPEAKER_nohash_, speaker-NAME_"
    parser.add_argument("--speaker_from", "--speaker-from", metavar="REGEX", help=speaker)
    parser.add_argument(
        "--num_workers",
        type=numeric(int, 1),
        default=os.cpu_count() or 1,
        help="processes [default: one for each processor]",
    )
    parser.add_argument(
        "--skip_bad_files", "--skip-bad-files", action="store_true", help="that cannot be used"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    args = parser.parse_args(argv)
    folder, out = args.folder, args.out
    how = args.overwrite, args.num_workers, args.skip_bad_files
    convert(folder, out, args.seed, args.speaker_from, *how)


if __name__ == "__main__":
    sys.exit(main())
