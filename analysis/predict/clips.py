# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The clips that a command line names, and what a network takes each of them for."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from analysis.listening import Answer, Listener
from datasets.binning import read_annotations, read_class_names, read_clips
from datasets.errors import DataError
from datasets.files import ARCHIVES, readable, unpacked
from datasets.guard import ANY_LABEL, check_new_files
from datasets.recordings import FORMATS, SUFFIXES, BadRecordingError, Recording, read_in_order
from datasets.splits import recordings_in, subfolders
from training.data.loading import order_of_batches
from training.terminal.console import progress_bar

HDF5 = (".h5", ".hdf5", ".hdf")
READERS = 8  # threads, as training reads by default
LONG = 1.5  # times the longest clip of the training, from which a recording is searched for words
SKIP = "repair or remove it, or pass --skip_bad_files"


@dataclass(frozen=True)
class Found:
    """A recording that was named, ``place`` being its number in the folder that was."""

    path: Path
    place: int = 0


@dataclass(frozen=True)
class Prediction:
    """What a network takes a clip for, or what it hears from ``start`` to ``end`` s of a recording.

    ``decided`` is the time in s from which on the class that leads is the final one, None for a
    network that hears clips from both ends. ``label`` is the true class, where it is known.
    """

    clip: str
    start: float
    end: float
    word: str
    probability: float
    runner_up: str
    runner_up_probability: float
    decided: float | None
    label: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the word is the true class."""
        return self.word == self.label


@dataclass(frozen=True)
class TestClips:
    """The test clips of a run in their order: names, true classes, and what it took them for.

    ``own`` has the last of these by the name of a prediction, for those that are such a clip.
    """

    __test__ = False  # no class of tests

    names: list[str]
    labels: list[str]
    predicted: list[str]
    own: dict[str, str] = field(default_factory=dict)

    def key(self, path: Path) -> str:
        """As much of a path as the names have of it."""
        depth = self.names[0].count("/") + 1 if self.names else 1
        return readable("/".join(path.parts[-depth:]))


def read_test_clips(folder: Path) -> TestClips:
    """What test_clips.csv in the folder of a run says; nothing for one of earlier versions."""
    try:
        with open(folder / "test_clips.csv", encoding="utf-8", newline="") as file:
            rows = [(row["clip"], row["class"], row["predicted"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        rows = []
    return TestClips(*([row[column] for row in rows] for column in range(3)))


def find_clips(paths: Iterable[Path]) -> tuple[list[Found], list[Path]]:
    """The recordings, and the HDF5 files of spikes, that ``paths`` name; folders with all in them.

    Folders whose name begins with ``_`` or ``.`` (background noise) are skipped. Raises DataError
    for a path that does not exist, or is or holds nothing of the kind.
    """
    sounds, spikes = [], []
    for path in paths:
        if path.is_dir():
            found = [*_files_below(path)]
            if not found:
                raise DataError(f"{path} holds no {FORMATS} or HDF5 files")
        elif path.exists():
            found = [path]
        else:
            raise DataError(f"{path} does not exist: name {FORMATS} or HDF5 files, or folders")
        heard = [file for file in found if file.name.lower().endswith(SUFFIXES)]
        sounds += [Found(file, place) for place, file in enumerate(heard)]
        others = [file for file in found if file not in heard] if path.is_file() else _hdf5(found)
        for file in others:
            if not _hdf5([file]):
                raise DataError(f"{file} is no {FORMATS} or HDF5 file, by its name")
        spikes += others
    return sounds, spikes


def _hdf5(files: list[Path]) -> list[Path]:
    """Those that hold spikes, without archives of those that are unpacked already."""
    endings = (*HDF5, *(f"{kind}{packed}" for kind in HDF5 for packed in ARCHIVES))
    kept = [file for file in files if file.name.lower().endswith(endings)]
    return [f for f in kept if f.suffix not in ARCHIVES or f.with_suffix("") not in kept]


def _files_below(folder: Path) -> Iterator[Path]:
    """Recordings and HDF5 files, in the order in which training finds them."""
    yield from (folder / name for name in recordings_in(folder))
    yield from _hdf5(sorted(path for path in folder.iterdir() if path.is_file()))
    for name in subfolders(folder):
        yield from _files_below(folder / name)


class Reader:
    """Recordings as what a network hears; bad ones are noted in ``bad`` where they may be skipped,
    and a DataError elsewhere.

    Args:
        listener: the network.
        longest: s from which a recording is kept whole, to be searched for words; 0: none is.
        skip_bad_files: whether to do without files that cannot be used.
    """

    def __init__(self, listener: Listener, longest: float, *, skip_bad_files: bool = False):
        self.listener, self.longest, self.skip_bad_files = listener, longest, skip_bad_files
        self.bad: list[str] = []

    def read(self, found: Sequence[Found]) -> tuple[dict[int, Tensor], dict[int, Recording]]:
        """What the network hears [T, F] of the clips, and the long recordings, by their index; and
        the durations of the clips in s."""
        inputs, long, self.seconds = {}, {}, {}
        paths = (clip.path for clip in found)
        with progress_bar(len(found), "hearing", " files") as bar:
            for index, sound in enumerate(read_in_order(paths, READERS)):
                bar.update()
                try:
                    if isinstance(sound, BadRecordingError):
                        raise DataError(str(sound))
                    seconds = len(sound.samples) / sound.rate
                    if self.longest and seconds > self.longest:
                        long[index] = sound
                        continue
                    inputs[index] = self.listener.input_of(sound, found[index].place)
                    self.seconds[index] = seconds
                except DataError as reason:
                    self.refuse(f"{found[index].path} {reason}")
        return inputs, long

    def refuse(self, reason: str) -> None:
        """DataError, unless bad files are to be skipped."""
        if not self.skip_bad_files:
            raise DataError(f"{reason}: {SKIP}") from None
        self.bad.append(reason)


def in_batches(
    listener: Listener, tested: Sequence[int], lengths: dict[int, int]
) -> Iterator[list[int]]:
    """The indices of the clips of every batch, of ``lengths`` in steps, and the initial states that
    a test would draw.

    Those ``tested``, all of the test of a run, are in its order, as its test had them. The batches
    of others are of one length each, so that no clip depends on its neighbours.
    """
    by_length: dict[int, list[int]] = {}
    for index in sorted(lengths.keys() - set(tested)):
        by_length.setdefault(lengths[index], []).append(index)
    for alike in (list(tested), *(by_length[length] for length in sorted(by_length))):
        listener.start()
        size = listener.config.training.batch_size
        for places in order_of_batches(len(alike), size, shuffle=False) if alike else ():
            yield [alike[place] for place in places.tolist()]


def heard(
    listener: Listener, inputs: dict[int, Tensor], tested: Sequence[int], label: str
) -> Iterator[tuple[list[int], Answer]]:
    """The answers to batches of clips [T, F], each with their indices; on the CPU."""
    for index in inputs.keys() - set(tested):
        inputs[index] = listener.padded(inputs[index])
    lengths, known = {index: len(x) for index, x in inputs.items()}, set(tested)
    with progress_bar(len(inputs), label) as bar:
        for batch in in_batches(listener, tested, lengths):
            x = pad_sequence([inputs[index] for index in batch], batch_first=True)
            yield batch, listener.answer(x, alone=batch[0] not in known).cpu()
            bar.update(len(batch))


def predictions(
    listener: Listener, answer: Answer, clips: Sequence[tuple[str, float, float, str | None]]
) -> list[Prediction]:
    """What the network takes clips for, of the name, start and end in s, and true class of each."""
    (chances, words), steps = answer.probabilities().topk(2), answer.deciding_steps()
    chances, words, found = chances.tolist(), words.tolist(), []
    for row, (clip, start, end, truth) in enumerate(clips):
        (first, second), (chance, next_chance) = words[row], chances[row]
        decided = None if steps is None else listener.seconds_heard(int(steps[row]))
        names = listener.classes[first], listener.classes[second]
        best, runner_up = (names[0], chance), (names[1], next_chance)
        found.append(Prediction(clip, start, end, *best, *runner_up, decided, truth))
    return found


def predict_recordings(
    listener: Listener, reader: Reader, found: Sequence[Found], test: TestClips
) -> tuple[dict[int, Prediction], dict[int, Recording]]:
    """What the network takes recordings for, and those that are too long for that, by their index.

    Where all test clips of the run are among them, those are heard as its test heard them, so that
    they are taken for the same; ``test`` also knows their classes.
    """
    inputs, long = reader.read(found)
    keys = {test.key(found[index].path): index for index in inputs}
    tested = [keys[name] for name in test.names if name in keys]
    tested = tested if len(tested) == len(test.names) else []
    truths = dict(zip(test.names, test.labels, strict=True))
    taken = dict(zip(test.names, test.predicted, strict=True))
    test.own.update({str(found[keys[name]].path): taken[name] for name in taken if tested})

    def described(index: int) -> tuple[str, float, float, str | None]:
        path = found[index].path
        word = readable(path.absolute().parent.name)
        truth = word if word in listener.classes else truths.get(test.key(path))
        return str(path), 0.0, reader.seconds[index], truth

    results = {}
    for batch, answer in heard(listener, inputs, tested, "classifying"):
        clips = predictions(listener, answer, list(map(described, batch)))
        results.update(zip(batch, clips, strict=True))
    return results, long


def predict_spikes(listener: Listener, path: Path, test: TestClips) -> list[Prediction]:
    """What the network takes the clips of an HDF5 file for, in their order, as a test does.
    A file whose clips are of the classes of ``test``, in its order, is that of the test.

    Raises DataError where it does not hear spikes, or the file cannot be read.
    """
    binning = listener.binning
    if binning is None:
        raise DataError(
            f"{path} holds spikes, and the network in {listener.folder} hears {FORMATS} files"
        )
    whole = unpacked(path)
    check_new_files([whole])
    annotations, names = read_annotations(whole, ANY_LABEL), read_class_names(whole)
    if not (names and listener.names_classes):  # labels are the outputs by number
        names = listener.classes
    chunks = [
        listener.input_of_spikes(times, units, whole, first)
        for first, times, units in read_clips(whole)
    ]
    inputs = dict(enumerate(torch.cat(chunks)))
    truths = [names[label] if label < len(names) else None for label in annotations.labels]
    clip_names, results = [f"{path}#{i}" for i in inputs], []
    if truths == test.labels:
        test.own.update(zip(clip_names, test.predicted, strict=True))
    for batch, answer in heard(listener, inputs, list(inputs), path.name):
        clips = [(clip_names[i], 0.0, binning.max_time, truths[i]) for i in batch]
        results += predictions(listener, answer, clips)
    return results
