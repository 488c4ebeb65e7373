# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Random changes of training clips: waveforms, log-mel features and spike counts, in batches.

Every function leaves its inputs as they are, works on the device where they live, and takes all
randomness from a generator of that device: one state of it gives one result. Each clip of a batch
draws for itself.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from datasets.interface import Augmentation

P_INVERSION, P_NOISE, P_GAIN, P_REVERB = 0.8, 0.1, 0.3, 0.6  # those of SpArch
GAIN_DB = (-20.0, -1.0)
RT60 = (0.1, 0.6)  # s until a room's response has fallen by 60 dB: a car to a classroom
WET = (0.1, 1.0)  # RMS of the response over that of the direct sound


def augment_waveforms(
    waveforms: Tensor,
    lengths: Tensor,
    sample_rate: int,
    options: Augmentation,
    generator: Generator,
) -> Tensor:
    """Polarity, noise, gain, reverberation and a shift in time, those that ``options`` ask for.

    ``waveforms`` are [B, S] float32 at ``sample_rate`` Hz, of clips of ``lengths`` [B] samples; the
    rest of a row is padding, and stays zero. Returns [B, S] float32, the input itself if nothing is
    asked for.
    """
    if options.use_augm:
        waveforms = invert_polarity(waveforms, generator, P_INVERSION)
        noise = (options.min_snr, options.max_snr)
        waveforms = add_noise(waveforms, lengths, noise, generator, P_NOISE)
        waveforms = change_gain(waveforms, generator, P_GAIN)
        waveforms = reverberate(waveforms, lengths, sample_rate, generator, P_REVERB)
    if options.augm_time_shift > 0:
        most = round(options.augm_time_shift * sample_rate)
        waveforms = shift(waveforms, most, generator, lengths)
    return waveforms


def augment_features(
    features: Tensor, lengths: Tensor, options: Augmentation, generator: Generator
) -> Tensor:
    """One mask in time and one in frequency (SpecAugment, Park et al. 2019, without warping).

    ``features`` are [B, T, F] float32, of clips of ``lengths`` [B] frames; the rest of a row is
    padding, and stays as it is. Returns [B, T, F] float32, the input itself if nothing is asked
    for.
    """
    if not options.of_features:
        return features
    masked = torch.zeros(1, dtype=torch.bool, device=features.device)
    if options.augm_time_mask > 0:
        inside = random_mask(lengths, features.shape[1], options.augm_time_mask, generator)
        masked = masked | inside[:, :, None]
    if options.augm_freq_mask > 0:
        nb_bands = torch.full_like(lengths, features.shape[2])
        inside = random_mask(nb_bands, features.shape[2], options.augm_freq_mask, generator)
        masked = masked | inside[:, None, :]
    within = _within(lengths, features.shape[1])[:, :, None]
    # The published zeros are the mean of features that are normalised; these are logarithms, where
    # zero would be a loud sound.
    means = (features * within).sum((1, 2)) / (lengths.clamp(min=1) * features.shape[2])
    return torch.where(masked & within, means[:, None, None], features)


def augment_frames(
    frames: Tensor,
    labels: Tensor,
    step_seconds: float,
    options: Augmentation,
    generator: Generator,
) -> Tensor:
    """CutMix, shifts of channels and time, and loss of events, those that ``options`` ask for.

    ``frames`` are [B, T, C] float32, counts of events in bins of ``step_seconds``, and ``labels``
    [B] the classes of the clips. Returns [B, T, C] float32, the input itself if nothing is asked
    for.
    """
    if options.augm_cutmix > 0:
        frames = cutmix(frames, labels, generator, options.augm_cutmix)
    if options.augm_channel_shift > 0:
        channels_first = frames.transpose(1, 2)
        frames = shift(channels_first, options.augm_channel_shift, generator).transpose(1, 2)
    if options.augm_time_shift > 0:
        most = round(options.augm_time_shift / step_seconds)
        # Bin 0 is that of events before the clip begins (see datasets.binning): it stays empty.
        shifted = shift(frames[:, 1:], most, generator)
        frames = torch.cat([frames[:, :1], shifted], dim=1)
    if options.augm_event_drop > 0:
        frames = drop_events(frames, options.augm_event_drop, generator)
    return frames.contiguous()


