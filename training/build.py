# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From the options of a run to its network and what trains it, and what would spoil that."""

import contextlib
import inspect
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from datasets.interface import Data
from datasets.registry import DATASETS
from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.delays import taps_of
from models.dynamics import describe
from models.dynamics.backends import why_not
from models.linear import set_precision, set_weight_bits
from models.network import Network
from models.snns import SNN
from models.ssms import BLOCKS, SSM
from parsers.load import Config
from parsers.training_config import TrainingConfig
from training.device.choice import describe_device
from training.errors import ExperimentError
from training.loss import check_loss
from training.metrics import Metrics, count_parameters, wilson
from training.schedule import Planned
from training.terminal.console import log, percent

MIN_LR = 1e-6
S4_DECAY, S4_LR = 0.01, 0.001  # of --s4_opt: the decay, and the highest rate of kind "ssm"
SILENT, SATURATED = 1e-5, 0.95  # firing rates that no layer computes with
CHANCE_EPOCHS = 3
FEW_CLIPS = 100  # of which one is a whole point of accuracy or more
HELD_AT_LEAST = 3  # tensors [B, T, H] that a layer's training step has at once
FLOAT_BYTES = 4


def build_model(config: Config, nb_features: int, nb_classes: int) -> Network:
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
    gradient = {"surrogate": options.surrogate, "surrogate_width": options.surrogate_width}
    try:
        if options.model_type in ANN_LAYERS:
            model = ANN(shape, sizes, options.model_type, readout=options.readout, **common)
        elif options.model_type in BLOCKS:
            features = {"extra_features": asdict(options), **gradient}
            model = SSM(shape, sizes, options.model_type, **features, **common)
        else:
            model = SNN(
                shape,
                sizes,
                options.model_type,
                extra_features=asdict(options),
                init_state=options.init_state,
                learn_threshold=options.learn_threshold,
                readout_decay=options.readout_decay,
                readout_tau=options.readout_tau,
                readout_gain=options.readout_gain,
                readout_normalization=options.readout_normalization,
                readout_start=options.readout_start,
                weight_init=options.weight_init,
                recurrent=options.recurrent,
                recurrent_layers=options.with_recurrence(),
                recurrent_delay=options.recurrent_delay,
                recurrent_dropout=options.recurrent_dropout,
                readout=options.readout,
                **gradient,
                **delays(config),
                **common,
            )
    except ValueError as error:
        raise ExperimentError(str(error)) from None
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = config.training.bn_momentum
    set_precision(model, config.training.precision)
    if options.weight_bits is not None:
        set_weight_bits(model, options.weight_bits)
    return model


def delays(config: Config) -> dict:
    """The options of `SNN` for delays; ExperimentError where the longest is below two steps."""
    options, training = config.model, config.training
    if options.delay == "none":
        return {}
    step_ms = DATASETS[training.dataset_name].step_ms(training)
    try:
        taps = taps_of(options.max_delay_ms, step_ms)
    except ValueError as error:
        raise ExperimentError(f"--max_delay_ms: {error}") from None
    return {"delay": options.delay, "delay_taps": taps, "delay_layers": options.delayed()}


def build_optimizer(model: Network, options: TrainingConfig) -> torch.optim.Adam:
    """Adam over the parameter groups of ``model``, which is on its device; one pass a step on a GPU
    and, unless the back end is ``naive``, on a CPU, which rounds a few updates otherwise there.

    The groups in it keep their lr_factor and kind.
    """
    groups = model.parameter_groups(options.weight_decay)
    for group in groups:
        of_kind = options.delay_lr_factor if group["kind"] == "delay" else 1.0
        group["lr"] = options.lr * group["lr_factor"] * of_kind
    of_s4 = options.s4_opt and any(group["kind"] == "ssm" for group in groups)
    for group in groups if of_s4 else []:
        is_ssm = group["kind"] == "ssm"
        group["weight_decay"] = 0.0 if is_ssm else S4_DECAY
        group["lr"] = min(group["lr"], S4_LR) if is_ssm else group["lr"]
    adam = torch.optim.AdamW if options.optimizer == "adamw" or of_s4 else torch.optim.Adam
    device = next(model.parameters()).device.type
    fused = device == "cuda" or (device == "cpu" and options.backend != "naive")
    return without_compiler(adam)(groups, fused=fused, foreach=not fused)


