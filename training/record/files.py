# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where runs are written: one run never overwrites another, and no file is ever half-written."""

import contextlib
import glob
import hashlib
import io
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from datasets.files import readable
from parsers.load import OPTIONS, Config, ConfigError, Plan, read_config
from parsers.options import AUTO
from parsers.plan import RUNS_APART
from parsers.program import check_folder
from parsers.training_config import SPIKES
from training.errors import ExperimentError
from training.terminal.console import log

BEST = Path("checkpoints") / "best_model.pth"
LAST = Path("checkpoints") / "last.pth"
CURVES = Path("curves.png")


def previous(path: Path) -> Path:
    """Where the state before the last one lies."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


DEFAULT_ROOT = Path("exp") / "test_exps"
NAME = (  # as published
    "{dataset_name}_{nb_steps}steps_{model_type}_{nb_layers}lay{nb_hiddens}_lr{lr}_drop{pdrop}"
)
MOST_ADDED = 80  # characters, beside those of the published name
SHORT = {"data_folder": "", "nb_epochs": "epochs", "batch_size": "batch", "precision": ""}
TELLING = [n for n, option in OPTIONS.items() if not option.rules.may_change or n in RUNS_APART]
SWEEP_SUMMARY = "sweep_summary.json"
NOTE = "SPRACHE_FOLDER_NOTE"  # variable of the environment
FAILURE = "failure.json"  # why there is no summary.json
OUTPUTS = (
    BEST,
    LAST,
    previous(LAST),
    Path("log") / "exp.log",
    Path("config.yaml"),
    Path("data.json"),
    Path("metrics.jsonl"),
    Path("summary.json"),
    Path("test_clips.csv"),
    Path(FAILURE),
    CURVES,
    Path("diverged") / "step.pth",
)
ATTEMPT = {Path("log") / "exp.log", Path("config.yaml"), Path("data.json")}  # without an epoch


def run_name(values: dict, more: Iterable[str] = (), *, with_seed: bool = True) -> str:
    """The published name of a run, and ``more`` options that it does not hold.

    ``values`` are the resolved options, see ``Config.to_dict``.
    """
    name, added = published_name(values), ""
    for option in more:
        if option != "seed" and f"{{{option}}}" not in NAME:
            is_folder = option.endswith("folder") and values[option]
            value = Path(values[option]).name if is_folder else values[option]
            added += f"_{SHORT.get(option, option)}{value}"
    if len(added) > MOST_ADDED:
        added = f"_{checksum(added)}"
    return name + added.replace(".", "_") + f"_seed{values['seed']}" * with_seed


def published_name(values: dict, *, older: bool = False) -> str:
    """The part of a run's name as published; audio has a number of steps in ``older`` ones only."""
    name = NAME if older or SPIKES.are_met(values) else NAME.replace("_{nb_steps}steps", "")
    return name.format_map(values).replace(".", "_")


