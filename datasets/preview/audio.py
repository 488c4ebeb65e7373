# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The page of a data set of recordings."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from datasets import augment
from datasets.audio import AUDIO, AudioSet, load_audio
from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.features import FRAME_MS, SHIFT_MS, frame_counts, log_mel
from datasets.preview import figures
from datasets.preview.figures import Sound
from datasets.preview.page import (
    PAIRS,
    Page,
    Request,
    choose_clips,
    counted,
    distinct_splits,
    titled,
)
from datasets.recordings import FULL_SCALE, BadRecordingError, read_recording, resample

Change = Callable[[Tensor, Tensor, Generator], Tensor]


def show_audio(request: Request, page: Page) -> None:
    """Fill ``page`` with clips, augmentations and distributions of an audio data set."""
    data = load_audio(
        request.dataset_name,
        request.data_folder,
        num_workers=request.num_workers,
        skip_bad_files=request.skip_bad_files,
        sample_rate=request.sample_rate,
        say=page.say,
    )
    clips, rate = data.train, data.train.sample_rate
    page.say(f"{rate} Hz, {data.nb_features} log-mel bands, a frame every {SHIFT_MS} ms")
    chosen = choose_clips(clips.labels, request.nb_clips, request.generator())
    waves, lengths = _waveforms(request, clips, chosen)
    titles = [
        f"{titled(data.classes, int(clips.labels[i]))}\n{clips.files[i]}" for i in chosen.tolist()
    ]
    page.add(
        "clips",
        "Clips",
        "Training clips and their features, the logarithms of the energies in mel bands.",
        figures.sound_sheet(_sounds(waves, lengths, rate), titles, rate),
    )
    names = [data.classes[int(clips.labels[i])] for i in chosen[:PAIRS].tolist()]
    _show_augmentations(request, page, waves[:PAIRS], lengths[:PAIRS], rate, names)
    _show_distributions(page, distinct_splits(data), data.classes)


def _waveforms(request: Request, clips: AudioSet, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The clips at ``indices`` [B] read again, as (waveforms [B, S], samples [B] of each)."""
    folder = request.folder(AUDIO[request.dataset_name].default_folder)
    rows = []
    for index in indices.tolist():
        path = folder / clips.files[index]
        try:
            samples = resample(read_recording(path), clips.sample_rate).samples
        except BadRecordingError as reason:
            raise DataError(f"{path} {reason}") from reason
        rows.append(torch.from_numpy(samples).float() / FULL_SCALE)
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def _sounds(
    waves: Tensor, lengths: Tensor, rate: int, change: Change | None = None, generator=None
) -> list[Sound]:
    """Clips without their padding, and their features, changed by ``change``."""
    features, frames = log_mel(waves, rate, lengths), frame_counts(lengths, rate)
    if change is not None:
        features = change(features, frames, generator)
    rows = zip(waves, lengths.tolist(), features, frames.tolist(), strict=True)
    return [Sound(wave[:n].numpy(), x[:t].numpy()) for wave, n, x, t in rows]


def _show_augmentations(
    request: Request, page: Page, waves: Tensor, lengths: Tensor, rate: int, names: list[str]
) -> None:
    before = _sounds(waves, lengths, rate)
    caption = "Training clips before and after."
    for name, title, change in _changes_of_waveforms(request.strengths, rate):
        changed = change(waves, lengths, request.generator())
        after = _sounds(changed, lengths, rate)
        page.add(name, title, caption, figures.sound_pairs(before, after, names, rate, title))
    for name, title, change in _changes_of_features(request.strengths):
        after = _sounds(waves, lengths, rate, change, request.generator())
        figure = figures.sound_pairs(before, after, names, rate, title, with_waveforms=False)
        page.add(name, title, caption, figure)
    _show_together(request, page, waves, lengths, rate, names)


def _changes_of_waveforms(options: Augmentation, rate: int) -> list[tuple[str, str, Change]]:
    """(file name, title, function) of every change that ``options`` ask for, made to all clips."""
    changes = []
    if options.use_augm:
        noise = (options.min_snr, options.max_snr)
        low, high = augment.GAIN_DB
        changes += [
            ("polarity", "Polarity inversion", lambda w, n, g: augment.invert_polarity(w, g)),
            (
                "noise",
                f"Noise, {noise[0]:g} to {noise[1]:g} times as strong as the clip",
                lambda w, n, g: augment.add_noise(w, n, noise, g),
            ),
            ("gain", f"Gain of {low:g} to {high:g} dB", lambda w, n, g: augment.change_gain(w, g)),
            ("reverb", "Reverberation", lambda w, n, g: augment.reverberate(w, n, rate, g)),
        ]
    if options.augm_time_shift > 0:
        alone = Augmentation(augm_time_shift=options.augm_time_shift)
        changes.append(
            (
                "time_shift",
                f"Time shift of up to {options.augm_time_shift:g} s to either side",
                lambda w, n, g: augment.augment_waveforms(w, n, rate, alone, g),
            )
        )
    return changes


def _changes_of_features(options: Augmentation) -> list[tuple[str, str, Change]]:
    """The same of SpecAugment."""

    def only(**values) -> Change:
        alone = Augmentation(**values)
        return lambda x, n, generator: augment.augment_features(x, n, alone, generator)

    frames, bands = options.augm_time_mask, options.augm_freq_mask
    changes = []
    if frames > 0:
        title = f"Time mask of up to {counted(frames, 'frame')}"
        changes.append(("time_mask", title, only(augm_time_mask=frames)))
    if bands > 0:
        title = f"Frequency mask of up to {counted(bands, 'band')}"
        changes.append(("freq_mask", title, only(augm_freq_mask=bands)))
    return changes


def _show_together(
    request: Request, page: Page, waves: Tensor, lengths: Tensor, rate: int, names: list[str]
) -> None:
    options, generator = request.strengths, request.generator()
    if not (options.of_waveforms or options.of_features):
        return
    changed = augment.augment_waveforms(waves, lengths, rate, options, generator)
    after = _sounds(
        changed,
        lengths,
        rate,
        lambda x, n, generator: augment.augment_features(x, n, options, generator),
        generator,
    )
    title = "All of these together, each with its probability, as in training"
    figure = figures.sound_pairs(_sounds(waves, lengths, rate), after, names, rate, title)
    page.add("together", title, "Training clips before and after.", figure)


def _show_distributions(page: Page, splits: dict[str, AudioSet], names: list[str]) -> None:
    labels = {name: split.labels.numpy() for name, split in splits.items()}
    page.add("classes", "Classes", "Clips of each class.", figures.class_histogram(labels, names))
    seconds, levels = {}, {}
    for name, split in splits.items():
        lengths = split.lengths
        seconds[name] = ((lengths - 1) * SHIFT_MS + FRAME_MS).numpy() / 1000
        sums = split.features.mean(1).double().cumsum(0)
        ends = lengths.cumsum(0) - 1
        totals = sums[ends].diff(prepend=torch.zeros(1, dtype=sums.dtype))
        levels[name] = (totals / lengths).numpy()
    quantities = [
        figures.Quantity("length of a clip (s)", SHIFT_MS / 1000, seconds),
        figures.Quantity("mean ln energy of a clip", None, levels),
    ]
    caption = "How long clips are, and how loud: silent ones lie far to the left."
    page.add("lengths", "Lengths and levels", caption, figures.histograms(quantities))