def without_compiler(kind: type[torch.optim.Adam]) -> type[torch.optim.Adam]:
    """``kind``, whose methods do not import what compiles them: that takes longer than all else
    before the first step, and nothing here does compile them."""
    names = "add_param_group", "load_state_dict", "state_dict", "zero_grad"
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), plain)


def build_scheduler(
    optimizer: torch.optim.Optimizer, options: TrainingConfig, model: Network
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """Lowers the learning rates when the validation accuracy stops rising, or as planned."""
    # As published, the same floor for state-space parameters, whatever their rate.
    shares = [1 if g["kind"] == "ssm" else g["lr"] / options.lr for g in optimizer.param_groups]
    plateau = {
        "mode": "max",
        "factor": options.scheduler_factor,
        "patience": options.scheduler_patience,
        "min_lr": [MIN_LR * share for share in shares],
    }
    has_delays = any(group["kind"] == "delay" for group in optimizer.param_groups)
    names = {options.scheduler, *([options.delay_scheduler] if has_delays else [])}
    if names == {"plateau"} and not model.scheduled():
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **plateau)
    return Planned(optimizer, options, **plateau)


def rates_in_force(optimizer: torch.optim.Optimizer, model: Network) -> dict:
    """The learning rate, as metrics.jsonl has it; where there are several, that of each kind of
    parameters ("x" a factor of their own); and the width of delays, where there are any."""
    rates, widths = {}, {}
    for group in optimizer.param_groups:
        factor = "" if group["lr_factor"] == 1 else f" x {group['lr_factor']:g}"
        rates[(group["kind"] or "weights") + factor] = group["lr"]
    for name, buffer in model.named_buffers():
        if name.endswith(".sigma"):
            widths[name.removesuffix(".sigma")] = buffer.item()
    found = {"lr": optimizer.param_groups[0]["lr"]}
    if len(rates) > 1:
        found["lr_groups"] = rates
    if widths:
        found["sigma"] = widths
    return found


def check_options(config: Config, device: torch.device) -> None:
    """ExperimentError if a run asks for what its network or ``device`` cannot do."""
    options = config.training
    if options.cuda_graph == "on" and device.type != "cuda" and not options.evaluate_pretrained:
        raise ExperimentError("--cuda_graph on needs a CUDA device: use auto or off")
    if why := why_not(options.backend, device):
        raise ExperimentError(f"--backend {options.backend} cannot run here: {why}")
    check_loss(config)
    delays(config)


def check_batches(config: Config, data: Data, device: torch.device) -> None:
    """ExperimentError if a training step would fail for the number or the length of its clips."""
    model, size, clips = config.model, config.training.batch_size, len(data.train)
    # A non-spiking readout has one value per clip and class: steps are summed before its norm.
    sums_first = model.model_type in ANN_LAYERS and model.normalization == "batchnorm"
    if sums_first and (min(size, clips) == 1 or clips % size == 1):
        raise ExperimentError(
            f"--batch_size {size} leaves one of the {clips:,} training clips in a batch by "
            f"itself, over which the readout of {model.model_type} cannot be normalised: "
            "choose another size, or --normalization layernorm or none"
        )
    if device.type == "cpu":
        _refuse_too_long(config, data)


def _refuse_too_long(config: Config, data: Data) -> None:
    """The system ends a program that takes more memory than there is, without a word."""
    model, clips = config.model, min(config.training.batch_size, len(data.train))
    units = (model.nb_layers - 1) * model.nb_hiddens * (2 if model.bidirectional else 1)
    steps, longest = data.train.longest()
    needed = FLOAT_BYTES * clips * steps * (data.nb_features + HELD_AT_LEAST * units)
    if needed > (there := _memory()):
        smaller = f"--batch_size, --nb_steps or --nb_hiddens {model.nb_hiddens}"
        if longest:
            smaller = f"--batch_size or --nb_hiddens, or leave out {longest}, the longest clip"
        raise ExperimentError(
            f"a training step on {clips} clips of {steps:,} time steps needs more than "
            f"{needed / 1e9:,.0f} GB, where a program here may use {there / 1e9:.0f} GB: choose a "
            f"smaller {smaller}"
        )


