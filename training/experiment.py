# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One experiment: train a network, keep the best of it, test that, write everything down."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import torch

from datasets.interface import Data, Split
from models.dynamics.backends import Compilation
from parsers.load import Config
from training import diverged
from training.build import (
    build_model,
    build_optimizer,
    build_scheduler,
    introduce,
    rates_in_force,
    refuse_unreached,
    warn_of_chance,
    warn_of_idle_layers,
)
from training.data.loading import augmented, batches, order_of_batches
from training.device.choice import (
    random_state,
    restore_random_state,
    set_up,
    threads_worth_waking,
)
from training.device.graphs import Launcher
from training.errors import DivergedError, StoppedEarlyError
from training.metrics import Meter, Metrics
from training.record.checkpoint import Best, Progress, Trained
from training.record.files import continuing_without
from training.record.recorder import Recorder
from training.steps import BadStepError, Steps
from training.terminal.console import (
    LiveBar,
    Stopped,
    StopRequest,
    log,
    log_epoch,
    log_file,
    log_summary,
    stop_request,
)
from training.tracking.wandb_run import Tracker, tracked

# Told the validation accuracy of all epochs, and whether there is no other; whether to stop.
Judge = Callable[[list[float], bool], bool]


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
        data: Data,
        folder: Path | None,
        device: torch.device,
    ):
        statistics = "recalibrated" if data.unpublished else "running"
        self.config = config.settled({"bn_statistics": statistics, **data.settled})
        self.options = self.config.training
        self.data = data
        self.folder = folder
        self.device = device
        set_up(device)
        torch.manual_seed(self.options.seed)
        self.model = build_model(config, data.nb_features, data.nb_classes).to(device)
        self.optimizer = build_optimizer(self.model, self.options)
        self.scheduler = build_scheduler(self.optimizer, self.options, self.model)
        self.steps = Steps(self.model, self.optimizer, self.options, data.nb_features)
        on_gpu = device.type == "cuda"
        self.launcher = Launcher(self.steps, self.options.cuda_graph) if on_gpu else None
        self.trained = Trained(self.model, self.optimizer, self.scheduler)
        self.progress = Progress(self.options.start_epoch)
        if folder is not None:
            self.recorder = Recorder(folder, self.config, data)
        self.stop = StopRequest()
        self.tracker: Tracker | None = None  # on wandb, while `fit` runs
        self.judge: Judge | None = None
        self.has_stepped = self.has_logged = False
        self.predicted: list[torch.Tensor] = []  # classes [B] of the batches last evaluated

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return self.optimizer.param_groups[0]["lr"]

    def threads(self, split: Split) -> contextlib.AbstractContextManager[int]:
        """Within it a CPU computes batches of ``split`` on as many threads as are worth it."""
        if self.device.type == "cuda" or not self.model.is_snn:
            return contextlib.nullcontext(torch.get_num_threads())
        units = sum(layer.output_size for layer in self.model.hidden_layers)
        steps, _ = split.longest()
        return threads_worth_waking(self.options.batch_size * steps * units)

    def fit(self) -> dict:
        """Train, test the best model, and return the summary that also lies in summary.json.

        Raises DivergedError when a number is no longer finite, Stopped, with the state saved, after
        SIGINT or SIGTERM, and StoppedEarlyError when ``judge`` says so.
        """
        log_path = self.folder / "log" / "exp.log" if self.options.log_tofile else None
        tracking = contextlib.nullcontext()
        if self.config.is_tracked:
            tracking = tracked(self.config, self.folder, self.recorder.history)
        with (
            log_file(log_path),
            stop_request() as self.stop,
            tracking as self.tracker,
            self.threads(self.data.train) as most,
        ):
            introduce(self.config, self.data, self.model, most)
            if self.progress.epoch > self.options.start_epoch or self.progress.step:
                log.info("Resuming after %s", self.progress)
            last = self.options.start_epoch + self.options.nb_epochs
            for epoch in range(self.progress.epoch + 1, last + 1):
                self.run_epoch(epoch, last)
                if self.judge is not None and self.judge(self.recorder.accuracies, epoch == last):
                    raise StoppedEarlyError(f"stopped early, after epoch {epoch}")
            summary = self.finish()
            if self.tracker is not None:
                self.tracker.end(summary)
            with continuing_without("the closing table", Exception, "summary.json has it"):
                log_summary(summary)
            log.info("Everything about this run is in %s", self.folder)
        return summary

    def run_epoch(self, epoch: int, last: int) -> None:
        """Train and validate once; keep the best weights; write down both."""
        begin = time.perf_counter() - self.progress.epoch_seconds
        self.model.set_progress(epoch - 1, last)
        rates = rates_in_force(self.optimizer, self.model)
        train = self.train_pass(epoch, last)
        if self.options.bn_statistics == "recalibrated":
            self.steps.recalibrate(self.data.train)
        valid = self.validate(f"epoch {epoch}/{last} valid")
        self.check_finite(epoch, valid.loss)
        best = self.recorder.best
        is_best = best is None or valid.accuracy > best.valid.accuracy
        if is_best:
            self.recorder.best = Best.of(self.model, epoch, valid)
        self.scheduler.step(valid.accuracy)
        log_epoch(epoch, last, train, valid, rates["lr"], is_best, with_header=not self.has_logged)
        self.has_logged = True
        warn_of_idle_layers(train)
        self.recorder.epoch(epoch, rates, train, valid)
        warn_of_chance(self.recorder.history, self.data.valid.labels, self.options.bn_statistics)
        if is_best:
            self.recorder.write_best()
        seconds = self.progress.seconds + time.perf_counter() - begin
        self.progress = Progress(epoch, seconds=seconds)
        self.save()
        if self.tracker is not None:
            self.tracker.epoch(self.recorder.history[-2:])

    def train_pass(self, epoch: int, last: int) -> Metrics:
        """One pass over the training split, or the rest of one that was interrupted."""
        self.model.train()
        progress, meter = self.progress, self.steps.empty_training_meter()
        begin = time.perf_counter() - progress.epoch_seconds
        order = self.training_order(meter)
        clips = self.training_clips(progress.step)
        with LiveBar(len(self.data.train), f"epoch {epoch}/{last} train", meter) as bar:
            for x, y in batches(clips, self.options.batch_size, order):
                self.train_step(x, y, meter)
                bar.advance(len(y))
                progress.step += 1
                self.save_between_steps(meter, begin)
        self.stop_if_bad()
        seconds = time.perf_counter() - begin
        progress.meter, progress.epoch_seconds = meter.state(), seconds
        metrics = meter.result(seconds, regularized=self.options.use_regularizers)
        self.check_finite(epoch, metrics.loss)
        return metrics

    def training_clips(self, step: int):
        """The training split as the epoch under way sees it, after ``step`` batches."""
        epoch = self.progress.epoch + 1
        return augmented(self.data.train, self.options, epoch=epoch, step=step, device=self.device)

    def training_order(self, meter: Meter) -> Iterator[torch.Tensor]:
        """The batches that are left of this epoch; ``meter`` gets the sums of the others.

        The order follows from the random state at the start of the epoch, so an interrupted epoch
        draws it again, skips what is done, and takes the random state of the interruption.
        """
        progress, now = self.progress, random_state(self.device)
        if progress.step == 0:
            progress.rng = now
        order = self.order_of_epoch()
        if progress.step > 0:
            meter.restore(progress.meter)
            for _ in range(progress.step):
                next(order)
            restore_random_state(now, self.device)
        return order

    def order_of_epoch(self) -> Iterator[torch.Tensor]:
        """All batches of the epoch under way, drawn from its first random state."""
        restore_random_state(self.progress.rng, self.device)
        return iter(order_of_batches(len(self.data.train), self.options.batch_size, shuffle=True))

    def train_step(self, x: torch.Tensor, y: torch.Tensor, meter: Meter) -> None:
        """One gradient step on a batch; DivergedError if a number in it is not finite."""
        try:
            self.steps.train(x, y, meter, self.launcher)
        except BadStepError:
            self.diverge(self.progress.step + 1, self.steps.watch.random_states[-1], x, y)
        if not self.has_stepped:
            self.has_stepped = True
            Compilation.report()
            refuse_unreached(self.model)

    def evaluate(self, split: Split, label: str) -> Metrics:
        """One pass over ``split`` without learning."""
        self.model.eval()
        meter, begin = self.steps.new_meter(), time.perf_counter()
        self.predicted = []
        with self.threads(split), LiveBar(len(split), label, meter) as bar:
            for x, y in batches(split, self.options.batch_size):
                self.predicted.append(self.steps.evaluate(x, y, meter))
                bar.advance(len(y))
                self.stop.check()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # until then the pass is only queued
        Compilation.report()
        return meter.result(time.perf_counter() - begin)

    def validate(self, label: str) -> Metrics:
        """Evaluate on the validation split; a stop within it leaves the training pass saved."""
        before = random_state(self.device)
        try:
            return self.evaluate(self.data.valid, label)
        except Stopped:
            restore_random_state(before, self.device)
            self.save()
            raise

    def test(self, seed: int) -> Metrics:
        """Test the present weights; ``seed`` sets the random initial states."""
        torch.manual_seed(seed)
        return self.evaluate(self.data.test, "test")

    def finish(self) -> dict:
        """Test the best model and write down the summary; what is returned is what was written."""
        self.model.load_state_dict(self.recorder.best.weights)
        test = self.test(self.options.seed)
        seconds = self.progress.seconds + test.seconds
        predicted = torch.cat(self.predicted).tolist()
        return self.recorder.finish(self.recorder.summary(self.model, test, seconds), predicted)

    def save(self) -> None:
        """Write the whole state of training, that ``resume`` reads."""
        self.recorder.save(self.trained, self.progress)

    def save_between_steps(self, meter: Meter, begin: float) -> None:
        """Save within an epoch when that is due, or before a stop that was requested."""
        if self.recorder.is_due(self.options.checkpoint_minutes) or self.stop.signum is not None:
            self.stop_if_bad()
            self.progress.meter = meter.state()
            self.progress.epoch_seconds = time.perf_counter() - begin
            self.save()
        self.stop.check()

    def check_finite(self, epoch: int, loss: float) -> None:
        """DivergedError if an epoch ended in non-finite numbers."""
        if what := diverged.in_weights_or_loss(self.model, loss):
            raise DivergedError(
                f"training diverged in epoch {epoch}, {what} is not finite: try a smaller "
                f"{diverged.rate_option(self.options)} (now {self.lr:g}){self.what_is_kept()}"
            )

    def stop_if_bad(self) -> None:
        """Ask a GPU whether one of the last steps was bad, and end the training if so (waits)."""
        watch = self.steps.watch
        noted = len(watch.random_states)
        index = watch.first_bad_step()
        if index is not None:
            done = self.progress.step - noted + index
            indices = next(itertools.islice(self.order_of_epoch(), done, None))
            batch = self.training_clips(done).batch(indices)
            self.diverge(done + 1, watch.random_states[index], *batch)

    def diverge(
        self, number: int, random: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> NoReturn:
        """Keep the bad step ``number`` of the epoch under way; DivergedError explains it."""
        step = diverged.Step(
            epoch=self.progress.epoch + 1,
            number=number,
            lr=self.lr,
            x=x,
            y=y,
            weights={k: v.detach().clone() for k, v in self.model.state_dict().items()},
            random=random,
            device=self.device.type,
            nb_classes=self.data.nb_classes,
        )
        parts = diverged.examine(step, self.steps)
        explanation = diverged.explain(step, parts, self.folder, self.options)
        raise DivergedError(explanation + self.what_is_kept())

    def what_is_kept(self) -> str:
        """Where the best weights are, if an epoch has ended."""
        if self.recorder.best is None:
            return ""
        return f". What was best before is kept in {self.folder}"
