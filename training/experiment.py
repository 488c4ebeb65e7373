# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One experiment: build a network, train it, test the best one, write everything down."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from datasets.audio import AudioData
from datasets.spiking import SpikingData
from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.dynamics.backends import announce_again
from models.linear import set_precision
from models.snns import SNN
from parsers.load import Config
from training import divergence
from training.batchnorm import recalibrate
from training.checks import note_own_recurrences, warn_of_idle_layers, warn_of_unreached
from training.data import same_data
from training.data.augmentation import augmented
from training.data.loading import batches, order_of_batches
from training.device.allocator import keep_freed_memory
from training.divergence import BadStepError
from training.errors import DivergedError, ExperimentError
from training.metrics import Meter, Metrics, count_parameters
from training.record import checkpoint, files, folders, state
from training.record.files import going_on_without
from training.record.repository import code_version
from training.record.summary import finish
from training.steps import Steps
from training.terminal.console import EPOCH_HEADER, closing_table, epoch_line, log, log_file
from training.terminal.live import LiveBar
from training.terminal.stopping import Stopped, StopRequest, stop_request
from training.tracking.run import Tracker, tracked

MIN_LR = 1e-6


def choose_device(gpu_device: int) -> torch.device:
    """CUDA device ``gpu_device``, or the CPU on a machine without any.

    Raises ExperimentError for a device that is not there.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_device < available:
        return torch.device("cuda", gpu_device)
    if gpu_device == 0:
        return torch.device("cpu")
    raise ExperimentError(
        f"--gpu_device {gpu_device}: this machine has {available} CUDA devices"
        + (f", numbered from 0 to {available - 1}" if available else "; leave the flag out")
    )


def describe_device(device: torch.device) -> str:
    """One line that says where the run computes."""
    if device.type == "cuda":
        return f"Running on {torch.cuda.get_device_name(device)} ({device})"
    threads = torch.get_num_threads()
    return f"No CUDA device found: running on the CPU with {threads} thread{'s' * (threads > 1)}"


def describe_precision(precision: str, device: torch.device) -> str:
    """One line about matrix products that are not float32."""
    if precision == "tf32" and device.type != "cuda":
        return "Matrix products: fp32 (tf32 is for GPUs, and has no effect on the CPU)"
    return f"Matrix products: {precision}"


def build_model(config: Config, nb_features: int, nb_classes: int) -> nn.Module:
    """The network that ``config`` describes, its weights drawn from torch's generator.

    Raises ExperimentError for options that no network can have.
    """
    options = config.model
    shape = (None, None, nb_features)
    sizes = [options.nb_hiddens] * (options.nb_layers - 1) + [nb_classes]
    common = {
        "dropout": options.pdrop,
        "normalization": options.normalization,
        "use_bias": options.use_bias,
        "bidirectional": options.bidirectional,
        "backend": config.training.backend,
    }
    try:
        if options.model_type in ANN_LAYERS:
            model = ANN(shape, sizes, options.model_type, **common)
        else:
            model = SNN(
                shape,
                sizes,
                options.model_type,
                extra_features=asdict(options),
                init_state=options.init_state,
                **common,
            )
    except ValueError as error:
        raise ExperimentError(str(error)) from None
    set_precision(model, config.training.precision)
    return model


class Experiment:
    """A network, its data and its folder.

    Args:
        config: the resolved options (``.model`` and ``.training``).
        data: the splits, see ``training.data.loading.load_data``.
        folder: where the run is written down; it exists. None: nothing is written.
        device: where to compute.
    """

    def __init__(
        self,
        config: Config,
        data: SpikingData | AudioData,
        folder: Path | None,
        device: torch.device,
    ):
        self.config = config
        self.options = config.training
        self.data = data
        self.folder = folder
        self.device = device
        if device.type == "cpu":
            keep_freed_memory()
        else:
            torch.cuda.set_device(device)  # PyTorch asks some things of "the" GPU
        torch.manual_seed(self.options.seed)
        self.model = build_model(config, data.nb_features, data.nb_classes).to(device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.options.lr, fused=device.type == "cuda"
        )
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            mode="max",
            factor=self.options.scheduler_factor,
            patience=self.options.scheduler_patience,
            min_lr=MIN_LR,
        )
        self.steps = Steps(self.model, self.optimizer, self.options, data.nb_features)
        self.best: state.Best | None = None
        self.lacks_best = False  # whether the disk refused the best weights
        self.history: list[dict] = []
        self.progress = state.Progress(self.options.start_epoch)
        self.stop = StopRequest()
        self.tracker = Tracker()
        self.last_saved = time.monotonic()
        self.has_stepped = self.has_told_epochs = False

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return self.optimizer.param_groups[0]["lr"]

    def fit(self) -> dict:
        """Train, test the best model, and return the summary that also lies in summary.json.

        Raises DivergedError when the loss is no longer finite, and Stopped, with the state saved,
        after SIGINT or SIGTERM.
        """
        log_path = self.folder / "log" / "exp.log" if self.options.log_tofile else None
        code_version()  # before anyone edits the files
        with (
            log_file(log_path),
            stop_request() as self.stop,
            tracked(self.config, self.folder, self.history) as self.tracker,
        ):
            log.info(describe_device(self.device))
            if self.options.precision != "fp32":
                log.info(describe_precision(self.options.precision, self.device))
            log.info(self.describe())
            announce_again()
            note_own_recurrences(self.model)
            if self.progress.epoch > self.options.start_epoch or self.progress.step:
                log.info("Going on after %s", describe_progress(self.progress))
            last = self.options.start_epoch + self.options.nb_epochs
            for epoch in range(self.progress.epoch + 1, last + 1):
                self.run_epoch(epoch, last)
            summary = finish(self)
            self.tracker.end(summary)
            log.info("\n%s\n", closing_table(summary))
            log.info("Everything about this run lies in %s", self.folder)
        return summary

    def describe(self) -> str:
        """One line about the network and its data."""
        sizes = [self.data.nb_features, *self.model.layer_sizes]
        return (
            f"{self.config.model.model_type} {'-'.join(map(str, sizes))}, "
            f"{count_parameters(self.model):,} parameters, on {self.options.dataset_name}: "
            f"{len(self.data.train):,} train, {len(self.data.valid):,} validation "
            f"({self.data.validation}), {len(self.data.test):,} test clips"
        )

    def run_epoch(self, epoch: int, last: int) -> None:
        """Train and validate once; keep the best weights; write down both."""
        begin, lr = time.perf_counter() - self.progress.epoch_seconds, self.lr
        train = self.train_pass(epoch, last)
        if self.options.bn_statistics == "recalibrated":
            recalibrate(self.model, self.data.train, self.options.batch_size, self.options.seed)
        valid = self.validate(f"epoch {epoch}/{last} valid")
        self.check_finite(epoch, valid.loss)
        is_best = self.best is None or valid.accuracy > self.best.valid.accuracy
        if is_best:
            weights = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
            self.best = state.Best(epoch, valid, weights)
        self.scheduler.step(valid.accuracy)
        self.mend_folder()
        if not self.has_told_epochs:
            self.has_told_epochs = True
            log.info(EPOCH_HEADER)
        log.info(epoch_line(epoch, last, train, valid, lr, is_best))
        warn_of_idle_layers(train)
        for split, metrics in (("train", train), ("valid", valid)):
            record = {"epoch": epoch, "split": split, "lr": lr, **metrics.to_dict()}
            self.history.append(record)
            with going_on_without("metrics.jsonl"):
                files.append_line(self.folder / "metrics.jsonl", record)
        if is_best:
            self.write_best()
        seconds = self.progress.seconds + time.perf_counter() - begin
        self.progress = state.Progress(epoch, seconds=seconds)
        self.save()
        self.tracker.epoch(self.history[-2:])

    def write_best(self) -> None:
        """Write the best weights, if that is asked for."""
        if not self.options.save_best:
            return
        self.lacks_best = True
        with going_on_without("the best model"):
            files.write_torch(self.folder / checkpoint.BEST, self.best.weights)
            self.lacks_best = False

    def mend_folder(self) -> None:
        """Make the folder again if it was deleted meanwhile, with all that is known of the run."""
        if (self.folder / checkpoint.BEST).parent.is_dir():
            return
        log.error("%s was deleted or moved away; it is made again", self.folder)
        with going_on_without("the folder again"):
            folders.lay_out(self.folder, self.config.to_dict())
            same_data.write(self.folder, self.options, self.data)
            lines = "".join(map(files.as_line, self.history))
            files.write_text(self.folder / "metrics.jsonl", lines)
            if self.best is not None:
                self.write_best()

    def validate(self, label: str) -> Metrics:
        """Evaluate on the validation split; a stop within it leaves the training pass saved."""
        before = state.random_state(self.device)
        try:
            return self.evaluate(self.data.valid, label)
        except Stopped:
            state.restore_random_state(before, self.device)
            self.save()
            raise

    def save(self) -> None:
        """Write the whole state of training, from which ``resume`` goes on."""
        with going_on_without("the state to resume from"):
            state.save(self, self.folder / checkpoint.LAST)
        self.last_saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the state in the folder.

        Raises CheckpointError if there is none, or if it does not fit the options, and
        ExperimentError if more epochs are done than are asked for.
        """
        path = self.folder / checkpoint.LAST
        state.restore(self, state.load(path), path)
        if self.best is not None:
            self.write_best()  # the disk may have refused them before
        done, wanted = self.progress.epoch, self.options.nb_epochs
        if done - self.options.start_epoch > wanted:
            raise ExperimentError(
                f"cannot go on with {self.folder}: {done - self.options.start_epoch} epochs are "
                f"done, and --nb_epochs {wanted} asks for less"
            )
        records = files.read_lines(self.folder / "metrics.jsonl")
        self.history = [r for r in records if r["epoch"] <= done and r["split"] != "test"]
        files.write_text(self.folder / "metrics.jsonl", "".join(map(files.as_line, self.history)))

    def train_pass(self, epoch: int, last: int) -> Metrics:
        """One pass over the training split, or the rest of one that was interrupted."""
        self.model.train()
        progress, meter = self.progress, self.steps.empty_training_meter()
        begin = time.perf_counter() - progress.epoch_seconds
        order = self.training_order(meter)
        clips = augmented(
            self.data.train, self.options, epoch=epoch, step=progress.step, device=self.device
        )
        with LiveBar(len(self.data.train), f"epoch {epoch}/{last} train", meter) as bar:
            for x, y in batches(clips, self.options.batch_size, order):
                self.train_step(x, y, meter)
                bar.advance(len(y))
                progress.step += 1
                self.save_between_steps(meter, begin)
        divergence.stop_if_bad(self)
        seconds = time.perf_counter() - begin
        progress.meter, progress.epoch_seconds = meter.state(), seconds
        metrics = meter.result(seconds, regularized=self.options.use_regularizers)
        self.check_finite(epoch, metrics.loss)
        return metrics

    def training_order(self, meter: Meter) -> Iterator[torch.Tensor]:
        """The batches that are still to come in this epoch; ``meter`` gets the sums of the others.

        The order follows from the random state at the begin of the epoch, so an interrupted epoch
        draws it again, skips what is done, and goes on with the random state of the interruption.
        """
        progress = self.progress
        now = state.random_state(self.device)
        if progress.step == 0:
            progress.rng = now
        state.restore_random_state(progress.rng, self.device)
        order = iter(order_of_batches(len(self.data.train), self.options.batch_size, shuffle=True))
        if progress.step > 0:
            meter.restore(progress.meter)
            for _ in range(progress.step):
                next(order)
            state.restore_random_state(now, self.device)
        return order

    def save_between_steps(self, meter: Meter, begin: float) -> None:
        """Save within an epoch when it is time, or before a stop that was asked for."""
        due = time.monotonic() - self.last_saved > 60 * self.options.checkpoint_minutes
        if due or self.stop.signum is not None:
            divergence.stop_if_bad(self)
            self.progress.meter = meter.state()
            self.progress.epoch_seconds = time.perf_counter() - begin
            self.save()
        self.stop.check()

    def check_finite(self, epoch: int, loss: float) -> None:
        """DivergedError if an epoch ended in numbers that are none.

        Weights are looked at too: a threshold turns NaN into silence, and the loss stays finite.
        """
        broken = [name for name, p in self.model.named_parameters() if not p.isfinite().all()]
        if broken or not math.isfinite(loss):
            what = f"'{broken[0]}'" if broken else f"the loss ({loss})"
            raise DivergedError(
                f"training diverged in epoch {epoch}, {what} is not finite: try a smaller "
                f"--lr (now {self.lr:g}){divergence.what_is_kept(self)}"
            )

    def train_step(self, x: torch.Tensor, y: torch.Tensor, meter: Meter) -> None:
        """One gradient step on a batch; DivergedError if a number in it is not finite."""
        try:
            self.steps.train(x, y, meter)
        except BadStepError:
            random = self.steps.watch.random_states[-1]
            divergence.stop(self, self.progress.step + 1, random, x, y)
        if not self.has_stepped:
            self.has_stepped = True
            warn_of_unreached(self.model)

    def evaluate(self, split, label: str) -> Metrics:
        """One pass over ``split`` without learning."""
        self.model.eval()
        meter, begin = self.steps.new_meter(), time.perf_counter()
        with LiveBar(len(split), label, meter) as bar:
            for x, y in batches(split, self.options.batch_size):
                self.steps.evaluate(x, y, meter)
                bar.advance(len(y))
                self.stop.check()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # until then the pass is only asked for
        return meter.result(time.perf_counter() - begin)

    def test(self, seed: int) -> Metrics:
        """Test the present weights; ``seed`` sets the random initial states."""
        torch.manual_seed(seed)
        return self.evaluate(self.data.test, "test")


def describe_progress(progress: state.Progress) -> str:
    """How far a resumed run had come."""
    done = f"epoch {progress.epoch}"
    return f"{done} and {progress.step} batches of the next" if progress.step else done
