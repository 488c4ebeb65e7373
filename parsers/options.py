# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How one option is declared, and how a user's text becomes its value.

A config dataclass declares each field with `option(...)`. The command line, the YAML checks and
`--help` all derive from that one declaration, and text from either source is converted here.
"""

import dataclasses
import difflib
import math
import operator
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
JOINT = "+"  # between the choices of an option that takes several as one value
AUTO = "auto"
# What users of other frameworks call the options, for a hint where they type it.
ELSEWHERE = {
    "lr": "learning_rate lrate init_lr initial_lr base_lr",
    "nb_epochs": "epoch epochs max_epochs num_train_epochs",
    "batch_size": "bs batch train_batch_size per_device_train_batch_size",
    "seed": "random_seed manual_seed random_state seed_everything",
    "model_type": "model arch architecture net neuron neuron_type cell",
    "nb_layers": "layers n_layers num_layers num_hidden_layers depth",
    "nb_hiddens": "hidden hiddens hidden_size hidden_dim n_hidden num_hidden nhid units",
    "pdrop": "dropout drop dropout_rate dropout_prob drop_rate p_drop",
    "normalization": "norm batchnorm batch_norm layernorm",
    "use_bias": "bias",
    "dataset_name": "dataset",
    "data_folder": "data data_dir data_path data_root datadir root dataset_path",
    "nb_steps": "time_steps timesteps num_steps n_steps n_bins nb_bins bins T",
    "num_workers": "workers num_proc",
    "scheduler": "lr_scheduler lr_schedule",
    "optimizer": "optim optimiser opt",
    "weight_decay": "wd l2",
    "scheduler_patience": "patience lr_patience",
    "scheduler_factor": "gamma lr_decay lr_factor decay_factor",
    "max_grad_norm": "clip grad_clip clip_grad clip_grad_norm gradient_clip_val clip_norm",
    "use_augm": "augment augmentation aug",
    "precision": "amp fp16 bf16 half mixed_precision dtype",
    "gpu_device": "gpu gpus cuda device devices",
    "jobs": "n_jobs num_jobs parallel",
    "new_exp_folder": "out output output_dir save_dir logdir log_dir exp_dir exp_folder",
    "load_exp_folder": "checkpoint checkpoint_path ckpt ckpt_path weights load pretrained",
    "evaluate_pretrained": "eval evaluate eval_only test test_only do_eval inference",
    "resume": "resume_from resume_from_checkpoint continue restart",
    "overwrite": "force overwrite_output_dir",
    "tracking": "wandb use_wandb logger report_to",
    "use_regularizers": "regularizer regularization reg firing_rate_reg",
    "surrogate": "surrogate_gradient surrogate_function surrogate_grad spike_grad",
}
_MEANT = {other.lower(): name for name, others in ELSEWHERE.items() for other in others.split()}


class UserError(ValueError):
    """A mistake of the user; the message is one line that says what, where and what to do."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class ConfigError(UserError):
    """Something the user wrote cannot be run."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """An option has an effect only where `option` has one of `values`, or where what is `also`
    enough holds; `words` say so."""

    option: str
    values: tuple
    words: str = ""
    also: "Needs | None" = None

    def are_met(self, config: Mapping[str, Any]) -> bool:
        """Whether `config`, values by option name, has it; one part of a joint value suffices."""
        met = any(part in self.values for part in parts(config[self.option]))
        return met or (self.also is not None and self.also.are_met(config))

    def __str__(self) -> str:
        return self.words or f"--{self.option} {' or '.join(map(str, self.values))}"


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the declaration of an option says beyond its name, type and default.

    Attributes:
        help, group: its text and its place in `--help`.
        choices, aliases: the values, in any case, and other names of theirs.
        registry: the file that has an entry for each of the choices.
        joined: choices that may be joined by `+` into one value, or be a list in a list in YAML.
        within: the range of a number, as `>= 0 and < 1`.
        not_above: an option that must not be smaller.
        needs, only_for: without which it has no effect, or may only have its default.
        harmless: values that other runs may have all the same, as earlier versions recorded them.
        grid, grid_default: several values are runs of their own; those taken when none is given.
        several: several values together say how to run.
        switch: a flag that takes no value.
        scope: `run`, it may differ between the runs of a command; `command`, all have the same;
            `process`, as `command`, and each process that takes part in a sweep has its own;
            `plan`, it chooses and spreads the runs, none of which knows it.
        recorded: config.yaml has its value, otherwise its default.
        loads: the loaded data depend on it.
        by_data: `auto` is for the data to decide, and what they decide is recorded.
        recalled: a trained model is tested with the value in its folder.
        in_tests: it acts on a test too, not on training alone.
        may_change: a run may be resumed with another value.
        compared: runs with different values of it are different in a table of results.
        tuned: published configs choose it for each model, so it tells no models apart there.
    """

    help: str
    group: str
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    registry: str = ""
    joined: tuple[str, ...] = ()
    within: str = ""
    not_above: str | None = None
    needs: Needs | None = None
    only_for: Needs | None = None
    harmless: tuple = ()
    grid: bool = False
    grid_default: tuple | None = None
    several: bool = False
    switch: bool = False
    scope: Literal["run", "command", "process", "plan"] = "run"
    recorded: bool = True
    loads: bool = False
    by_data: bool = False
    recalled: bool = False
    in_tests: bool = True
    may_change: bool = False
    compared: bool = True
    tuned: bool = False


