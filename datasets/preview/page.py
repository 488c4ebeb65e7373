# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is shown of a data set, and the page it is shown on."""

import html
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from datasets.augment import Augmentation
from datasets.files import atomic_file
from parsers.training_config import TrainingConfig

# The strengths that are shown where the user names none.
EXAMPLE = Augmentation(
    use_augm=True,
    augm_time_shift=0.1,
    augm_time_mask=25,
    augm_freq_mask=8,
    augm_channel_shift=10,
    augm_event_drop=0.3,
    augm_cutmix=1.0,
)
PAIRS = 3  # clips that are shown before and after
STYLE = (
    "body{font-family:sans-serif;max-width:1500px;margin:2em auto;padding:0 1em}"
    "img{max-width:100%}li{margin:.2em 0}"
)


@dataclass
class Page:
    """Figures on their way into a folder, and what stands beside them."""

    folder: Path
    title: str
    notes: list[str] = field(default_factory=list)
    sections: list[tuple[str, str, str]] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Tell the user, and note it on the page."""
        print(line)
        self.notes.append(line)

    def add(self, name: str, heading: str, caption: str, figure) -> None:
        """Write ``name``.png and list it."""
        with atomic_file(self.folder / f"{name}.png") as file:
            figure.savefig(file, format="png")
        self.sections.append((f"{name}.png", heading, caption))

    def write_index(self) -> Path:
        """Write index.html; its path."""
        lines = [f"<!doctype html><meta charset=utf-8><title>{html.escape(self.title)}</title>"]
        lines += [f"<style>{STYLE}</style>", f"<h1>{html.escape(self.title)}</h1>", "<ul>"]
        lines += [f"<li>{html.escape(note)}</li>" for note in self.notes]
        lines.append("</ul>")
        for name, heading, caption in self.sections:
            lines += [f"<h2>{html.escape(heading)}</h2>", f"<p>{html.escape(caption)}</p>"]
            lines.append(f'<img src="{name}" alt="{html.escape(heading)}">')
        path = self.folder / "index.html"
        with atomic_file(path) as file:
            file.write("\n".join(lines).encode())
        return path


@dataclass(frozen=True)
class Request:
    """What to show: the data as ``options`` read them, which clips, and how much augmented."""

    options: TrainingConfig
    strengths: Augmentation
    nb_clips: int
    seed: int

    def generator(self) -> torch.Generator:
        """In the same state whenever it is asked for."""
        return torch.Generator().manual_seed(self.seed)


def choose_clips(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices [<= count] of random clips, of as many classes as possible, in order of class."""
    seen: Counter = Counter()
    ranked = []
    for index in torch.randperm(len(labels), generator=generator).tolist():
        label = int(labels[index])
        ranked.append((seen[label], len(ranked), label, index))
        seen[label] += 1
    chosen = sorted(ranked)[:count]
    return torch.tensor([index for *_, index in sorted(chosen, key=lambda clip: clip[2])])


def distinct_splits(data) -> dict:
    """The splits by name; one that serves twice is there once, under its own name."""
    splits = {"training": data.train, "test": data.test}
    if data.valid is not data.test:
        splits = {"training": data.train, "validation": data.valid, "test": data.test}
    return splits
