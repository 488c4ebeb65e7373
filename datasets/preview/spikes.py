# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The page of a spiking data set."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from datasets import augment
from datasets.augment import Augmentation
from datasets.binning import Binning
from datasets.frames import FrameSet
from datasets.preview import figures
from datasets.preview.page import (
    PAIRS,
    Page,
    Request,
    choose_clips,
    counted,
    distinct_splits,
    titled,
)
from datasets.spiking import load_spiking

BLOCK = 2048  # clips whose counts are widened together


def show_spikes(request: Request, page: Page) -> None:
    """Fill ``page`` with clips, augmentations and distributions of a data set of SHD layout."""
    data = load_spiking(
        request.dataset_name,
        request.data_folder,
        nb_steps=request.nb_steps,
        max_time=request.max_time,
        spatial_bin=request.spatial_bin,
        say=page.say,
    )
    names = data.classes
    step = Binning.of(request).bin_seconds
    page.say(
        f"{request.nb_steps} bins of {1000 * step:.3g} ms, {data.nb_features} channels of "
        f"{counted(request.spatial_bin, 'unit')}"
    )
    chosen = choose_clips(data.train.labels, request.nb_clips, request.generator())
    titles = [describe(data.train, index, names) for index in chosen.tolist()]
    clips = list(data.train.counts[chosen].numpy())
    page.add(
        "clips",
        "Clips",
        "Events in each bin and channel of training clips; below, the sum over channels.",
        figures.spike_sheet(clips, titles, step),
    )
    _show_augmentations(request, page, data.train, chosen, names, step)
    _show_distributions(page, distinct_splits(data), names, step)


def describe(clips: FrameSet, index: int, names: list[str]) -> str:
    """The title of a clip."""
    label = int(clips.labels[index])
    speaker = "" if clips.speakers is None else f", speaker {int(clips.speakers[index])}"
    events = int(clips.counts[index].sum(dtype=torch.int64))
    return f"{titled(names, label)}{speaker}\nclip {index}, {events:,} events"


def _show_augmentations(
    request: Request, page: Page, clips: FrameSet, chosen: Tensor, names: list[str], step: float
) -> None:
    shown = chosen[:PAIRS]
    # Behind the clips that are shown, another of each one's class for CutMix.
    others = [_another(clips.labels, index) for index in shown.tolist()]
    frames, labels = clips.batch(torch.cat([shown, torch.tensor(others)]))
    before = list(frames[: len(shown)].numpy())
    titles = [names[label] for label in labels[: len(shown)].tolist()]
    for name, title, change in _changes(request.strengths, labels, step):
        after = list(change(frames, request.generator())[: len(shown)].numpy())
        mixed = name == "cutmix"
        figure = figures.spike_pairs(before, after, titles, step, title, mark=mixed)
        caption = "Training clips before and after" + (
            "; what comes from another clip lies between the lines." if mixed else "."
        )
        page.add(name, title, caption, figure)


def _another(labels: Tensor, index: int) -> int:
    """The next clip of the class of clip ``index``, itself if it has no other."""
    same = (labels == labels[index]).nonzero()[:, 0]
    return int(same[(int((same == index).nonzero()) + 1) % len(same)])


def _changes(
    options: Augmentation, labels: Tensor, step: float
) -> list[tuple[str, str, Callable[[Tensor, Generator], Tensor]]]:
    """(file name, title, function) of every augmentation that ``options`` ask for."""

    def only(**values) -> Callable[[Tensor, Generator], Tensor]:
        alone = Augmentation(**values)
        return lambda x, generator: augment.augment_frames(x, labels, step, alone, generator)

    seconds, channels = options.augm_time_shift, options.augm_channel_shift
    share, p = options.augm_event_drop, options.augm_cutmix
    changes = []
    if seconds > 0:
        title = f"Time shift of up to {seconds:g} s to either side"
        changes.append(("time_shift", title, only(augm_time_shift=seconds)))
    if channels > 0:
        title = f"Channel shift of up to {counted(channels, 'channel')}, up or down"
        changes.append(("channel_shift", title, only(augm_channel_shift=channels)))
    if share > 0:
        title = f"Event drop, each with probability {share:g}"
        changes.append(("event_drop", title, only(augm_event_drop=share)))
    if p > 0:
        title = "CutMix with another clip of the class" + ("" if p == 1 else " (drawn always here)")
        changes.append(("cutmix", title, only(augm_cutmix=1.0)))
    if len(changes) > 1:

        def everything(x: Tensor, generator: Generator) -> Tensor:
            return augment.augment_frames(x, labels, step, options, generator)

        changes.append(("together", "All of these together, as in training", everything))
    return changes


def _show_distributions(
    page: Page, splits: dict[str, FrameSet], names: list[str], step: float
) -> None:
    labels = {name: split.labels.numpy() for name, split in splits.items()}
    page.add("classes", "Classes", "Clips of each class.", figures.class_histogram(labels, names))
    events, ends = {}, {}
    for name, split in splits.items():
        events[name], last_bins = _events_and_last_bins(split.counts)
        ends[name] = last_bins * step
    quantities = [
        figures.Quantity("events in a clip", 1, events),
        figures.Quantity("time of the last event (s)", step, ends),
    ]
    caption = "Events that are kept by the binning, and when the last of a clip comes."
    page.add("lengths", "Events and lengths", caption, figures.histograms(quantities))


def _events_and_last_bins(counts: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Events of each clip, and the last bin with one, [N] each."""
    events, last = [], []
    bins = torch.arange(counts.shape[1])
    for block in counts.split(BLOCK):
        activity = block.sum(2, dtype=torch.int64)
        events.append(activity.sum(1))
        last.append(((activity > 0) * bins).amax(1))
    return torch.cat(events).numpy(), torch.cat(last).numpy()
