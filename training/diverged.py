# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Repeat the step at which a training diverged: ``python -m training.diverged EXP_FOLDER``.

Shows every tensor of the step, in the order of the computation, and names the first that is not
finite. Exit status 0 if there is one, 1 if the step is sound here (on another device the initial
states are others), 2 if there is nothing to repeat.
"""

import sys
from pathlib import Path

import torch

from parsers.program import Parser, add_gpu_device, run_command
from training.build import build_model
from training.device.choice import choose_device
from training.errors import CheckpointError
from training.non_finite import KEPT, Part, Step, examine
from training.record import checkpoint, folders
from training.steps import Steps
from training.terminal.console import table

PROGRAM = "training.diverged"


def repeat(folder: Path, gpu_device: int = 0) -> list[Part]:
    """What takes part in the step that is kept in ``folder``, see `training.non_finite.examine`.

    Raises ExperimentError or ConfigError if none is kept there, or if it does not fit the config.
    """
    config = folders.recorded_config(folder)
    if not (folder / KEPT).exists():
        raise CheckpointError(
            f"no step is kept in {folder / KEPT.parent}: this run did not diverge"
        )
    content = checkpoint.read(folder / KEPT)
    try:
        step = Step(**content)
        nb_features = step.x.shape[-1]
        model = build_model(config, nb_features, step.nb_classes)
        difference = checkpoint.first_difference(model.state_dict(), step.weights)
    except (TypeError, AttributeError):
        difference = "it holds no step"
    if difference:
        raise CheckpointError(f"{folder / KEPT} does not fit this model ({difference})")
    model.to(choose_device(gpu_device))
    optimizer = torch.optim.SGD(model.parameters())  # takes no step
    steps = Steps(model, optimizer, config.training, nb_features)
    return examine(step, model, lambda x, y: steps.backward(x, y).loss)


def command(argv: list[str] | None) -> int:
    """Print the table of a step; the exit status."""
    parser = Parser(PROGRAM, description="Repeat the step at which a training diverged.")
    parser.add_argument("folder", type=Path, metavar="EXP_FOLDER", help="folder of the run")
    add_gpu_device(parser)
    options = parser.parse_args(argv)
    parts = repeat(options.folder, options.gpu_device)
    rows = [(p.what, "yes" if p.is_finite else "NO", f"{p.largest:.3g}") for p in parts]
    print(table(rows, ["tensor", "finite", "largest finite magnitude"]))
    first = next((part.what for part in parts if not part.is_finite), None)
    print(f"\nFirst that is not finite: {first or 'none, the step is sound here'}")
    return 1 if first is None else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status (2: something the user can mend)."""
    return run_command(PROGRAM, lambda: command(argv))


if __name__ == "__main__":
    sys.exit(main())
