# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Look at a data set as it is read: ``python -m datasets.preview --dataset_name shd``.

Writes pictures of clips, of what each augmentation makes of them, and of the whole set, with an
index.html that shows them on one page.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import html
import os
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.files import atomic_file, readable
from datasets.registry import DATASETS
from parsers.load import OPTIONS, Config, load_plan
from parsers.program import Parser, check_folder, numeric, of_option, program
from parsers.training_config import TrainingConfig

PROGRAM = "datasets.preview"
NOT_READ = ("shd_validation", "data_placement")  # they decide what becomes of the data
OF_MAIN = [
    name
    for name, option in OPTIONS.items()
    if option.rules.group == "data" and name not in NOT_READ
]
AUGMENTATIONS = [field.name for field in fields(Augmentation)]
MOST_CLIPS = 48
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
SCALE = 76  # pixels of the page for an inch of a figure
DPI = 2 * SCALE + 8  # of the pictures: sharp on screens with two pixels to one of the page
STYLE = (
    ":root{color-scheme:light dark}"
    "body{font-family:sans-serif;line-height:1.5;max-width:1100px;margin:1em auto;padding:0 1em}"
    ".pan{overflow-x:auto}li{margin:.2em 0;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#121212;color:#e6e6e6}"
    "img{filter:invert(.89) hue-rotate(180deg)}}"
)


@dataclass
class Page:
    """Figures on their way into a folder, and what stands beside them."""

    folder: Path
    title: str
    notes: list[str] = field(default_factory=list)
    sections: list[tuple[str, str, str, int]] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Tell the user, and note it on the page."""
        print(readable(line))
        self.notes.append(line)

    def add(self, name: str, heading: str, caption: str, figure) -> None:
        """Write ``name``.png and list it."""
        with atomic_file(self.folder / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=DPI)
        width = round(SCALE * figure.get_figwidth())
        self.sections.append((f"{name}.png", heading, caption, width))

    def write_index(self) -> Path:
        """Write index.html; its path."""
        lines = ['<!doctype html><html lang="en"><meta charset="utf-8">']
        lines += ['<meta name="viewport" content="width=device-width, initial-scale=1">']
        lines += [
            f"<title>{html.escape(self.title)}</title>",
            f"<style>{STYLE}</style>",
            f"<h1>{html.escape(self.title)}</h1>",
            "<ul>",
        ]
        lines += [*(f"<li>{html.escape(note)}</li>" for note in self.notes), "</ul>"]
        for name, heading, caption, width in self.sections:
            heading, caption = html.escape(heading), html.escape(caption)
            lines += [f"<h2>{heading}</h2>", f"<p>{caption}</p>"]
            image = f'<img src="{name}" alt="{heading}" width="{width}">'
            lines.append(f'<div class="pan">{image}</div>')
        path = self.folder / "index.html"
        with atomic_file(path) as file:
            file.write(readable("\n".join(lines)).encode())
        return path


def draw(
    page: Page, options: TrainingConfig, strengths: Augmentation, nb_clips: int, seed: int
) -> None:
    """Fill ``page`` with clips, augmentations of ``strengths`` and distributions of the data that
    ``options`` name; ``seed`` decides every draw."""
    from datasets.preview import figures  # needs Matplotlib, whose import takes long
    from datasets.preview.views import VIEWS

    data = DATASETS[options.dataset_name].load(options, say=page.say)
    view = VIEWS[type(data.train)](data, options, strengths, seed)
    page.say(view.sentence)
    chosen = choose_clips(data.train.labels, nb_clips, view.generator())
    page.add("clips", "Clips", view.clips_caption, view.sheet(chosen))
    for name, title, caption, figure in view.changes(chosen[:PAIRS]):
        page.add(name, title, caption, figure)
    splits = {"training": data.train, "validation": data.valid, "test": data.test}
    if data.valid is data.test:
        del splits["validation"]
    labels = {name: split.labels.numpy() for name, split in splits.items()}
    bars = figures.class_histogram(labels, data.classes)
    page.add("classes", "Classes", "Clips of each class.", bars)
    lengths = figures.histograms(view.quantities(splits))
    page.add("lengths", view.lengths_title, view.lengths_caption, lengths)


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


def read_arguments(argv: list[str] | None) -> Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="Draw clips of a data set as they are read, what each augmentation makes of "
        "them, and how classes and lengths are distributed. Without augmentation flags, all that "
        "fit the data are shown.",
    )
    add = parser.add_argument
    add("--out", help="folder to write [default: preview_NAME]")
    add("--overwrite", action="store_true", help="write into a folder that is not empty")
    add("--clips", type=numeric(int, 1, MOST_CLIPS), default=8, help="clips to show [default: 8]")
    add("--seed", type=of_option(OPTIONS["seed"]), default=0, help="chooses the clips [default: 0]")
    add("--config", help="config of main.py, whose data options are taken where none are given")
    for name in (*OF_MAIN, *AUGMENTATIONS):
        option = OPTIONS[name]
        has_default = name in OF_MAIN and option.default is not None
        default = f" [default: {option.default}]" if has_default else ""
        values = ("True", "False") if option.kind is bool else option.rules.choices
        metavar = "|".join(values) or None
        add(f"--{name}", type=of_option(option), metavar=metavar, help=option.rules.help + default)
    return parser.parse_args(argv)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Do what the command line asks for; the exit status (2: something the user can mend)."""
    arguments = read_arguments(argv)
    config = [] if arguments.config is None else [f"--config={arguments.config}"]
    options = load_plan([*config, "--debug"]).points[0].to_dict()
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    data = {name: given.get(name, options[name]) for name in OF_MAIN}
    asked = {name: given[name] for name in AUGMENTATIONS if name in given}
    if "min_snr" in asked or "max_snr" in asked:
        asked.setdefault("use_augm", True)
    augmented = Config.from_dict(data | asked).training  # raises where one does not fit the data
    strengths = Augmentation.of(augmented) if asked else EXAMPLE

    folder = Path(os.path.expanduser(arguments.out or f"preview_{data['dataset_name']}"))
    check_folder("--out", folder)
    is_new = not folder.exists()
    if not is_new and any(folder.iterdir()) and not arguments.overwrite:
        raise DataError(f"--out {folder} is not empty: choose another, or add --overwrite")
    page = Page(folder, f"{data['dataset_name']} as it is read")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plain = Config.from_dict(data).training
        draw(page, plain, strengths, arguments.clips, arguments.seed)
        print(f"open {page.write_index()} in a browser")
    except OSError as error:
        raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
