# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Numbers gone wrong: noticing the step, keeping what it was computed from, naming the layer.

On a GPU nobody can look at the gradient of every step without making the device wait. So the
device looks itself (`Watch`): from the first step whose loss or gradient is not finite, all
updates are left out, by the flag with which mixed precision leaves out single ones. When the host
asks, at the end of the epoch and before a state is saved, the weights are still those that met the
bad batch; the batch follows from the order of clips, and its random state was noted. On the CPU
looking costs nothing, and the step raises at once. Either way the step is then repeated with an
eye on every layer (`examine`), and kept in a file from which ``python -m training.diverged``
repeats it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from training.data.augmentation import augmented
from training.data.loading import order_of_batches
from training.errors import DivergedError
from training.record import files, state

if TYPE_CHECKING:
    from training.experiment import Experiment
    from training.steps import Steps

KEPT = Path("diverged") / "step.pth"


class BadStepError(Exception):
    """The gradient of the step under way is not finite; the weights are as they were before it."""


class Watch:
    """Clips gradients, and stands guard over updates.

    Args:
        parameters: what is trained.
        optimizer: fused on a GPU, so that it can be told on the device to leave out an update.
        max_norm: length to which the gradient is cut (`torch.nn.utils.clip_grad_norm_`), or None.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_norm: float | None,
    ):
        self.parameters = parameters
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.device = parameters[0].device
        self.on_host = self.device.type != "cuda"
        self.bad = torch.zeros((), device=self.device)  # 1 from the first bad step on
        self.good_steps = torch.zeros((), device=self.device)
        self.random_states: list[Tensor] = []  # at the begin of every step since the last look

    def begin_step(self) -> None:
        """Note the random state that dropout and initial states are drawn from."""
        self.random_states.append(device_random_state(self.device))

    def step(self, loss: Tensor) -> None:
        """Update the weights from gradients that are there, if they and ``loss`` are finite.

        Raises BadStepError on the CPU; a GPU keeps it to itself until `first_bad_step`.
        """
        norm = self.norm()
        bad = ((loss.detach() - loss.detach()) + (norm - norm)) != 0  # what is not finite gives nan
        if self.on_host:
            if bad:
                raise BadStepError
            self.random_states.clear()
            self.optimizer.step()
            return
        # In place: a captured step (`training.device.graphs`) goes on with the same memory.
        self.bad.logical_or_(bad)
        self.good_steps += 1 - self.bad
        self.optimizer.found_inf = self.bad
        self.optimizer.step()

    def tensors(self) -> list[Tensor]:
        """What a step changes here on the device."""
        return [self.bad, self.good_steps]

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Euclidean norm [] of the whole gradient, which is clipped if that is asked for."""
        if self.max_norm is not None:
            return nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        return nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])

    def first_bad_step(self) -> int | None:
        """Of the steps since the last look the number of the first bad one (waits for a GPU)."""
        if self.on_host:
            return None
        bad, good_steps = torch.stack([self.bad, self.good_steps]).tolist()
        if bad:
            return int(good_steps)
        self.good_steps.zero_()
        self.random_states.clear()
        return None


def device_random_state(device: torch.device) -> Tensor:
    """The state of the generator that steps on ``device`` draw from."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def set_device_random_state(state: Tensor, device: torch.device) -> None:
    """Set that generator."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


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


def examine(steps: "Steps", step: Step) -> list[Part]:
    """Repeat the forward and backward pass of ``step``, and look at all that takes part in it.

    In order: the input, the weights, the outputs of all modules as they are computed, the loss, and
    the gradients as they arise, from the last layer to the first.

    Args:
        steps: their model gets the weights of ``step``.
        step: what to repeat; on a device of another type dropout and initial states are others.
    """
    model, device = steps.model, steps.device
    model.load_state_dict(step.weights)
    model.train()
    if step.device == device.type:
        set_device_random_state(step.random, device)
    x, y = step.x.to(device), step.y.to(device)
    outputs, gradients = [], []
    hooks = [*listen_to_outputs(model, outputs), *listen_to_gradients(model, gradients)]
    try:
        loss = steps.backward(x, y).loss
    finally:
        for hook in hooks:
            hook.remove()
    weights = [look_at(f"the weight '{name}'", p) for name, p in model.named_parameters()]
    return [look_at("the input", x), *weights, *outputs, look_at("the loss", loss), *gradients]