def _memory() -> float:
    """Bytes of memory that this machine has, or that a batch system or container allows."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # a system that does not say
        physical = math.inf
    return min([physical, *_limits_of_groups()])


def _limits_of_groups(root: Path = Path("/")) -> Iterator[float]:
    """Bytes that the control groups of this process may use (Linux; versions 1 and 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in kinds.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit holds for all groups below
            with contextlib.suppress(OSError, ValueError):  # none here, or the word "max"
                yield float(int((folder / name).read_text(encoding="utf-8")))
            if folder == base:
                break


def refuse_unreached(model: nn.Module) -> None:
    """ExperimentError if the first backward pass gave a parameter no gradient: it cannot learn."""
    unreached = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if unreached:
        more = f" and {len(unreached) - 1} more" if len(unreached) > 1 else ""
        raise ExperimentError(
            f"'{unreached[0]}'{more} cannot learn: no gradient reaches it. Either the neuron does "
            "not use it (requires_grad_(False) says so), or its spikes are not made by self.spike: "
            "a comparison has no gradient"
        )


def introduce(config: Config, data: Data, model: nn.Module, threads: int) -> None:
    """Say what is trained, on what data, and where; so many CPU ``threads`` are at hand."""
    options, device = config.training, next(model.parameters()).device
    log.info(describe_device(device, threads))
    if options.precision == "tf32" and device.type != "cuda":
        log.info("Matrix products: fp32 (tf32 is for GPUs, and has no effect on the CPU)")
    elif options.precision != "fp32":
        log.info("Matrix products: %s", options.precision)
    sizes = [data.nb_features, *model.layer_sizes]
    log.info(
        f"{config.model.model_type} {'-'.join(map(str, sizes))}, "
        f"{count_parameters(model):,} parameters, on {options.dataset_name}: "
        f"{len(data.train):,} train, {len(data.valid):,} validation "
        f"({data.validation}), {len(data.test):,} test clips"
    )
    log.info(describe(model))
    few = {"validation": len(data.valid), "test": len(data.test)}
    few = {name: count for name, count in few.items() if count < FEW_CLIPS}
    if few:
        log.warning(
            "Only %s clips: one of them is %.1f points of accuracy",
            " and ".join(f"{count} {name}" for name, count in few.items()),
            100 / min(few.values()),
        )


def warn_of_chance(history: list[dict], labels: Tensor, bn_statistics: str) -> None:
    """Say why validation may not learn what training does, once ``CHANCE_EPOCHS`` were like that.

    Args:
        history: the records of all epochs, one of training and one of validation each.
        labels: of the validation clips; chance is always to name the most frequent one.
        bn_statistics: the option.
    """
    of = {name: [r for r in history if r["split"] == name] for name in ("train", "valid")}
    pairs = list(zip(of["train"], of["valid"], strict=False))[-CHANCE_EPOCHS - 1 :]
    chance = float(labels.cpu().bincount().max()) / len(labels)

    def lags(train: dict, valid: dict) -> bool:
        low, high = wilson(valid["accuracy"], valid["samples"])
        return low <= chance and high < train["accuracy"]

    lagging = [lags(*pair) for pair in pairs]
    said = len(pairs) > CHANCE_EPOCHS and lagging[0]
    if said or len(pairs) < CHANCE_EPOCHS or not all(lagging[-CHANCE_EPOCHS:]):
        return
    why = (
        "are these clips of other speakers, from another microphone, or labelled otherwise?",
        "the running batchnorm statistics lag behind the weights, as on small data sets; "
        "--bn_statistics recalibrated takes those of the present weights",
    )[bn_statistics == "running"]
    train, valid = (percent(record["accuracy"], 1) for record in pairs[-1])
    log.warning("Validation stays at chance (%s) while training learns (%s): %s", valid, train, why)


def warn_of_idle_layers(train: Metrics) -> None:
    """Say which layers were silent, or fired at nearly every step, for a whole epoch."""
    for layer, rate in enumerate(train.firing_rates, start=1):
        if rate < SILENT:
            log.warning(
                "Layer %d hardly fires (%.1e spikes per step): a larger --lr or "
                "--use_regularizers True may wake it up",
                layer,
                rate,
            )
        elif rate > SATURATED:
            log.warning("Layer %d fires at nearly every step (%s)", layer, percent(rate))