def invert_polarity(waveforms: Tensor, generator: Generator, p: float = 1.0) -> Tensor:
    """Change the sign of clips, each with probability ``p``; [B, S] -> [B, S]."""
    chosen = _choose(len(waveforms), p, generator)
    return chosen.put(waveforms, -waveforms[chosen.rows])


def add_noise(
    waveforms: Tensor,
    lengths: Tensor,
    ratio: tuple[float, float],
    generator: Generator,
    p: float = 1.0,
) -> Tensor:
    """Add white Gaussian noise to clips, each with probability ``p``; [B, S] -> [B, S].

    Its standard deviation is that of the clip times a factor, uniform in ``ratio``.
    """
    chosen = _choose(len(waveforms), p, generator)
    clips, n = waveforms[chosen.rows], lengths[chosen.rows]
    within = _within(n, clips.shape[1])
    means = clips.sum(1) / n.clamp(min=1)  # the padding is zero
    variances = ((clips - means[:, None]) * within).square().sum(1) / n.clamp(min=1)
    factors = variances.sqrt() * _uniform(len(clips), ratio, generator)
    noise = torch.randn(clips.shape, generator=generator, device=clips.device)
    return chosen.put(waveforms, clips + noise * factors[:, None] * within)


def change_gain(waveforms: Tensor, generator: Generator, p: float = 1.0) -> Tensor:
    """Attenuate clips by 1 to 20 dB, each with probability ``p``; [B, S] -> [B, S]."""
    chosen = _choose(len(waveforms), p, generator)
    clips = waveforms[chosen.rows]
    gains = 10 ** (_uniform(len(clips), GAIN_DB, generator) / 20)
    return chosen.put(waveforms, clips * gains[:, None])


def reverberate(
    waveforms: Tensor, lengths: Tensor, sample_rate: int, generator: Generator, p: float = 1.0
) -> Tensor:
    """Place clips in rooms, each with probability ``p``; [B, S] -> [B, S].

    A room answers with white noise that decays exponentially (Polack's model of late
    reverberation), its duration and strength drawn from ``RT60`` and ``WET``. The clip keeps its
    length and its energy.
    """
    chosen = _choose(len(waveforms), p, generator)
    clips = waveforms[chosen.rows]
    if len(clips) == 0:  # there is no Fourier transform of nothing
        return waveforms
    response = _room_responses(len(clips), sample_rate, generator)
    import scipy.fft  # takes a third of a second, and most runs place no clip in a room

    size = scipy.fft.next_fast_len(clips.shape[1] + response.shape[1] - 1, real=True)
    spectrum = torch.fft.rfft(clips, size) * torch.fft.rfft(response, size)
    wet = torch.fft.irfft(spectrum, size)[:, : clips.shape[1]]
    wet = wet * _within(lengths[chosen.rows], clips.shape[1])
    energy, wet_energy = clips.square().sum(1), wet.square().sum(1)
    gains = (energy / wet_energy.clamp(min=torch.finfo(wet.dtype).tiny)).sqrt()
    return chosen.put(waveforms, wet * gains[:, None])


def shift(x: Tensor, most: int, generator: Generator, lengths: Tensor | None = None) -> Tensor:
    """Move clips along dimension 1 by whole steps, uniform in -most..most; [B, L, ...] -> same.

    What leaves a clip on one side is lost, and zeros follow on the other. ``lengths`` [B] are the
    steps of each clip, L where it is None; what follows them is padding, and becomes zero.
    """
    size, device = x.shape[1], x.device
    if lengths is None:
        lengths = torch.full((len(x),), size, device=device)
    offsets = torch.randint(-most, most + 1, (len(x), 1), generator=generator, device=device)
    sources = torch.arange(size, device=device) - offsets  # [B, L]
    outside = (sources < 0) | (sources >= lengths[:, None]) | ~_within(lengths, size)
    rows = torch.arange(len(x), device=device)[:, None]
    moved = x[rows, sources.clamp_(0, size - 1)]
    return moved.masked_fill_(outside.view(*outside.shape, *(1,) * (x.ndim - 2)), 0.0)


