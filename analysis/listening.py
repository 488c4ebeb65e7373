# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From the folder of a run and a recording to what its network hears, and what it answers.

    listener = open_listener("MY_RUN")
    x = listener.input_of(read_recording(Path("yes.wav")))     # [T, F], as the run was trained
    answer = listener.answer(x[None])
    listener.classes[answer.scores[0].argmax()]

Everything is read from the run: its config.yaml says whether it hears log-mel features or spikes
and how these are binned, its data.json the names of the classes, the sampling rate and the
channels. The data that it was trained on need not be there.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.trained import read_options, run_folder
from datasets.binning import Binning, bin_clips
from datasets.errors import DataError
from datasets.features import FILTERBANKS, FRAME_MS, SHIFT_MS, frame_counts, torchaudio_fbank
from datasets.recordings import FULL_SCALE, Recording, resample
from datasets.registry import DATASETS
from models.dynamics import potentials
from models.network import Network
from models.readouts import ANNReadoutLayer, ReadoutLayer, find_readout
from models.ssms import MeanReadout
from parsers.load import Config
from parsers.training_config import SPIKES
from training.build import build_model
from training.data import same_data
from training.device.choice import choose_device, set_up
from training.errors import CheckpointError
from training.record import checkpoint

USUAL_RATE, USUAL_SECONDS = 16_000, (1.0, 1.0, 1.0)  # Hz and s, of the published recordings
EAR_RATE = 16_000  # Hz, as `datasets.cochlea`, whose import takes a second


class Answer(NamedTuple):
    """What a network says to a batch of clips.

    ``scores`` [B, C] are those that training and tests take the class from. ``running``
    [B, T - first, C] are the scores after every step, as if the clip ended there; the ``first``
    steps of some readouts count for no class. None for a network that hears clips from both ends,
    which has no answer before the end.
    """

    scores: Tensor
    running: Tensor | None
    first: int = 0

    def cpu(self) -> "Answer":
        """The same on the CPU."""
        running = None if self.running is None else self.running.cpu()
        return Answer(self.scores.cpu(), running, self.first)

    def probabilities(self) -> Tensor:
        """Of the classes [B, C]: softmax of the scores, whose cross-entropy training minimises."""
        return torch.softmax(self.scores.double(), dim=1)

    def deciding_steps(self) -> Tensor | None:
        """The step [B] int64 from which on the class that leads is the final one."""
        if self.running is None:
            return None
        steps = self.running.shape[1]
        other = self.running.argmax(dim=2) != self.scores.argmax(dim=1)[:, None]
        last = torch.where(other, torch.arange(steps, device=other.device), -1).amax(dim=1)
        return self.first + (last + 1).clamp(max=steps - 1)


