# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Look at a data set as it is read: ``python -m datasets.preview --dataset_name shd``.

Writes pictures of clips, of what each augmentation makes of them, and of the whole set, with an
index.html that shows them on one page.
"""

import sys
from dataclasses import fields
from pathlib import Path

from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.preview.page import (
    EXAMPLE,
    PAIRS,
    Page,
    Request,
    choose_clips,
    distinct_splits,
)
from datasets.registry import DATASETS
from parsers.load import OPTIONS, Config, load_plan
from parsers.program import Parser, check_folder, numeric, of_option, run_command

PROGRAM = "datasets.preview"
# Options that are those of main.py, in all but the name of the program.
OF_MAIN = (
    "dataset_name",
    "data_folder",
    "nb_steps",
    "max_time",
    "spatial_bin",
    "num_workers",
    "skip_bad_files",
    "sample_rate",
)
MOST_CLIPS = 48


def preview(request: Request, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the page into ``folder``; the path of its index.html.

    Raises:
        ConfigError: the folder cannot be written.
        DataError: it holds something already and ``overwrite`` is not set, or the data cannot be
            read.
    """
    _refuse_used(folder, overwrite)
    page = Page(folder, f"{request.options.dataset_name} as it is read")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw(request, page)
        return page.write_index()
    except OSError as error:
        raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def draw(request: Request, page: Page) -> None:
    """Fill ``page`` with clips, augmentations and distributions of a data set."""
    from datasets.preview import figures  # needs Matplotlib, whose import takes long
    from datasets.preview.views import VIEWS

    data = DATASETS[request.options.dataset_name].load(request.options, say=page.say)
    view = VIEWS[type(data.train)](request, data)
    page.say(view.sentence)
    chosen = choose_clips(data.train.labels, request.nb_clips, request.generator())
    page.add("clips", "Clips", view.clips_caption, view.sheet(chosen))
    for name, title, caption, figure in view.changes(chosen[:PAIRS]):
        page.add(name, title, caption, figure)
    splits = distinct_splits(data)
    labels = {name: split.labels.numpy() for name, split in splits.items()}
    bars = figures.class_histogram(labels, data.classes)
    page.add("classes", "Classes", "Clips of each class.", bars)
    lengths = figures.histograms(view.quantities(splits))
    page.add("lengths", view.lengths_title, view.lengths_caption, lengths)


def _refuse_used(folder: Path, overwrite: bool) -> None:
    check_folder("--out", folder)
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise DataError(f"--out {folder} is not empty: choose another, or add --overwrite")


def read_arguments(argv: list[str] | None) -> tuple[Request, Path, bool]:
    """The request, the folder and whether to overwrite; ConfigError for a mistake."""
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
    for name in OF_MAIN:
        default = OPTIONS[name].default
        add(
            f"--{name}",
            type=of_option(OPTIONS[name]),
            metavar="|".join(OPTIONS[name].rules.choices) or None,
            help=OPTIONS[name].rules.help + ("" if default is None else f" [default: {default}]"),
        )
    for augmentation in fields(Augmentation):
        option = OPTIONS[augmentation.name]
        add(f"--{option.name}", type=of_option(option), help=option.rules.help)
    arguments = parser.parse_args(argv)
    config = [] if arguments.config is None else [f"--config={arguments.config}"]
    options = load_plan([*config, "--debug"]).points[0].to_dict()
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    data = {name: given.get(name, options[name]) for name in OF_MAIN}
    asked = {f.name: given[f.name] for f in fields(Augmentation) if f.name in given}
    if "min_snr" in asked or "max_snr" in asked:
        asked.setdefault("use_augm", True)
    augmented = Config.from_dict(data | asked).training  # raises where one does not fit the data
    request = Request(
        options=Config.from_dict(data).training,
        strengths=Augmentation.of(augmented) if asked else EXAMPLE,
        nb_clips=arguments.clips,
        seed=arguments.seed,
    )
    out = Path(arguments.out or f"preview_{data['dataset_name']}").expanduser()
    return request, out, arguments.overwrite


def command(argv: list[str] | None) -> None:
    """Do what the command line asks for."""
    request, folder, overwrite = read_arguments(argv)
    print(f"open {preview(request, folder, overwrite=overwrite)} in a browser")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status (2: something the user can mend)."""
    return run_command(PROGRAM, lambda: command(argv))


if __name__ == "__main__":
    sys.exit(main())