def checksum(text: str) -> str:
    """A few letters that tell ``text`` from any other."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def run_folders(plan: Plan) -> list[Path]:
    """One folder for each point of a plan."""
    out = plan.points[0].training.new_exp_folder
    if out is None:
        return [default_folder(plan, number) for number in range(len(plan.points))]
    if not plan.axes:
        return [Path(out)]
    return [Path(out) / run_name(point.to_dict(), plan.axes) for point in plan.points]


def default_folder(plan: Plan, number: int) -> Path:
    """Where a point is written that names no folder: its name, with a checksum of its options where
    another run has it. A run to resume is found by what it has recorded."""
    point = plan.points[number]
    values = point.to_dict()
    name = run_name(values, [*plan.differences(number), *plan.axes], with_seed=False)
    content = json.dumps([values[option] for option in TELLING])
    seed = f"_seed{values['seed']}"
    folders = [DEFAULT_ROOT / f"{name}{part}{seed}" for part in ("", f"_{checksum(content)}")]
    for folder in folders:
        before = recorded_or_none(folder)
        if before is None or agree(before, values, TELLING):
            break
    if point.training.resume is None or (folder / "config.yaml").exists():
        return folder
    prefixes = (published_name(values), published_name(values, older=True))
    patterns = (f"{glob.escape(prefix)}*{seed}" for prefix in prefixes)
    found = {path for pattern in patterns for path in DEFAULT_ROOT.glob(pattern)}
    known = [path for path in sorted(found) if can_continue(recorded_or_none(path), values)]
    return max(known, key=lambda path: path.stat().st_mtime, default=folder)


def recorded_or_none(folder: Path) -> dict | None:
    """The value of every option that the run in ``folder`` has recorded; None where none are."""
    try:
        recorded = read_config(folder / "config.yaml").values
    except ConfigError:
        return None
    return Config.of({name: value for name, (value, *_) in recorded.items()}).to_dict()


def can_continue(before: dict | None, values: dict) -> bool:
    """Whether a run recorded as ``before`` goes on with ``values``: perhaps for more epochs, and
    with data that were moved."""
    if before is None or before["nb_epochs"] > values["nb_epochs"]:
        return False
    names = [name for name in TELLING if name not in RUNS_APART]
    data = before["data_folder"]
    is_same_data = data == values["data_folder"] or bool(data and not Path(data).exists())
    return is_same_data and agree(before, values, names)


def agree(before: dict, values: dict, names: Iterable[str]) -> bool:
    """Whether a run was asked for by ``values``; what is left to the data may be anything."""
    return all(
        before[name] == values[name] or (OPTIONS[name].rules.by_data and values[name] == AUTO)
        for name in names
    )


def sweep_folder(plan: Plan) -> Path:
    """Where the common table of a plan is written."""
    options = plan.points[0].training
    if options.new_exp_folder is not None:
        return Path(options.new_exp_folder)
    values = plan.points[0].to_dict()
    more = [option for option in plan.differences(0) if option not in plan.axes]
    name = options.sweep_name or run_name(values, more, with_seed=False)
    folder = DEFAULT_ROOT / f"{name}_sweep"
    if options.resume is None and not options.overwrite:
        return unused(folder)
    earlier = DEFAULT_ROOT / f"{published_name(values, older=True)}_sweep"
    return folder if folder.exists() or not earlier.exists() else earlier


def unused(folder: Path) -> Path:
    """``folder``, or the first of folder_2, folder_3, ... that does not exist."""
    ends = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
    return next(path for end in ends if not (path := Path(f"{folder}{end}")).exists())


def check_free(targets: list[Path], overwrite: bool) -> None:
    """ConfigError if a folder cannot be written, ExperimentError if it holds an experiment already
    and ``overwrite`` is off. One that has ended before it left anything may be tried again."""
    for folder in targets:
        with writing_to(folder):  # a name that is too long
            check_folder("--new_exp_folder", folder)
            taken = [output for output in OUTPUTS if (folder / output).exists()]
        attempted = set(taken) <= ATTEMPT and len(taken) > 1  # more than somebody's config.yaml
        if taken and not overwrite and not attempted:
            is_resumable = LAST in taken
            resume = "resume it by --resume auto, " if is_resumable else ""
            raise ExperimentError(
                f"{folder} already holds an experiment ({taken[0]}): {resume}name another folder "
                "with --new_exp_folder, or replace it with --overwrite"
            )


def check_nothing_lost(folder: Path) -> None:
    """ExperimentError if ``folder`` has results, but no state to resume from.

    It may have been removed to save room. What was killed before its first state starts again.
    """
    records = read_lines(folder / "metrics.jsonl")
    done = max((record.get("epoch", 0) for record in records), default=0)
    if done > 1 or (folder / "summary.json").exists():
        raise ExperimentError(
            f"cannot resume {folder}: {done} epochs are done, but {LAST} is not "
            "there; name another folder with --new_exp_folder, or drop --resume and replace "
            "the run with --overwrite"
        )


def recorded_options(folder: Path) -> dict:
    """The content of config.yaml in ``folder``; ExperimentError if it cannot be read."""
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExperimentError(
            f"{folder} is not an experiment folder: it has no config.yaml"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        values = None
    if not isinstance(values, dict):
        raise ExperimentError(f"{path} holds no options that can be read")
    return values


def recorded_config(folder: Path) -> Config:
    """The options that the run in ``folder`` was started with.

    Raises ExperimentError if they cannot be read, and ConfigError if one is wrong.
    """
    try:
        return Config.from_dict(recorded_options(folder))
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.yaml'}: {error}") from None


def check_same_options(folder: Path, values: dict) -> None:
    """ExperimentError unless the run in ``folder`` was started with ``values``.

    What does not change the course of a training may differ, and there may be more epochs.
    """
    recorded = recorded_options(folder)
    for name, value in values.items():
        before, rules = recorded.get(name, OPTIONS[name].default), OPTIONS[name].rules
        open_to_data = rules.by_data and value == AUTO
        if before != value and not (rules.may_change or open_to_data):
            raise ExperimentError(
                f"cannot resume {folder}: it was started with {name} {before}, not "
                f"{value}; repeat its command, or name another folder with --new_exp_folder"
            )


def record_epochs(folder: Path, nb_epochs: int) -> None:
    """Have config.yaml name the epochs of a resumed run."""
    recorded = recorded_options(folder)
    if recorded.get("nb_epochs") != nb_epochs:
        with writing_to(folder):
            write_yaml(folder / "config.yaml", {**recorded, "nb_epochs": nb_epochs})


def read_summary(folder: Path) -> dict:
    """The content of summary.json; ExperimentError if the run in ``folder`` left none."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        splits = summary["test"], summary["valid"]
        figures = [split[name] for split in splits for name in ("accuracy", "loss")]
        if all(isinstance(figure, float | int) for figure in [*figures, summary["best_epoch"]]):
            return summary
    except FileNotFoundError:
        raise ExperimentError(f"{folder} has no summary.json: the run has not finished") from None
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise ExperimentError(f"{path} is not the summary of a run: remove it and use --resume")