def look_at(what: str, *tensors: Tensor) -> Part:
    """Whether all entries are finite, and the largest that is."""
    flat = torch.cat([tensor.detach().abs().flatten().float() for tensor in tensors])
    finite = flat[flat.isfinite()]
    largest = finite.max().item() if len(finite) else 0.0
    return Part(what, len(finite) == len(flat), largest)


def listen_to_outputs(model: nn.Module, parts: list[Part]) -> Iterator:
    """Let every module append its output to ``parts``; the hooks."""

    def listen(name: str, module: nn.Module):
        def hook(_module, _inputs, output):
            parts.append(look_at(f"the output of '{name}'", *tensors_in(output)))

        return module.register_forward_hook(hook)

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ModuleList):
            yield listen(name, module)


def listen_to_gradients(model: nn.Module, parts: list[Part]) -> Iterator:
    """Let every parameter append its gradient to ``parts`` when it is there; the hooks."""

    def listen(name: str, parameter: nn.Parameter):
        def hook(tensor):
            parts.append(look_at(f"the gradient of '{name}'", tensor.grad))

        return parameter.register_post_accumulate_grad_hook(hook)

    for name, parameter in model.named_parameters():
        yield listen(name, parameter)


def tensors_in(output: object) -> Iterator[Tensor]:
    """The tensors in what a module returns: one, or tuples of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple):
        for entry in output:
            yield from tensors_in(entry)


def stop_if_bad(experiment: "Experiment") -> None:
    """Ask a GPU whether one of the last steps was bad, and end the training if so (waits)."""
    watch, progress = experiment.steps.watch, experiment.progress
    noted = len(watch.random_states)
    index = watch.first_bad_step()
    if index is not None:
        number = progress.step - noted + index
        stop(experiment, number + 1, watch.random_states[index], *batch_again(experiment, number))


def batch_again(experiment: "Experiment", number: int) -> tuple[Tensor, Tensor]:
    """The training batch after ``number`` others of the epoch under way."""
    options, progress, clips = experiment.options, experiment.progress, experiment.data.train
    state.restore_random_state(progress.rng, experiment.device)
    order = order_of_batches(len(clips), options.batch_size, shuffle=True)
    indices = next(itertools.islice(order, number, None))
    epoch = progress.epoch + 1
    changed = augmented(clips, options, epoch=epoch, step=number, device=experiment.device)
    return changed.batch(indices)


def stop(experiment: "Experiment", number: int, random: Tensor, x: Tensor, y: Tensor) -> NoReturn:
    """Keep the bad step ``number`` of the epoch under way; DivergedError says what went wrong."""
    weights = {k: v.detach().clone() for k, v in experiment.model.state_dict().items()}
    step = Step(
        epoch=experiment.progress.epoch + 1,
        number=number,
        lr=experiment.lr,
        x=x,
        y=y,
        weights=weights,
        random=random,
        device=experiment.device.type,
        nb_classes=experiment.data.nb_classes,
    )
    parts = examine(experiment.steps, step)
    first = next((part.what for part in parts if not part.is_finite), None)
    folder, again = experiment.folder, ""
    with files.going_on_without("the step to repeat"):
        step.save(folder / KEPT)
        again = f"; python -m training.diverged {folder} repeats the step"
    raise DivergedError(
        f"training diverged in epoch {step.epoch}, step {number}, at learning rate {step.lr:g}: "
        f"{first or 'a number in it, but not when it was repeated,'} is the first that is not "
        f"finite. {advice(experiment, step)}{again}{what_is_kept(experiment)}"
    )


def advice(experiment: "Experiment", step: Step) -> str:
    """What may help; before the first update no learning rate had a part in it."""
    options = experiment.options
    if (step.epoch, step.number) != (options.start_epoch + 1, 1):
        return "Try a smaller --lr, or --max_grad_norm 1"
    penalty = ", or at --reg_factor" if options.use_regularizers else ""
    return (
        "No smaller --lr helps at the first step, before any update: look at the initial values, "
        f"the coefficients of a neuron of your own, and the input{penalty}"
    )


def what_is_kept(experiment: "Experiment") -> str:
    """Where the best weights are, if an epoch has ended."""
    if experiment.best is None:
        return ""
    return f". What was best before is kept in {experiment.folder}"
