# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The table that several runs end in."""

import itertools
import json
from pathlib import Path

from parsers.load import Plan
from training.record import files
from training.results.groups import group_over_seeds, result_table
from training.terminal.console import log


def report(plan: Plan, results: list[dict], folder: Path, name: str) -> None:
    """Print one table over all runs, and write it with every run's figures."""
    groups = group_over_seeds(results, [axis for axis in plan.axes if axis != "seed"])
    files.create_plain(folder)
    keep_other_runs(folder / name, results)
    files.write_json(folder / name, {"groups": groups, "runs": json.loads(json.dumps(results))})
    log.info("\n%s", result_table(groups))
    for result in results:
        if "error" in result:
            log.info("not counted: %s: %s", Path(result["folder"]).name, result["error"])
    log.info("all figures lie in %s", folder / name)


def keep_other_runs(path: Path, results: list[dict]) -> None:
    """Give the table in ``path`` another name if it lists runs that the new one does not."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["runs"]
        counted = {run["folder"] for run in before if "error" not in run}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if counted - {result["folder"] for result in results if "error" not in result}:
        names = (path.with_name(f"{path.stem}_before{i}.json") for i in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        path.rename(kept)
        log.info("The table there lists other runs: it is kept as %s", kept.name)
