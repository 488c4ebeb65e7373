# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Look at a data set as it is read: ``python -m datasets.preview --dataset_name shd``.

Writes pictures of clips, of what each augmentation makes of them, and of the whole set, with an
index.html that shows them on one page.
"""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path

from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.preview.page import Page, Request
from parsers.program import Parser, numeric, run_command

PROGRAM = "datasets.preview"
SPIKING_NAMES = ("shd", "ssc", "demo")
AUDIO_NAMES = ("sc", "hd")
OF_AUDIO = ("use_augm", "min_snr", "max_snr", "augm_time_mask", "augm_freq_mask")
OF_SPIKES = ("augm_channel_shift", "augm_event_drop", "augm_cutmix")
MOST_CLIPS = 48


def preview(request: Request, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the page into ``folder``; the path of its index.html.

    Raises:
        DataError: the folder holds something already and ``overwrite`` is not set, or the data
            cannot be read.
    """
    _refuse_used(folder, overwrite)
    page = Page(folder, f"{request.dataset_name} as it is read")
    if request.dataset_name in AUDIO_NAMES:
        from datasets.preview.audio import show_audio as show
    else:
        from datasets.preview.spikes import show_spikes as show
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        show(request, page)
        return page.write_index()
    except OSError as error:
        raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _refuse_used(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is a file")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise DataError(f"--out {folder} is not empty: choose another, or add --overwrite")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a boolean; write True or False")
    return text.lower() in ("true", "1", "yes")


def read_arguments(argv: list[str] | None) -> tuple[Request, Path, bool]:
    """The request, the folder and whether to overwrite; DataError for a mistake."""
    parser = Parser(
        PROGRAM,
        description="Draw clips of a data set as they are read, what each augmentation makes of "
        "them, and how classes and lengths are distributed. Without augmentation flags, all that "
        "fit the data are shown.",
    )
    add = parser.add_argument
    names = [*SPIKING_NAMES, *AUDIO_NAMES, "gsc"]
    add("--dataset_name", choices=names, default="shd", help="gsc is another name for sc")
    add("--data_folder", help="folder of the data set [default: data/SHD etc. by data set]")
    add("--out", help="folder to write [default: preview_NAME]")
    add("--overwrite", action="store_true", help="write into a folder that is not empty")
    add("--clips", type=numeric(int, 1, MOST_CLIPS), default=8, help="clips to show [default: 8]")
    add("--seed", type=numeric(int, 0, 2**63 - 1), default=0, help="chooses the clips [default: 0]")
    add("--nb_steps", type=numeric(int, 2), default=100, help="time bins [default: 100]")
    add("--max_time", type=numeric(float, 1e-3), default=1.0, help="seconds kept [default: 1.0]")
    add("--spatial_bin", type=numeric(int, 1), default=5, help="units per channel [default: 5]")
    add("--num_workers", type=numeric(int, 0), default=8, help="threads that read audio files")
    add("--skip_bad_files", type=_boolean, default=False, help="leave out damaged audio files")
    add("--use_augm", type=_boolean, help="the published changes of waveforms (sc and hd)")
    add("--min_snr", type=numeric(float, 0), help="lowest ratio of noise to signal")
    add("--max_snr", type=numeric(float, 0), help="highest ratio of noise to signal")
    add("--augm_time_shift", type=numeric(float, 0), help="seconds, at most, to either side")
    add("--augm_time_mask", type=numeric(int, 0), help="frames, at most (sc and hd)")
    add("--augm_freq_mask", type=numeric(int, 0, 39), help="bands, at most (sc and hd)")
    add("--augm_channel_shift", type=numeric(int, 0), help="channels, at most (spiking sets)")
    add("--augm_event_drop", type=numeric(float, 0, 1), help="share of events (spiking sets)")
    add("--augm_cutmix", type=numeric(float, 0, 1), help="share of clips (spiking sets)")
    arguments = parser.parse_args(argv)
    name = "sc" if arguments.dataset_name == "gsc" else arguments.dataset_name
    out = Path(arguments.out or f"preview_{name}").expanduser()
    request = Request(
        dataset_name=name,
        data_folder=arguments.data_folder,
        nb_clips=arguments.clips,
        asked=_asked(arguments, name),
        **{
            option: getattr(arguments, option)
            for option in (f.name for f in fields(Request))
            if option not in ("dataset_name", "data_folder", "nb_clips", "asked")
        },
    )
    return request, out, arguments.overwrite


def _asked(arguments: argparse.Namespace, name: str) -> dict:
    """The augmentation flags that were given; DataError for one that does not fit the data."""
    values = {f.name: getattr(arguments, f.name) for f in fields(Augmentation)}
    asked = {option: value for option, value in values.items() if value is not None}
    unfit = OF_SPIKES if name in AUDIO_NAMES else OF_AUDIO
    for option in asked:
        if option in unfit:
            raise DataError(f"--{option} is not for --dataset_name {name}")
    if "min_snr" in asked or "max_snr" in asked:
        asked.setdefault("use_augm", True)
    noise = replace(Augmentation(), **asked)
    if noise.min_snr > noise.max_snr:
        raise DataError(f"--min_snr {noise.min_snr} is larger than --max_snr {noise.max_snr}")
    return asked


def command(argv: list[str] | None) -> None:
    """Do what the command line asks for."""
    request, folder, overwrite = read_arguments(argv)
    print(f"open {preview(request, folder, overwrite=overwrite)} in a browser")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status (2: something the user can mend)."""
    return run_command(PROGRAM, lambda: command(argv))


if __name__ == "__main__":
    sys.exit(main())
