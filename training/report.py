# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is printed about runs: what begins, and the table that several of them end in."""

import itertools
import json
from pathlib import Path

from torch import nn

from datasets.audio import AudioData
from datasets.spiking import SpikingData
from models.dynamics.backends import announce_again
from parsers.load import Config, Plan
from training.checks import note_own_recurrences
from training.device.choice import describe_device, describe_precision
from training.metrics import count_parameters
from training.record import files, folders
from training.results.groups import group_over_seeds, result_table
from training.terminal.console import log


def introduce(config: Config, data: SpikingData | AudioData, model: nn.Module) -> None:
    """Say what is trained, on what data, and where."""
    options, device = config.training, next(model.parameters()).device
    log.info(describe_device(device))
    if options.precision != "fp32":
        log.info(describe_precision(options.precision, device))
    sizes = [data.nb_features, *model.layer_sizes]
    log.info(
        f"{config.model.model_type} {'-'.join(map(str, sizes))}, "
        f"{count_parameters(model):,} parameters, on {options.dataset_name}: "
        f"{len(data.train):,} train, {len(data.valid):,} validation "
        f"({data.validation}), {len(data.test):,} test clips"
    )
    announce_again()
    note_own_recurrences(model)


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
