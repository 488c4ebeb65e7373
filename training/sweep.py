# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Several runs after one another, ending in one table of mean ± standard deviation over seeds."""

import functools
import itertools
import json
import os
import platform
from pathlib import Path

import torch

from models.dynamics.backends import why_not
from parsers.load import Config, Plan
from parsers.training_config import TrainingConfig
from training.checks import check_batches
from training.data import same_data
from training.data.loading import DataCache
from training.device.determinism import determinism
from training.device.graphs import require_gpu
from training.errors import DivergedError, ExperimentError
from training.experiment import Experiment, choose_device, describe_device
from training.grid import parallel
from training.metrics import count_parameters
from training.record import checkpoint, files, folders
from training.record.files import going_on_without
from training.results.groups import group_over_seeds, result_table
from training.terminal.console import activity_rows, log, log_file, percent, table
from training.tracking import agent as wandb_agent
from training.tracking.link import in_sweep, link
from training.tracking.run import send_finished
from training.tracking.sweep import plan_of_agent


def run(plan: Plan) -> int:
    """Train and test every point of ``plan``, or evaluate a pretrained network; the exit status.

    Raises ExperimentError and DataError for what the user can mend, before any training.
    """
    options = plan.points[0].training
    if plan.list_points:
        return list_points(plan)
    device, *_ = map(choose_device, plan.devices)
    for note in plan.notes:
        log.info(note)
    for point in plan.points:
        check_device(point.training, device)
    wandb_agent.check_asked(options)
    if not options.evaluate_pretrained:
        link.mode(options)  # a login that is missing is told before anything else
    if options.only_createsweep:
        return wandb_agent.only_create(plan)
    if options.sweep_id:
        return join_sweep(plan, device)
    with determinism(options.deterministic):
        return (evaluate_all if options.evaluate_pretrained else train_all)(plan, device)


def check_device(options: TrainingConfig, device: torch.device) -> None:
    """ExperimentError if training options ask for what ``device`` cannot do."""
    if not options.evaluate_pretrained:
        require_gpu(options.cuda_graph, device)
    if why := why_not(options.backend, device):
        raise ExperimentError(f"--backend {options.backend} cannot run here: {why}")


def train_all(plan: Plan, device: torch.device) -> int:
    """Run every point in its own folder; 1 if one of several did not end."""
    if in_sweep():
        plan = plan_of_agent(plan)
    runs = list(enumerate(zip(plan.points, folders.run_folders(plan), strict=True), start=1))
    chosen = runs if plan.only_point is None else [runs[plan.only_point - 1]]
    targets = [folder for _, (_, folder) in chosen]
    common = folders.sweep_folder(plan) if len(chosen) > 1 else None
    options = chosen[0][1][0].training
    may_exist = options.overwrite or options.resume is not None
    folders.check_free(targets, may_exist)
    if common is not None:
        folders.check_free_sweep(common, may_exist)
    results = None
    if wandb_agent.makes_sweep(plan, len(chosen)):
        cache = DataCache(device)
        cache.get(options)  # a fault in the data is told before there is a sweep
        train = functools.partial(train_point, cache=cache, alone=False)
        results = wandb_agent.train_sweep(plan, [run for _, run in chosen], common, train)
    if results is None and common is not None and plan.jobs > 1:
        results = parallel.train_points(plan, targets, common)
    elif results is None:
        results = train_in_turn(chosen, len(runs), device)
    if common is not None:
        report(plan, results, common, folders.SWEEP_SUMMARY)
    return int(any("error" in result or result.get("unwritten") for result in results))


def train_in_turn(chosen: list[tuple[int, tuple]], count: int, device: torch.device) -> list[dict]:
    """Train one run after another, of ``count`` that the plan has; their results."""
    cache, results = DataCache(device), []
    options = chosen[0][1][0].training
    if options.resume is None:
        cache.get(options)  # what is wrong with the data is told before anything else
    for number, (point, folder) in chosen:
        if count > 1:
            log.info("\nRun %d of %d: %s", number, count, folder.name)
        try:
            results.append(train_point(point, folder, cache, alone=len(chosen) == 1))
        except ExperimentError as error:
            if not results:  # what is wrong with one is likely wrong with all
                raise
            log.error("This run ends here: %s", error)
            values = point.to_dict()
            results.append({"folder": str(folder), "values": values, "error": str(error)})
    return results


def join_sweep(plan: Plan, device: torch.device) -> int:
    """Train runs of a sweep on the wandb server until it has no more; 1 if one did not end."""
    train = functools.partial(train_point, cache=DataCache(device), alone=False)
    plan, results = wandb_agent.join_sweep(plan, train)
    if not results:
        log.info("The sweep had no run left")
        return 0
    name = f"sweep_summary_{platform.node()}_{os.getpid()}.json"  # one for each that joins
    report(plan, results, folders.sweep_folder(plan), name)
    return int(any("error" in result for result in results))