def random_mask(lengths: Tensor, size: int, widest: int, generator: Generator) -> Tensor:
    """A stretch of each clip, [B, size] bool; 0 to ``widest`` steps that lie inside ``lengths``.

    Width and place are uniform.
    """
    widths = _below(lengths.clamp(max=widest) + 1, generator)
    starts = _below(lengths - widths + 1, generator)
    steps = torch.arange(size, device=lengths.device)
    return (steps >= starts[:, None]) & (steps < (starts + widths)[:, None])


def drop_events(frames: Tensor, share: float, generator: Generator) -> Tensor:
    """Drop each event with probability ``share``, so that counts thin binomially; any shape."""
    return torch.binomial(frames, torch.full_like(frames, 1 - share), generator=generator)


def cutmix(frames: Tensor, labels: Tensor, generator: Generator, p: float = 1.0) -> Tensor:
    """Replace a stretch of time by that of another clip of the class; [B, T, C] -> [B, T, C].

    CutMix (Yun et al. 2019) along time. As both clips are of one class, the label stays as it is.
    Each clip is mixed with probability ``p``; its partner is any other of its class in the batch,
    and one without a partner stays as it is. The share of time is uniform in 0..1.
    """
    B, T, _ = frames.shape
    device = frames.device
    chosen = torch.rand(B, generator=generator, device=device) < p
    is_partner = labels[:, None] == labels
    is_partner.fill_diagonal_(False)
    lots = torch.rand((B, B), generator=generator, device=device)
    partners = lots.masked_fill_(~is_partner, -1.0).argmax(1)
    inside = random_mask(torch.full((B,), T, device=device), T, T, generator)
    inside &= (chosen & is_partner.any(1))[:, None]
    return torch.where(inside[:, :, None], frames[partners], frames)


def _room_responses(count: int, sample_rate: int, generator: Generator) -> Tensor:
    """[count, samples] float32: the direct sound, then the decaying answer."""
    device = generator.device
    times = torch.arange(1, round(RT60[1] * sample_rate), device=device) / sample_rate
    decay = 10 ** (-3.0 * times / _uniform(count, RT60, generator)[:, None])
    tail = torch.randn(decay.shape, generator=generator, device=device) * decay
    tail *= (_uniform(count, WET, generator) / tail.norm(dim=1))[:, None]
    return torch.cat([tail.new_ones(count, 1), tail], dim=1)


class _Chosen(NamedTuple):
    """The clips of a batch that are to change, and those that a change is computed for.

    On a CPU these are the same. A GPU computes it for all: asking which they are would make it
    wait for the host, and every batch would have another shape.
    """

    mask: Tensor  # [B] bool
    rows: Tensor | slice

    def put(self, clips: Tensor, changed: Tensor) -> Tensor:
        """``clips`` [B, S], the chosen ones replaced by those in ``changed`` [rows, S]."""
        if isinstance(self.rows, slice):
            return torch.where(self.mask[:, None], changed, clips)
        return clips.index_copy(0, self.rows, changed)


def _choose(count: int, p: float, generator: Generator) -> _Chosen:
    """Each of ``count`` clips with probability ``p``."""
    mask = torch.rand(count, generator=generator, device=generator.device) < p
    return _Chosen(mask, mask.nonzero()[:, 0] if mask.device.type == "cpu" else slice(None))


def _uniform(count: int, bounds: tuple[float, float], generator: Generator) -> Tensor:
    """[count] float32 between the bounds."""
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def _below(limits: Tensor, generator: Generator) -> Tensor:
    """Whole numbers uniform in 0..limit-1, [B] int64."""
    lots = torch.rand(len(limits), generator=generator, device=generator.device)
    return torch.minimum((lots * limits).long(), limits - 1)  # the product may round up


def _within(lengths: Tensor, size: int) -> Tensor:
    """[B, size] bool: which steps lie inside the clips."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