def option(default: Any, help: str, **rules: Any) -> Any:
    """Declare a config field: its default, text in `--help` and other `Rules` (with a `group`)."""
    return dataclasses.field(default=default, metadata={"rules": Rules(help, **rules)})


@dataclasses.dataclass(frozen=True)
class Option:
    """A declared field with its name, type, rules and the file that declares it."""

    name: str
    kind: type
    optional: bool
    default: Any
    rules: Rules
    file: str = ""

    @property
    def wanted(self) -> str:
        """What a value has to be, in words."""
        if self.kind is bool:
            return "True or False"
        if self.rules.choices:
            return "one of " + ", ".join(self.rules.choices)
        kinds = {int: "a whole number", float: "a number", Path: "a folder"}
        limits = self.rules.within.split(" and ")[0]  # of the seed the other is a number of bits
        return " ".join([kinds.get(self.kind, "a name"), *filter(None, [limits])])

    @property
    def default_values(self) -> tuple:
        """The values taken when the user gives none; several only for a default grid (seed)."""
        return self.rules.grid_default or (self.default,)

    def convert(self, value: Any) -> Any:
        """Return `value` (text, or already a plain value) as this option's type.

        Raises ValueError with the problem, to which the caller adds where the value was written.
        """
        if value is None or (self.optional and value == "None"):
            if self.optional:
                return None
            raise ValueError("has no value")
        names = value if isinstance(value, list) and self.rules.joined else []
        if names and all(isinstance(name, str) for name in names):
            value = JOINT.join(names)
        if not isinstance(value, str | bool | int | float | Path):
            kind = "list" if isinstance(value, list) else "mapping"
            raise ValueError(f"holds a {kind}, not a single value")
        converted = self._parse(str(value))
        self._check_range(converted)
        return converted

    def read(self, values: Sequence[Any], place: str) -> tuple:
        """Convert the values of an option that may list several, or the single one of any other.

        Raises ConfigError with the place where they were written.
        """
        try:
            converted = tuple(self.convert(value) for value in values)
        except ValueError as error:
            texts = [value for value in values if isinstance(value, str)]  # a list may be endless
            lists = self.rules.grid and "," in "".join(texts)
            hint = "; put spaces between several values, and no commas" if lists else ""
            raise ConfigError(f"{place}: {error}{hint}") from None
        repeated = [value for i, value in enumerate(converted) if value in converted[:i]]
        if not converted:
            problem = "is an empty list; give at least one value"
        elif len(values) > 1 and not (self.rules.grid or self.rules.several):
            problem = f"takes one value; {show(values[1])} is one too many"
        elif repeated:
            problem = f"lists {repeated[0]} more than once"
        else:
            return converted
        raise ConfigError(f"{place}: {problem}")

    def _parse(self, text: str) -> Any:
        if self.rules.choices:
            return self._choose(text)
        if self.kind is bool:
            if text.lower() not in BOOLEANS:
                raise ValueError(f"{show(text)} is not a boolean; write True or False")
            return BOOLEANS[text.lower()]
        if self.kind is int:
            return parse_int(text)
        if self.kind is float:
            return parse_float(text)
        if not text.strip():
            raise ValueError("is empty")
        if "\0" in text:
            raise ValueError(f"{show(text)} holds a null character")
        return self.kind(text)

    def _choose(self, text: str) -> str:
        rules = self.rules
        known = {name.lower(): name for name in rules.choices}
        known |= {alias.lower(): name for alias, name in rules.aliases.items()}
        names = re.split(rf" *\{JOINT} *", text) if rules.joined else [text]
        if len(names) > 1 and "" in names:
            raise ValueError(f"{show(text)} lacks a name beside {JOINT}")
        for name in names:
            if name.lower() not in known:
                hint = near(name, [*rules.choices, *rules.aliases])
                if rules.registry:
                    hint += f" (a new entry of {rules.registry} needs its name in {self.file} too)"
                raise ValueError(f"{show(name)} is not one of {', '.join(rules.choices)}{hint}")
        chosen = [known[name.lower()] for name in names]
        single = [name for name in chosen if name not in rules.joined]
        if single and chosen[1:]:
            raise ValueError(f"{single[0]} cannot be joined with others, as {rules.joined[0]} can")
        return JOINT.join(chosen)

    def _check_range(self, value: Any) -> None:
        for bound in filter(None, self.rules.within.split(" and ")):
            sign, limit = bound.split()
            if not COMPARISONS[sign](value, float(limit)):
                raise ValueError(f"{value} is out of range; it must be {self.rules.within}")