def train_point(point: Config, folder: Path, cache: DataCache, *, alone: bool) -> dict:
    """Train and test one point; a diverged one of several is noted and the others go on."""
    result = {"folder": str(folder), "values": point.to_dict()}
    resume = point.training.resume is not None
    if resume and (summary := folders.finished(folder, point.to_dict())):
        accuracy = percent(summary["test"]["accuracy"])
        log.info("Finished before, %d epochs: test accuracy %s", summary["epochs"], accuracy)
        if in_sweep():
            send_finished(point, folder, summary)
        return {**result, **summary}
    check_device(point.training, cache.device)
    goes_on = resume and (folder / checkpoint.LAST).exists()
    options = same_data.at_its_rate(point.training, folder) if goes_on else point.training
    if resume and not goes_on:
        folders.check_nothing_lost(folder)
        log.info("Nothing to go on from in %s: the training begins", folder)
    data = cache.get(options)
    if goes_on:
        data = same_data.with_classes_of(folder, options, data)
    check_batches(point, data, cache.device)
    experiment = Experiment(point, data, folder, cache.device)
    folders.create_plain(folder)
    folders.note(folder)
    with folders.locked(folder):
        if goes_on:
            folders.check_same_options(folder, point.to_dict())
            same_data.check_unchanged(folder, options, experiment.data)
            experiment.resume()
            folders.record_epochs(folder, point.training.nb_epochs)
        else:
            if not resume:  # another program may have been here since the sweep began
                folders.check_free([folder], point.training.overwrite)
            warm_start(experiment)
            folders.create(folder, point.to_dict())
            same_data.write(folder, options, experiment.data)
        return fit(experiment, result, alone=alone)


def fit(experiment: Experiment, result: dict, *, alone: bool) -> dict:
    """Train an experiment that is set up; its summary, or why there is none."""
    failure = experiment.folder / folders.FAILURE
    failure.unlink(missing_ok=True)
    try:
        return {**result, **experiment.fit()}
    except DivergedError as error:
        with going_on_without(folders.FAILURE):
            files.write_json(failure, {"diverged": str(error)})
        if alone:
            raise
        log.error("This run ends here: %s", error)
        return {**result, "error": str(error)}
    finally:
        experiment.steps.launcher.release()


def warm_start(experiment: Experiment) -> None:
    """Load the weights of load_exp_folder where training goes on from a later epoch."""
    options = experiment.options
    if options.load_exp_folder is None:
        return
    if options.start_epoch == 0:
        log.info(
            "Training from scratch: load_exp_folder is used with --evaluate_pretrained True, or "
            "with a --start_epoch above 0"
        )
        return
    path = checkpoint.find_weights(Path(options.load_exp_folder))
    checkpoint.load_weights(experiment.model, path)
    log.info("Starting from the weights in %s", path)


def evaluate_all(plan: Plan, device: torch.device) -> int:
    """Test the pretrained network once per point (seed) and tell the mean; exit status 0."""
    options = plan.points[0].training
    if options.load_exp_folder is None:
        raise ExperimentError(
            "--evaluate_pretrained True needs a pretrained network: name its folder behind the "
            "config or with --load_exp_folder"
        )
    path = checkpoint.find_weights(Path(options.load_exp_folder))
    checkpoint.read(path)  # a fault in it is told before the data are read
    folder = evaluation_folder(plan)
    cache, results = DataCache(device, ("test",)), []
    for point in plan.points:
        data = cache.get(same_data.at_its_rate(point.training, path.parents[1]))
        data = same_data.with_classes_of(path.parents[1], point.training, data)
        experiment = Experiment(point, data, None, device)
        checkpoint.load_weights(experiment.model, path)
        if not results:
            folders.create_plain(folder)
        results.append(evaluate_point(experiment, path, folder, number=len(results)))
    report(plan, results, folder, "evaluation_summary.json")
    return 0


def evaluation_folder(plan: Plan) -> Path:
    """Where an evaluation is written, by the name of what is evaluated; never an earlier one's."""
    options = plan.points[0].training
    if options.new_exp_folder is None:
        name = f"{Path(options.load_exp_folder).resolve().name}_evaluation"
        return folders.unused(folders.DEFAULT_ROOT / name)
    folder = Path(options.new_exp_folder)
    return folder if not folder.exists() else folders.unused(folder)


def evaluate_point(experiment: Experiment, path: Path, folder: Path, number: int) -> dict:
    """Test loaded weights under one seed."""
    options = experiment.options
    with log_file(folder / "exp.log" if options.log_tofile else None):
        if number == 0:
            log.info(describe_device(experiment.device))
            log.info("Evaluating %s on %s test clips", path, f"{len(experiment.data.test):,}")
        test = experiment.test(options.seed).to_dict()
        log.info(
            "seed %d  test loss %.4f acc %s", options.seed, test["loss"], percent(test["accuracy"])
        )
        if number == 0 and activity_rows(test):
            log.info("\n%s\n", table(activity_rows(test), ["activity", "value"]))
    return {
        "checkpoint": str(path),
        "values": experiment.config.to_dict(),
        "test": test,
        "parameters": count_parameters(experiment.model),
        "classes": experiment.data.nb_classes,
    }


def report(plan: Plan, results: list[dict], folder: Path, name: str) -> None:
    """Print one table over all runs, and write it with every run's figures."""
    groups = group_over_seeds(results, [axis for axis in plan.axes if axis != "seed"])
    folders.create_plain(folder)
    keep_other_runs(folder / name, results)
    files.write_json(folder / name, {"groups": groups, "runs": json.loads(json.dumps(results))})
    log.info("\n%s", result_table(groups))
    for result in results:
        if "error" in result:
            log.info("not counted: %s: %s", Path(result["folder"]).name, result["error"])
    log.info("all figures lie in %s", folder / name)


def keep_other_runs(path: Path, results: list[dict]) -> None:
    """Give the table in ``path`` another name if it tells of runs that the new one does not."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["runs"]
        counted = {run["folder"] for run in before if "error" not in run}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if counted - {result["folder"] for result in results if "error" not in result}:
        names = (path.with_name(f"{path.stem}_before{i}.json") for i in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        path.rename(kept)
        log.info("The table there told of other runs: it is kept as %s", kept.name)


def list_points(plan: Plan) -> int:
    """Print number and folder of every run of the plan; exit status 0."""
    for number, folder in enumerate(folders.run_folders(plan), start=1):
        print(number, folder, sep="\t")
    return 0
