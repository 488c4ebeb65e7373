# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Log-mel filterbank features as Kaldi computes them (Povey et al. 2011), for batches of clips.

`log_mel` is ours; `log_mel_by_torchaudio` calls what the published features were made with.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from datasets.recordings import MIN_RATE

NB_BINS = 40
FRAME_MS = 25
SHIFT_MS = 10
PREEMPHASIS = 0.97
LOW_HZ = 20.0
POVEY_POWER = 0.85
FLOOR = torch.finfo(torch.float32).eps
PARAMETERS = {
    "frame_ms": FRAME_MS,
    "shift_ms": SHIFT_MS,
    "nb_bins": NB_BINS,
    "preemphasis": PREEMPHASIS,
    "low_hz": LOW_HZ,
}
CPU_BLOCK = 1 << 18  # samples of all frames of a block: what stays in a processor's cache


def log_mel(waveforms: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Natural logarithm of the energies in 40 mel bands, as in Kaldi's compute-fbank-feats.

    Frames of 25 ms every 10 ms, only those that lie inside the clip; each loses its mean, is
    pre-emphasised by 0.97, windowed (Povey), padded to a power of two and Fourier transformed. Its
    power is summed in triangles on the mel scale ``1127 ln(1 + f/700)`` between 20 Hz and half the
    sampling rate, and floored at the epsilon of float32. No dither, no energy term.

    Everything is computed in float32, in the order of ``torchaudio.compliance.kaldi.fbank``, whose
    values these are. Kaldi's own code agrees to 1e-3 in every band that is less than 80 dB under
    the strongest one of its frame; deeper ones, under a loud pure tone, hold rounding errors only,
    which differ from one Fourier transform to another.

    ``waveforms`` are [B, samples] float32 in -1..1 on any device, which is what ``torchaudio.load``
    returns and what the published features were computed from; ``lengths`` [B] are the samples of
    each clip where they differ, and the rest of its row is padding.

    Returns [B, frames, 40] float32, zero in frames that do not lie inside the clip. Clips shorter
    than a frame have none. One second at 16 kHz gives 98. Raises ValueError for a sampling rate
    below 1 kHz.
    """
    if sample_rate < MIN_RATE:
        raise ValueError(f"no features at a sampling rate of {sample_rate} Hz: use {MIN_RATE} up")
    nb_frames = int(frame_counts(waveforms.shape[-1], sample_rate))
    size, shift = _in_samples(FRAME_MS, sample_rate), _in_samples(SHIFT_MS, sample_rate)
    features = waveforms.new_zeros(len(waveforms), nb_frames, NB_BINS, dtype=torch.float32)
    if nb_frames == 0:
        return features
    frames = waveforms.float().unfold(-1, size, shift)  # [B, frames, size], a view
    rows = len(waveforms)
    if waveforms.device.type == "cpu":
        rows = max(1, CPU_BLOCK // (nb_frames * size))
    for start in range(0, len(waveforms), rows):
        block = slice(start, start + rows)
        features[block] = _log_mel_of_frames(frames[block], sample_rate)
    if lengths is not None:
        counts = frame_counts(lengths.to(features.device), sample_rate)
        outside = torch.arange(nb_frames, device=features.device) >= counts[:, None]
        features.masked_fill_(outside[..., None], 0.0)
    return features


def torchaudio_fbank() -> Callable | None:
    """``torchaudio.compliance.kaldi.fbank``, None where torchaudio does not import.

    Its compiled part asks for the libraries of the CUDA build of PyTorch that it was made for.
    """
    try:
        from torchaudio.compliance.kaldi import fbank
    except (ImportError, OSError, RuntimeError):
        return None
    return fbank


def log_mel_by_torchaudio(
    waveforms: Tensor, sample_rate: int, lengths: Tensor | None = None
) -> Tensor:
    """As `log_mel`, bit for bit the published features: clip by clip by torchaudio."""
    fbank, samples = torchaudio_fbank(), waveforms.shape[-1]
    nb_frames = int(frame_counts(samples, sample_rate))
    features = waveforms.new_zeros(len(waveforms), nb_frames, NB_BINS, dtype=torch.float32)
    of_each = [samples] * len(waveforms) if lengths is None else lengths.tolist()
    for row, wave, length in zip(features, waveforms.float(), of_each, strict=True):
        if count := frame_counts(length, sample_rate):
            row[:count] = fbank(
                wave[None, :length], num_mel_bins=NB_BINS, sample_frequency=sample_rate
            )
    return features


FILTERBANKS = {"torch": log_mel, "torchaudio": log_mel_by_torchaudio}


def frame_counts(samples, sample_rate: int):
    """How many frames lie inside clips of ``samples``, an int or an integer array of any kind."""
    size, shift = _in_samples(FRAME_MS, sample_rate), _in_samples(SHIFT_MS, sample_rate)
    # A clip below `size` comes out at 0 or less.
    counts = (samples - size + shift) // shift
    return counts.clamp(min=0) if isinstance(counts, Tensor) else counts * (counts > 0)


def _in_samples(milliseconds: int, sample_rate: int) -> int:
    return sample_rate * milliseconds // 1000


def _log_mel_of_frames(frames: Tensor, sample_rate: int) -> Tensor:
    """[..., size] -> [..., 40]; the order of operations is that of torchaudio's fbank."""
    frames = frames - frames.mean(-1, keepdim=True)
    emphasised = frames.clone()
    emphasised[..., 1:] -= PREEMPHASIS * frames[..., :-1]
    emphasised[..., 0] -= PREEMPHASIS * frames[..., 0]
    window, bank = _window_and_bank(sample_rate, frames.device)
    spectrum = torch.fft.rfft(emphasised.mul_(window), n=2 * (len(bank) - 1))
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ bank).clamp_(min=FLOOR).log_()


@lru_cache(maxsize=16)
def _window_and_bank(sample_rate: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window [size] and weights [FFT bins, 40] of the triangles."""
    size = _in_samples(FRAME_MS, sample_rate)
    padded = 1 << (size - 1).bit_length()
    window = torch.hann_window(size, periodic=False).pow(POVEY_POWER)
    low, high = _mel(torch.tensor([LOW_HZ, sample_rate / 2], dtype=torch.float64)).tolist()
    step = (high - low) / (NB_BINS + 1)
    # In float32, whose rounding shows in narrow triangles, as in Kaldi and torchaudio.
    bins = torch.arange(NB_BINS)
    left, centre, right = low + bins * step, low + (bins + 1.0) * step, low + (bins + 2.0) * step
    mel = _mel(sample_rate / padded * torch.arange(padded / 2))[:, None]  # [FFT bins, 1]
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    bank = torch.minimum(rising, falling).clamp(min=0.0)
    bank = torch.cat([bank, bank.new_zeros(1, NB_BINS)])  # nothing from half the sampling rate
    return window.to(device), bank.to(device)


def _mel(frequency: Tensor) -> Tensor:
    return 1127.0 * (1.0 + frequency / 700.0).log()