def options_of(*config_classes: type) -> dict[str, Option]:
    """Every option that the given config dataclasses declare, by name, in order."""
    found = {}
    for config_class in config_classes:
        file = config_class.__module__.replace(".", "/") + ".py"
        for field in dataclasses.fields(config_class):
            kinds = [kind for kind in typing.get_args(field.type) if kind is not type(None)]
            kind, rules = kinds[0] if kinds else field.type, field.metadata["rules"]
            found[field.name] = Option(field.name, kind, bool(kinds), field.default, rules, file)
    return found


def parts(value: Any) -> list:
    """The choices that a joint value such as 'SiLIF+RadLIF' names, in their order."""
    return value.split(JOINT) if isinstance(value, str) else [value]


def near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean 'X'?` for the known name that means the same elsewhere, or else is nearest to
    `name`; "" when none is close."""
    spellings = {candidate.lower(): candidate for candidate in known}
    found = [_MEANT.get(name.lower())]
    if found[0] not in spellings:
        found = difflib.get_close_matches(name.lower(), spellings, n=1)
    return f"; did you mean '{prefix}{spellings[found[0]]}'?" if found else ""


def show(value: Any) -> str:
    """A user's value as it goes into a message: quoted, on one line, and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:56] + " ..."


def parse_int(text: str) -> int:
    """A whole number in plain digits; ValueError for anything else."""
    # int() alone would also read 1_000, padded text and other scripts' digits.
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text):
        raise ValueError(f"{show(text)} is not a whole number")
    return int(text)


def parse_float(text: str) -> float:
    """A finite number; ValueError for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is None or "_" in text:
        raise ValueError(f"{show(text)} is not a number")
    if not math.isfinite(number):
        raise ValueError(f"{show(text)} is not a finite number")
    return number