@dataclass(frozen=True)
class Listener:
    """A trained network, in evaluation mode on its device, and how it hears.

    ``rate`` in Hz is what sound is resampled to; ``classes`` are the names of the outputs, and
    ``seconds`` the usual duration of what it was trained on, that which few clips exceed, and the
    longest. ``notes`` say in a line each what the folder does not, and what is assumed instead;
    ``ear_note`` is one for those who let a network of spikes hear sound, empty where there is
    nothing to say.
    """

    folder: Path
    config: Config
    model: Network
    classes: list[str]
    rate: int
    seconds: tuple[float, float, float]
    binning: Binning | None  # of spikes; None for features
    notes: tuple[str, ...] = ()
    ear_note: str = ""
    ear_seed: int = 0

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.model.parameters()).device

    @property
    def names_classes(self) -> bool:
        """Whether the classes have names, rather than numbers for want of them."""
        return self.classes != list(map(str, range(len(self.classes))))

    @property
    def step_seconds(self) -> float:
        """Time from one step to the next."""
        training = self.config.training
        return DATASETS[training.dataset_name].step_seconds(training)

    def seconds_heard(self, step: int) -> float:
        """How much of a clip, in s from its start, the network has heard after ``step``, from 0."""
        return seconds_heard(self.binning, step)

    def input_of(self, sound: Recording, place: int = 0) -> Tensor:
        """What the network hears of a recording at any rate: [T, F] float32 on the CPU.

        Features are those of training, to the bit. Spikes are made by the model of the inner ear,
        `datasets.cochlea`, whose nerve fibres draw random numbers from the seed with which the data
        of the training were made, and from ``place``, the number of the clip. Events after
        ``max_time`` are dropped, as in training.

        Raises DataError for sound that is too short for a frame, or that the ear does not hear.
        """
        if self.binning is not None:
            from datasets.cochlea import spikes_from_audio  # takes a second, and features need none

            times, units = spikes_from_audio(*sound, [self.ear_seed, place])
            return self.input_of_spikes([times], [units])[0].float()
        samples = resample(sound, self.rate).samples
        if frame_counts(len(samples), self.rate) == 0:
            length = f"{1000 * len(samples) / self.rate:.1f} ms"
            raise DataError(f"is too short: {length}, where a frame takes {FRAME_MS}")
        wave = torch.from_numpy(samples)[None].float().div_(FULL_SCALE)
        return FILTERBANKS[self.config.training.feature_backend](wave, self.rate)[0]

    def padded(self, x: Tensor) -> Tensor:
        """A clip ``x`` [T, F] as most batches of the training had it: zeros behind a short one."""
        steps = len(x)
        if self.binning is None:
            steps = int(frame_counts(round(self.seconds[1] * self.rate), self.rate))
        return functional.pad(x, (0, 0, 0, max(0, steps - len(x))))

    def input_of_spikes(
        self,
        times: Sequence[np.ndarray],
        units: Sequence[np.ndarray],
        path: Path = Path("spikes"),
        first: int = 0,
    ) -> Tensor:
        """Clips of spikes, ``times`` [E] in s and ``units`` [E] of each, as counts [B, T, F] uint8.

        ``first`` is the number of the first of them in ``path``, which errors name. Raises
        DataError for events that cannot be binned.
        """
        return torch.from_numpy(bin_clips(times, units, self.binning, path, first).counts)

    def start(self) -> None:
        """Draw the initial states of what follows as a test of the run does: from its seed."""
        torch.manual_seed(self.config.training.seed)

    @torch.no_grad()
    def answer(self, x: Tensor, *, alone: bool = False) -> Answer:
        """What the network says to the batch ``x`` [B, T, F]; its scores are those of a test.

        ``alone``: each clip starts as it would after ``start`` as the only one.
        """
        if alone:
            self.start()
        with watching(self.model) as steps, alike(self.model) if alone else nullcontext():
            scores = self.model(x.to(self.device, torch.float32))[0]
        return Answer(scores, *steps())


def seconds_heard(binning: Binning | None, step: int) -> float:
    """How much of a clip, in s from its start, lies behind ``step``, from 0, of spikes that are
    binned, or of frames of features."""
    if binning is not None:  # the first bin lies before the clip
        return step * binning.bin_seconds
    return (step * SHIFT_MS + FRAME_MS) / 1000


