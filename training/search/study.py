# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The trials of a search, in a journal that any number of processes share.

All trials are in the journal from the beginning, and wait. A process takes one by its number, under
a lock that the system opens when the process dies: the trial of a process that was killed is taken
up by the next that asks for it, with the values that it has.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from parsers.distributions import Dimension
from parsers.search import MOST_TRIALS, Early, Search
from training.errors import ExperimentError
from training.record import files

try:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
except ImportError:  # `need_optuna` says what to do
    optuna = None

JOURNAL = "journal.log"
LOCKS = ".locks"
NAME = "search"
LARGEST_SEED = 2**32  # of NumPy's generators, from which samplers draw
# Attributes of a trial.
REFUSED = "refused"  # why it has no accuracy


def need_optuna() -> None:
    """ExperimentError without Optuna."""
    if optuna is None:
        raise ExperimentError(
            "a search on this machine needs Optuna, which is not installed: "
            "pip install optuna; requirements.txt of the repository has the version"
        )


@dataclass(frozen=True)
class Record:
    """A trial as the journal has it.

    Attributes:
        number: from 1.
        state: `waiting`, `running`, `complete`, `pruned`, or `refused` for one that diverged or
            could not be trained.
        values: of the searched options.
        accuracy: mean over the seeds of the best validation accuracy, of a trial that was stopped
            early the best so far; None where there is none.
        epochs: with a validation, of the first seed.
        reason: why it was refused.
    """

    number: int
    state: str
    values: dict[str, Any]
    accuracy: float | None
    epochs: int
    reason: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end with every seed."""
        return self.state == "complete"

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state not in ("waiting", "running")


class TakenTrial:
    """A trial that this process works on.

    Args:
        study: of Optuna, with the sampler and the pruner.
        before: the trial as the storage has it.
        space: of the search.
    """

    def __init__(
        self,
        study: "optuna.Study",
        before: "optuna.trial.FrozenTrial",
        space: dict[str, Dimension],
    ):
        self.study, self.trial = study, optuna.Trial(study, before._trial_id)
        self.values = {
            name: dimension.value(self.trial._suggest(name, distribution(dimension)))
            for name, dimension in space.items()
        }
        self.reported = set(before.intermediate_values)

    def is_hopeless(self, accuracies: list[float], *, strict: bool) -> bool:
        """Report the validation accuracies of all epochs so far; whether the trial is to stop."""
        for epoch in range(1, len(accuracies) + 1):
            if epoch not in self.reported:
                so_far = accuracies[:epoch]
                self.trial.report(so_far[-1] if strict else max(so_far), epoch)
                self.reported.add(epoch)
        return self.trial.should_prune()

    def end(self, accuracy: float) -> None:
        """Note the result."""
        self.study.tell(self.trial, accuracy)

    def stop(self, refused: str | None = None) -> None:
        """Note that the trial was stopped early, or why it was refused."""
        if refused is not None:
            self.trial.set_user_attr(REFUSED, refused)
        self.study.tell(self.trial, state=optuna.trial.TrialState.PRUNED)


class Trials:
    """The trials of a search in its folder.

    Args:
        folder: of the search, which exists.
        search: what is searched.

    Raises ExperimentError if the journal there cannot be read.
    """

    def __init__(self, folder: Path, search: Search):
        need_optuna()
        self.folder, self.search = folder, search
        files.create_plain(folder / LOCKS)
        journal = folder / JOURNAL
        # Optuna's own locks outlive a process that was killed, by half a minute.
        lock = FileLock(folder / LOCKS / "journal")
        with files.writing_to(folder):
            with lock:
                mend(journal)
            backend = optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=lock)
        try:
            self.storage = optuna.storages.JournalStorage(backend)
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=NAME,
                direction="maximize",
                pruner=pruner(search.early),
                load_if_exists=True,
            )
        except (ValueError, LookupError, TypeError, AssertionError):
            raise ExperimentError(
                f"{journal} is damaged: name another folder with --new_exp_folder, or start again "
                "with --overwrite"
            ) from None
        with FileLock(folder / LOCKS / "trials"):
            self.fill()

    def fill(self) -> None:
        """Let the journal hold as many trials as the search has."""
        for number in range(len(self.study.get_trials(deepcopy=False)), self.search.trials):
            points = self.search.enqueued
            point = points[number] if number < len(points) else {}
            drawn = {name: self.search.space[name].drawn(value) for name, value in point.items()}
            self.study.enqueue_trial(drawn)

    @contextlib.contextmanager
    def take(self, number: int) -> Iterator[TakenTrial | None]:
        """Trial ``number`` (from 1) for this process alone, with its values drawn; None if it has
        ended, or another process works on it."""
        lock = FileLock(self.folder / LOCKS / f"trial_{number:04d}", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            yield None
            return
        try:
            before = self.study.get_trials()[number - 1]
            if before.state.is_finished():
                yield None
                return
            if before.state == optuna.trial.TrialState.WAITING:
                self.storage.set_trial_state_values(
                    before._trial_id, optuna.trial.TrialState.RUNNING
                )
            self.study.sampler = sampler(self.search, number)
            yield TakenTrial(self.study, before, self.search.space)
        finally:
            lock.release()

    def records(self) -> list[Record]:
        """Every trial, by number."""
        return [record(trial, self.search) for trial in self.study.get_trials(deepcopy=False)]


def record(trial: "optuna.trial.FrozenTrial", search: Search) -> Record:
    """What the journal says of a trial."""
    reached = trial.intermediate_values.values()
    refused = trial.user_attrs.get(REFUSED)
    accuracy = max(reached, default=None)
    if trial.state == optuna.trial.TrialState.COMPLETE:
        accuracy = trial.value
    return Record(
        number=trial.number + 1,
        state="refused" if refused else trial.state.name.lower(),
        values={n: search.space[n].value(x) for n, x in trial.params.items() if n in search.space},
        accuracy=accuracy,
        epochs=max(trial.intermediate_values, default=0),
        reason=refused,
    )


def distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    """What Optuna draws for a searched option."""
    low, high, log, whole, choices = dimension.draw
    if choices:
        return optuna.distributions.CategoricalDistribution(choices)
    if whole:
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=log)


def sampler(search: Search, number: int) -> "optuna.samplers.BaseSampler":
    """The sampler of a trial; its draws follow from the seed and what is known of other trials."""
    seed = (search.seeds[0] * MOST_TRIALS + number) % LARGEST_SEED
    if search.method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def pruner(early: Early | None) -> "optuna.pruners.BasePruner":
    """What stops trials; steps are epochs, from 1.

    wandb's hyperband has one bracket, and decides while trials run: that is asynchronous successive
    halving.
    """
    if early is None:
        return optuna.pruners.NopPruner()
    if early.kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=early.first)
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=early.first, reduction_factor=early.eta
    )


def are_free(folder: Path) -> bool:
    """Whether no process works on a trial of the search in ``folder``."""
    try:
        for path in (folder / LOCKS).glob("trial_*"):
            with FileLock(path, blocking=False):
                pass
    except Timeout:
        return False
    return True


def mend(journal: Path) -> None:
    """Cut off a last line that a dying machine left unfinished."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)