def finished(folder: Path, values: dict) -> dict | None:
    """The summary of a run that has ended with ``values``, None if it has not."""
    if not (folder / "summary.json").is_file():
        return None
    check_same_options(folder, values)
    summary = read_summary(folder)
    return summary if summary["epochs"] == values["nb_epochs"] else None


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make ``folder``, and keep other programs out; the lock of one that died is free at once.

    Raises ExperimentError, naming the other, if one is at work there.
    """
    create_plain(folder)
    owner = folder / ".lock.owner"
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.is_file() else "another process"
        raise ExperimentError(f"{folder} is being written by {who}: wait for it to end") from None
    except OSError as error:
        raise ExperimentError(f"cannot write to {folder} ({error.strerror})") from None
    for place in (folder, folder / LAST.parent):
        remove_leftovers(place)
    try:
        write_text(owner, f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            owner.unlink()
        lock.release()


def check_free_sweep(folder: Path, overwrite: bool) -> None:
    """ExperimentError if ``folder`` holds the table of another sweep and ``overwrite`` is off."""
    if (folder / SWEEP_SUMMARY).exists() and not overwrite:
        raise ExperimentError(
            f"{folder} already holds the table of a sweep ({SWEEP_SUMMARY}): name another folder "
            "with --new_exp_folder, or replace it with --overwrite"
        )


def create(folder: Path, values: dict, data: dict) -> None:
    """Make an experiment folder without an earlier run's outputs; config.yaml and data.json.
    Raises ExperimentError where that cannot be written."""
    with writing_to(folder):
        for output in OUTPUTS:
            if values.get("overwrite") or output not in ATTEMPT:
                (folder / output).unlink(missing_ok=True)
        lay_out(folder, values, data)


def lay_out(folder: Path, values: dict, data: dict) -> None:
    """Make an experiment folder, and write ``values`` as config.yaml and ``data`` as data.json.

    Raises OSError where that fails.
    """
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "log").mkdir(exist_ok=True)
    recorded = {
        name: value if OPTIONS[name].rules.recorded else OPTIONS[name].default
        for name, value in values.items()
    }
    write_yaml(folder / "config.yaml", recorded)
    write_json(folder / "data.json", data)


def note(folder: Path) -> None:
    """Add ``folder`` as a line to the file that the environment names by ``NOTE``, if it names one.

    An agent of a sweep learns its run from the server; this is how a script or a parent learns it.
    """
    if target := os.environ.get(NOTE):
        noted = Path(target).read_text(encoding="utf-8") if Path(target).exists() else ""
        if (line := f"{folder.absolute()}\n") not in noted:
            with writing_to(Path(target).parent):
                write_text(Path(target), noted + line)


def create_plain(folder: Path) -> None:
    """Make a folder for the results of several runs; ExperimentError where that fails."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def writing_to(folder: Path, flag: str = "--new_exp_folder") -> Iterator[None]:
    """Turn the refusal of the file system into an ExperimentError."""
    try:
        yield
    except OSError as error:
        raise ExperimentError(
            f"cannot write to {folder} ({error.strerror}): name another folder with {flag}"
        ) from None


@contextlib.contextmanager
def continuing_without(
    what: str, kind: type[Exception] = OSError, then: str = "training continues without it"
) -> Iterator[None]:
    """Log an error of the disk, or of another ``kind``, instead of ending the training."""
    try:
        yield
    except kind as error:
        if not isinstance(error, OSError):
            log.debug("Where that failed:", exc_info=True)  # for the log file
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        log.error("Cannot write %s (%s); %s", what, " ".join(reason.split()), then)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then give it its final name.

    The temporary file is removed if anything fails; OSError passes through.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; none may be at work in ``folder``."""
    for path in folder.glob(".*.[0-9]*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, also where it names files whose names are not."""
    write_atomic(path, lambda temporary: temporary.write_text(readable(text), encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, content: dict) -> None:
    """Write ``content`` as YAML, keys in their own order."""
    write_text(path, yaml.safe_dump(content, sort_keys=False))


def write_torch(path: Path, content: Any) -> None:
    """Write tensors and plain containers so that ``torch.load(weights_only=True)`` reads them."""
    whole = io.BytesIO()  # torch.save into a file makes a RuntimeError of a disk that is full
    torch.save(content, whole)
    write_atomic(path, lambda temporary: temporary.write_bytes(whole.getbuffer()))


def as_line(record: dict) -> str:
    """One JSON object as a line."""
    return json.dumps(record, allow_nan=False) + "\n"


def append_line(path: Path, record: dict) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(as_line(record))


def read_lines(path: Path) -> list[dict]:
    """The objects of a file of lines; a last line cut short by a crash is skipped."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records
