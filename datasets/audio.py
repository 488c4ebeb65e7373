# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Data sets of recordings, one spoken word each, as log-mel frames."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from datasets.audio_reader import AudioReader
from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.features import NB_BINS, SHIFT_MS
from datasets.interface import SPLITS, Data, DataSet
from datasets.recordings import MAX_RATE, MIN_RATE
from datasets.splits import SPLIT_NAMES, Listing


@dataclass(frozen=True)
class AudioDataSet(DataSet):
    """A data set of recordings, which ``list_clips`` finds in its folder.

    Its splits are AudioSets; see `datasets.features.log_mel`. Every recording is read once.
    Features, and waveforms where augmentation needs them, are cached in ``.frames/`` in the data
    folder or, where that is read-only, in the user's cache folder (``$SPRACHE_CACHE``, else
    ``~/.cache/sprache``), for as long as name, size and modification time of all files stay the
    same. Recordings at another rate than ``options.sample_rate``, or than most if it is 0, are
    resampled.

    The published features of Heidelberg Digits took their 48 kHz for 16 kHz, so that a frame of
    theirs lasts a third of one here.
    """

    name: str
    nb_classes: int
    list_clips: Callable[[Path], Listing]
    expected: str  # in the folder, in words
    default_folder: str
    url: str
    title: str

    frame_shift_ms = float(SHIFT_MS)
    has_portable_checksums = False  # those of earlier versions hold modification times

    def nb_features(self, options) -> int:
        """Mel bands."""
        return NB_BINS

    def step_seconds(self, options) -> float:
        """From one frame to the next."""
        return SHIFT_MS / 1000

    def also_depends_on(self, options) -> tuple:
        """Whether the waveforms are kept."""
        return (Augmentation.of(options).of_waveforms,)

    def load(
        self, options, splits: Collection[str] = SPLITS, say: Callable[[str], None] = print
    ) -> Data:
        """See `DataSet.load`; with ``options.skip_bad_files`` a bad recording is no error.

        The checksums are those of labels and samples, one of each split.
        """
        rate = options.sample_rate
        if rate and not MIN_RATE <= rate <= MAX_RATE:
            raise DataError(f"--sample_rate {rate}: {MIN_RATE} to {MAX_RATE} Hz can be used")
        folder = self.folder(options)
        listing = self._list_clips(folder)
        self._report(listing, say)
        reader = AudioReader(
            self.name, folder, listing, options.num_workers, options.skip_bad_files, say, rate
        )
        keep_waveforms = "train" in splits and Augmentation.of(options).of_waveforms
        sources = {split: split if split in listing.clips else "test" for split in splits}
        loaded = {
            source: reader.load(source, keep_waveforms=keep_waveforms)
            for source in SPLITS
            if source in sources.values()
        }
        reader.report()
        return Data(
            **{split: loaded[source] for split, source in sources.items()},
            nb_features=NB_BINS,
            classes=listing.classes,
            validation=listing.validation,
            checksums=reader.checksums,
            sample_rate=next(iter(loaded.values())).sample_rate,
            facts={"split_by": listing.rule, "files_left_out": len(reader.bad)},
        )

    def _list_clips(self, folder: Path) -> Listing:
        try:
            if folder.is_dir():
                return self.list_clips(folder)
        except OSError as error:
            raise DataError(f"cannot look into {error.filename} ({error.strerror})") from error
        raise DataError(
            f"no folder {folder} for {self.expected}: `python -m datasets.download {self.name}` "
            f"gets the data from {self.url}; or say where they are with --data_folder"
        )

    def _report(self, listing: Listing, say: Callable[[str], None]) -> None:
        counts = [
            f"{len(listing.clips[split]):,} {SPLIT_NAMES[split]}"
            for split in SPLITS
            if split in listing.clips
        ]
        say(
            f"{self.name}: {', '.join(counts[:-1])} and {counts[-1]} clips of "
            f"{len(listing.classes)} classes, split by {listing.rule}"
        )
        for note in listing.notes:
            say(f"{self.name}: {note}")
        if len(listing.classes) != self.nb_classes:
            say(
                f"{self.name}: {len(listing.classes)} words here, where {self.title} has "
                f"{self.nb_classes}: results do not compare with published ones"
            )