def open_listener(name: str | Path, *, config: str | None = None, gpu_device: int = 0) -> Listener:
    """A run, named as for `analysis.trained.run_folder`, ready to listen.

    ``config`` names the options of a folder without a config.yaml. Raises ConfigError,
    ExperimentError (CheckpointError among them), with one line for the user.
    """
    folder = run_folder(name)
    options = read_options(folder, config)
    path = checkpoint.find_weights(folder)
    weights = checkpoint.read_weights(path)
    record = same_data.recorded(folder)
    training = same_data.as_recorded(record, options.training)
    binning = Binning.of(training) if SPIKES.are_met(options.to_dict()) else None
    notes = []
    if record is None:
        classes = [str(label) for label in range(_outputs(weights, path))]
        notes.append(
            f"{folder} has no data.json, which names the classes in runs of today: they are numbers"
        )
    else:
        classes = record["classes"]
    rate, seconds, ear_note = training.sample_rate, (record or {}).get("seconds"), ""
    ear_seed = (record or {}).get("inner_ear_seed")
    if binning is not None:
        rate, seconds = EAR_RATE, [binning.max_time] * 3
        if training.dataset_name != "demo" and ear_seed is None:
            ear_note = (
                f"{folder} was trained on spikes that are not known to come from datasets.cochlea, "
                "which makes spikes of sound here: what it says to them may be less reliable"
            )
    elif not (rate and seconds):
        rate, seconds = rate or USUAL_RATE, seconds or USUAL_SECONDS
        notes.append(
            f"{folder} does not say all about its recordings: clips of {seconds[0]:g} s at {rate} "
            "Hz are assumed"
        )
    if training.feature_backend != "torch" and torchaudio_fbank() is None:
        notes.append("torchaudio does not import here: features are those of our own filterbank")
        options = replace(options, training=replace(options.training, feature_backend="torch"))
    device = choose_device(gpu_device)
    set_up(device)
    features = DATASETS[training.dataset_name].nb_features(training)
    model = build_model(options, features, len(classes))
    checkpoint.load_weights(model, path)
    model = model.to(device).eval()
    hearing = rate, tuple(seconds), binning, tuple(notes), ear_note, ear_seed or 0
    return Listener(folder, options, model, classes, *hearing)


def _outputs(weights: dict, path: Path) -> int:
    """Classes of a network by its weights: rows of its last matrix."""
    rows = [
        len(value) for value in weights.values() if isinstance(value, Tensor) and value.ndim > 1
    ]
    if not rows:
        raise CheckpointError(f"{path} holds no layer of a network")
    return rows[-1]


@contextlib.contextmanager
def watching(model: Network) -> Iterator:
    """A function that gives, after a pass, the scores of every beginning of the clips, and how many
    steps have none: see `Answer`."""
    last, kept = model.layers[-1], []

    def begin(x, state):
        kept.append(type(last).start(last, x, state))
        return kept[0]

    hook = None
    if isinstance(last, ReadoutLayer):
        last.start = begin
    else:
        hook = last.register_forward_hook(lambda _, given, made: kept.append((given[0], made)))
    try:
        yield lambda: _after_every_step(last, kept[0], model)
    finally:
        if hook is None:
            del last.start
        else:
            hook.remove()


@contextlib.contextmanager
def alike(model: Network) -> Iterator[None]:
    """Let all clips of a batch start from the random states that a single one would draw."""
    layers = [layer for layer in model.layers if getattr(layer, "init_state", "") == "rand"]

    def start(layer, current):
        state = type(layer).initial_state(layer, current[:1])
        if isinstance(state, Tensor):
            return state.expand(len(current), -1)
        parts = [x.expand(len(current), -1) if isinstance(x, Tensor) else x for x in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)

    for layer in layers:
        layer.initial_state = partial(start, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.initial_state


def _after_every_step(last: nn.Module, kept, model: Network) -> tuple[Tensor | None, int]:
    given, made = kept
    if any(getattr(layer, "bidirectional", False) for layer in model.layers):
        return None, 0
    if isinstance(last, ReadoutLayer):
        steps, _ = potentials(given, last.decay(), state=made, backend=last.backend)
        counted = last.counted(steps)
        return find_readout(last.readout).running(counted), steps.shape[1] - counted.shape[1]
    if isinstance(last, MeanReadout):
        return find_readout("mean").running(last.linear(given)), 0
    if isinstance(last, ANNReadoutLayer) and last.readout == "softmax_sum":
        return last.current(find_readout("softmax_sum").running(given)), 0
    steps = last.current(given) if isinstance(last, ANNReadoutLayer) else made.output
    return find_readout(model.readout if model.is_snn else last.readout).running(steps), 0
