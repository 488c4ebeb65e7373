# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Google Speech Commands, Heidelberg Digits, and any folder of spoken words, as log-mel frames."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from datasets.audio_reader import AudioReader
from datasets.audio_set import AudioSet
from datasets.errors import DataError
from datasets.features import MIN_RATE, NB_BINS
from datasets.recordings import MAX_RATE
from datasets.splits import SPLIT_NAMES, SPLITS, Listing, list_digits, list_words

__all__ = ["AUDIO", "AudioData", "AudioSet", "load_audio"]

REPO = Path(__file__).resolve().parents[1]
PUBLISHED_WORDS = 35


@dataclass(frozen=True)
class AudioDataset:
    """One data set of recordings; ``default_folder`` is relative to the repository."""

    list_clips: Callable[[Path], Listing]
    expected: str
    default_folder: str
    url: str


AUDIO = {
    "sc": AudioDataset(
        list_words,
        "folders of words with WAV files",
        "data/GSC",
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    ),
    "hd": AudioDataset(
        list_digits,
        "audio/*.flac, train_filenames.txt and test_filenames.txt",
        "data/HD",
        "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
    ),
}


@dataclass(frozen=True)
class AudioData:
    """The splits that were asked for, None for the others, and what validation means here.

    ``classes`` are the names of the labels. ``checksums`` holds one SHA-256 over the labels and
    samples of every split that was read. ``split_by`` says who split them, ``left_out`` how many
    could not be used.
    """

    train: AudioSet | None
    valid: AudioSet | None
    test: AudioSet | None
    nb_classes: int
    nb_features: int
    validation: str
    classes: list[str]
    checksums: dict[str, str] = field(default_factory=dict)
    sample_rate: int = 0
    split_by: str = ""
    left_out: int = 0


def load_audio(
    name: str,
    folder: str | Path | None = None,
    *,
    num_workers: int = 1,
    splits: Collection[str] = SPLITS,
    skip_bad_files: bool = False,
    sample_rate: int = 0,
    keep_waveforms: bool = False,
    say: Callable[[str], None] = print,
) -> AudioData:
    """Load a data set of recordings as log-mel frames; see `datasets.features.log_mel`.

    Every recording is read once. Features, and waveforms where they are kept, are cached in
    ``.frames/`` in the data folder or, where that is read-only, in the user's cache folder
    (``$SPRACHE_CACHE``, else ``~/.cache/sprache``), for as long as name, size and modification time
    of all files stay the same. Recordings at another rate than most are resampled.

    The published features of Heidelberg Digits took their 48 kHz for 16 kHz, so that a frame of
    theirs lasts a third of one here.

    Args:
        name: key of ``AUDIO``.
        folder: where the files lie; None is the data set's default folder in the repository.
        num_workers: threads that read files.
        splits: those of train, valid, test that are needed; the clips of others are not read.
        skip_bad_files: leave out what cannot be used, instead of raising.
        sample_rate: in Hz, to which recordings at another one are resampled; 0: that of most.
        keep_waveforms: also keep the samples, see `AudioSet.waveforms`.
        say: takes one line at a time for the user.

    Returns:
        AudioData whose splits are AudioSets.

    Raises:
        DataError: no such folder, its lists or a recording are not as they should be, or a split
            is left without clips.
    """
    if name not in AUDIO:
        raise DataError(f"dataset_name {name!r} is not one of {', '.join(AUDIO)}")
    for split in splits:
        if split not in SPLITS:
            raise DataError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    folder = REPO / AUDIO[name].default_folder if folder is None else Path(folder).expanduser()
    if sample_rate and not MIN_RATE <= sample_rate <= MAX_RATE:
        raise DataError(f"--sample_rate {sample_rate}: {MIN_RATE} to {MAX_RATE} Hz can be used")
    listing = _list_clips(name, folder)
    _report_listing(name, listing, say)
    reader = AudioReader(name, folder, listing, num_workers, skip_bad_files, say, sample_rate)

    sources = {split: split if split in listing.clips else "test" for split in splits}
    loaded = {
        source: reader.load(source, keep_waveforms=keep_waveforms)
        for source in SPLITS
        if source in sources.values()
    }
    reader.report()
    train, valid, test = (loaded.get(sources.get(split)) for split in SPLITS)
    return AudioData(
        train=train,
        valid=valid,
        test=test,
        nb_classes=len(listing.classes),
        nb_features=NB_BINS,
        validation=listing.validation,
        classes=listing.classes,
        checksums=reader.checksums,
        sample_rate=next(iter(loaded.values())).sample_rate,
        split_by=listing.rule,
        left_out=len(reader.bad),
    )


def _list_clips(name: str, folder: Path) -> Listing:
    dataset = AUDIO[name]
    try:
        if not folder.is_dir():
            raise DataError(
                f"no folder {folder} for {dataset.expected}: `python -m datasets.download {name}` "
                f"gets the data from {dataset.url}; or say where they are with --data_folder"
            )
        return dataset.list_clips(folder)
    except OSError as error:
        raise DataError(f"cannot look into {error.filename} ({error.strerror})") from error


def _report_listing(name: str, listing: Listing, say: Callable[[str], None]) -> None:
    counts = [
        f"{len(listing.clips[split]):,} {SPLIT_NAMES[split]}"
        for split in SPLITS
        if split in listing.clips
    ]
    say(
        f"{name}: {', '.join(counts[:-1])} and {counts[-1]} clips of {len(listing.classes)} "
        f"classes, split by {listing.rule}"
    )
    for note in listing.notes:
        say(f"{name}: {note}")
    if name == "sc" and len(listing.classes) != PUBLISHED_WORDS:
        say(
            f"{name}: {len(listing.classes)} words here, where Google Speech Commands has "
            f"{PUBLISHED_WORDS}: results do not compare with published ones"
        )
