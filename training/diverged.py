# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A step that gave a non-finite number is repeated: ``python -m training.diverged EXP_FOLDER``.

`training.steps.Watch` notices such a step. It is repeated at once with an eye on every layer
(`examine`), and kept in a file from which this command repeats it: it shows every tensor of the
step, in the order of the computation, and names the first that is not finite. Exit status 0 if
there is one, 1 if the step is sound here (on another device the initial states are others), 2 if
there is nothing to repeat.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from parsers.program import Parser, add_gpu_device, program
from parsers.training_config import TrainingConfig
from training.build import build_model
from training.device.choice import choose_device, generator_of
from training.errors import CheckpointError
from training.record import checkpoint, files
from training.steps import Steps
from training.terminal.console import table

PROGRAM = "training.diverged"
KEPT = Path("diverged") / "step.pth"


@dataclass
class Step:
    """One step of a training, in all that it follows from.

    ``x`` [B, T, F] and ``y`` [B] are the batch, ``weights`` the state_dict before the step, and
    ``random`` the state of the generator of a device of type ``device``. ``number`` counts the
    steps of ``epoch``, both from 1.
    """

    epoch: int
    number: int
    lr: float
    x: Tensor
    y: Tensor
    weights: dict
    random: Tensor
    device: str
    nb_classes: int

    def save(self, path: Path) -> None:
        """Keep the step in a file that ``torch.load(weights_only=True)`` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**vars(self), "x": self.x.cpu(), "y": self.y.cpu()}
        content["weights"] = {name: value.cpu() for name, value in self.weights.items()}
        files.write_torch(path, content)


class Part(NamedTuple):
    """A tensor that takes part in a step, and its largest finite magnitude."""

    what: str
    is_finite: bool
    largest: float


def first_bad(parts: list[Part]) -> str | None:
    """The first tensor that is not finite, in words."""
    return next((part.what for part in parts if not part.is_finite), None)


def explain(step: Step, parts: list[Part], folder: Path, options: TrainingConfig) -> str:
    """Keep a bad step in ``folder``; what was the first of its ``parts`` to go wrong, in words."""
    first, again = first_bad(parts), ""
    with files.continuing_without("the step to repeat"):
        step.save(folder / KEPT)
        again = f"; python -m training.diverged {folder} repeats the step"
    return (
        f"training diverged in epoch {step.epoch}, step {step.number}, at learning rate "
        f"{step.lr:g}: {first or 'a number in it, but not when it was repeated,'} is the first "
        f"that is not finite. {advice(step, options)}{again}"
    )


def advice(step: Step, options: TrainingConfig) -> str:
    """What may help; before the first update no learning rate had a part in it."""
    if (step.epoch, step.number) != (options.start_epoch + 1, 1):
        return f"Try a smaller {rate_option(options)}, or --max_grad_norm 1"
    penalty = ", or at --reg_factor" if options.use_regularizers else ""
    return (
        "No smaller --lr helps at the first step, before any update: look at the initial values, "
        f"the coefficients of a neuron of your own, and the input{penalty}"
    )


def rate_option(options: TrainingConfig) -> str:
    """The option that the learning rates of weights follow from."""
    peaks = options.scheduler == "onecycle" and options.max_lr is not None
    return "--max_lr" if peaks else "--lr"


def examine(step: Step, steps: Steps) -> list[Part]:
    """Repeat the forward and backward pass of ``step``, and look at every tensor in it.

    In order: the input, the weights, the outputs of all modules as they are computed, the loss, and
    the gradients as they arise, from the last layer to the first. The network of ``steps`` gets the
    weights of ``step``; on a device of another type dropout and initial states are others.
    """
    model, device = steps.model, steps.device
    model.load_state_dict(step.weights)
    model.train()
    if step.device == device.type:
        generator_of(device).set_state(step.random)
    x, y = step.x.to(device), step.y.to(device)
    outputs, gradients = [], []
    hooks = list(listen(model, outputs, gradients))
    try:
        loss = steps.backward(x, y).loss
    finally:
        for hook in hooks:
            hook.remove()
    weights = [inspect(f"the weight '{name}'", p) for name, p in model.named_parameters()]
    return [inspect("the input", x), *weights, *outputs, inspect("the loss", loss), *gradients]


def inspect(what: str, *tensors: Tensor) -> Part:
    """Whether all entries are finite, and the largest that is."""
    flat = torch.cat([tensor.detach().abs().flatten().float() for tensor in tensors])
    finite = flat[flat.isfinite()]
    largest = finite.max().item() if len(finite) else 0.0
    return Part(what, len(finite) == len(flat), largest)


def listen(model: nn.Module, outputs: list[Part], gradients: list[Part]) -> Iterator:
    """Have every module append its output, and every parameter its gradient; the hooks."""

    def of_module(name: str) -> Callable:
        what = f"the output of '{name}'"
        return lambda _module, _inputs, output: outputs.append(inspect(what, *tensors_in(output)))

    def of_parameter(name: str) -> Callable:
        return lambda p: gradients.append(inspect(f"the gradient of '{name}'", p.grad))

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ModuleList):
            yield module.register_forward_hook(of_module(name))
    for name, parameter in model.named_parameters():
        yield parameter.register_post_accumulate_grad_hook(of_parameter(name))


def tensors_in(output: object) -> Iterator[Tensor]:
    """The tensors in what a module returns: one, or tuples of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple):
        for entry in output:
            yield from tensors_in(entry)


def in_weights_or_loss(model: nn.Module, loss: float) -> str | None:
    """What is not finite after an epoch, in words; None if everything is.

    Weights are looked at too: a threshold turns NaN into silence, and the loss stays finite.
    """
    broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    if broken:
        return f"'{broken[0]}'"
    return None if math.isfinite(loss) else f"the loss ({loss})"


def repeat(folder: Path, gpu_device: int = 0) -> list[Part]:
    """What takes part in the step that is kept in ``folder``, see `examine`.

    Raises ExperimentError or ConfigError if none is kept there, or if it does not fit the config.
    """
    config = files.recorded_config(folder)
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
    return examine(step, Steps(model, optimizer, config.training, nb_features))


@program(PROGRAM)
def main(argv: list[str] | None) -> int:
    """Print the table of a step; the exit status (2: something the user can mend)."""
    parser = Parser(PROGRAM, description="Repeat the step at which a training diverged.")
    parser.add_argument("folder", type=Path, metavar="EXP_FOLDER", help="folder of the run")
    add_gpu_device(parser)
    options = parser.parse_args(argv)
    parts = repeat(options.folder, options.gpu_device)
    rows = [(p.what, "yes" if p.is_finite else "NO", f"{p.largest:.3g}") for p in parts]
    print(table(rows, ["tensor", "finite", "largest finite magnitude"]))
    first = first_bad(parts)
    print(f"\nFirst that is not finite: {first or 'none, the step is sound here'}")
    return 1 if first is None else 0


if __name__ == "__main__":
    sys.exit(main())
