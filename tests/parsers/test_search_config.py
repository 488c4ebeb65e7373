# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

import math

import pytest
import yaml

from parsers.distributions import FIELDS
from parsers.load import OPTIONS
from parsers.search import Early

SEARCH = """\
method: bayes
metric: {name: valid acc, goal: maximize}
run_cap: 12
early_terminate: {type: hyperband, min_iter: 2, eta: 4}
enqueue:
  - {lr: 0.01, nb_hiddens: 96}
parameters:
  model_type: {values: [RF, SiLIF]}
  nb_hiddens: {distribution: q_log_uniform_values, min: 32, max: 512, q: 32}
  lr: {distribution: log_uniform_values, min: 1e-3, max: 0.1}
  pdrop: {min: 0.1, max: 0.5}
  scheduler_patience: {min: 1, max: 5}
  dataset_name: {value: demo}
  nb_epochs: {distribution: constant, value: 7}
  seed: {values: [3, 4]}
"""


def one(repository, entry, name="lr"):
    """The search over one option."""
    repository.write(f"method: random\nrun_cap: 3\nparameters: {{{name}: {entry}}}\n")
    return repository.plan("--config=mine").search.space[name]


def refusal(repository, **parts):
    """What is said of a search with these parts in place of, or beside, its own."""
    content = {"method": "random", "run_cap": 3, "parameters": {"lr": {"min": 0.1, "max": 0.2}}}
    content |= {name: part for name, part in parts.items() if part is not None}
    kept = {name: part for name, part in content.items() if parts.get(name, 0) is not None}
    path = repository.write(yaml.safe_dump(kept, sort_keys=False))
    message = repository.error("--config=mine")
    assert str(path) in message
    return message


def test_a_search_in_the_layout_of_wandb(repository):
    repository.write(SEARCH)
    plan = repository.plan("--config=mine")
    search = plan.search
    assert (search.method, search.trials, search.seeds) == ("bayes", 12, (3, 4))
    assert search.early.first == 2
    assert search.early.eta == 4
    assert search.early.strict
    assert {name: dimension.distribution for name, dimension in search.space.items()} == {
        "model_type": "categorical",
        "nb_hiddens": "q_log_uniform_values",
        "lr": "log_uniform_values",
        "pdrop": "uniform",
        "scheduler_patience": "int_uniform",
    }
    assert search.space["model_type"].values == ("ResonateFire", "SiLIF")
    (point,) = plan.points
    assert (point.training.nb_epochs, point.training.seed) == (7, 3)
    assert (point.training.lr, point.model.nb_hiddens) == (0.01, 96)
    assert plan.axes == {}


def test_the_layout_of_a_search_describes_the_same_search(repository):
    repository.write(SEARCH)
    search = repository.plan("--config=mine").search
    layout = search.layout({"dataset_name": "demo"}) | {"enqueue": list(search.enqueued)}
    repository.write(yaml.safe_dump(layout, sort_keys=False))
    assert repository.plan("--config=mine").search == search


@pytest.mark.parametrize(
    ("entry", "drawn", "value"),
    [
        ("{min: 0.0, max: 0.5}", 0.3, 0.3),
        ("{distribution: q_uniform, min: 0.1, max: 0.5, q: 0.2}", 0.29, 0.2),  # not 0.3
        (
            "{distribution: q_uniform, min: 0.1, max: 0.9, q: 0.1}",
            0.31,
            0.3,
        ),  # not 0.30000000000004
        ("{distribution: q_uniform, min: 1, max: 9}", 6.6, 7),
        ("{distribution: log_uniform_values, min: 0.01, max: 1}", 0.1, 0.1),
        ("{distribution: inv_log_uniform_values, min: 0.01, max: 1}", 0.1, 0.1),
        ("{distribution: q_log_uniform_values, min: 2, max: 64, q: 4}", 9.9, 8),
        ("{distribution: int_uniform, min: 1, max: 5}", 4, 4),
        ("{distribution: normal, mu: 5, sigma: 1}", 0.5, 5),
        ("{distribution: normal, mu: 5, sigma: 1}", 0.8413447460685429, 6),
        ("{distribution: q_normal, mu: 9, sigma: 1, q: 2}", 0.8413447460685429, 10),
        ("{distribution: log_normal, mu: 0, sigma: 1}", 0.8413447460685429, math.e),
        ("{distribution: q_log_normal, mu: 4, sigma: 1, q: 10}", 0.5, 50),
        ("{distribution: beta, a: 2, b: 2}", 0.5, 0.5),
        ("{distribution: q_beta, a: 2, b: 2, q: 0.4}", 0.5, 0.4),
        ("{values: [0.1, 0.2]}", 0.2, 0.2),
        ("[0.1, 0.2]", 0.2, 0.2),
        ("{values: [0.1, 0.2, 0.3], probabilities: [0.5, 0.25, 0.25]}", 0.6, 0.2),
        ("{values: [0.1, 0.2, 0.3], probabilities: [0.5, 0.25, 0.25]}", 1.0, 0.3),
    ],
)
def test_what_is_drawn_and_the_value(repository, entry, drawn, value):
    dimension = one(repository, entry, "weight_decay")
    found = dimension.value(drawn)
    assert found == pytest.approx(value, abs=1e-9)
    assert isinstance(found, float)
    assert dimension.value(dimension.drawn(found)) == pytest.approx(found)
    low, high, *_ = dimension.draw
    if not dimension.draw.choices:
        for end in (low, high):
            assert low <= dimension.drawn(dimension.value(end)) <= high  # rounded past it, perhaps
        assert low <= drawn <= high
        assert low <= dimension.drawn(dimension.middle) <= high


def test_every_distribution_is_tested_above_or_is_a_constant():
    tested = test_what_is_drawn_and_the_value.pytestmark[0].args[1]
    inferred = {"uniform", "categorical", "categorical_w_probabilities", "constant"}
    assert {name for name in FIELDS if any(name in entry for entry, *_ in tested)} | inferred == {
        *FIELDS
    }


@pytest.mark.parametrize(
    ("ends", "distribution"),
    [("1, max: 5", "int_uniform"), ("1.0, max: 5", "uniform"), ("1, max: 5e0", "uniform")],
)
def test_a_bare_range_is_whole_where_both_ends_are(repository, ends, distribution):
    assert one(repository, f"{{min: {ends}}}", "weight_decay").distribution == distribution
    notes = repository.plan("--config=mine").notes
    assert ["only whole numbers are drawn" in note for note in notes] == (
        [True] if distribution == "int_uniform" else []
    )


def test_whole_options_get_whole_numbers(repository):
    dimension = one(repository, "{distribution: q_uniform, min: 8, max: 64, q: 8}", "nb_hiddens")
    assert [type(dimension.value(x)) for x in (8.0, 19.7)] == [int, int]
    assert dimension.value(19.7) == 16


def test_the_command_line_fixes_an_option_or_gives_choices(repository):
    repository.write(SEARCH)
    plan = repository.plan("--config=mine", "--lr", "0.02", "--pdrop", "0.1", "0.2", "--seed", "9")
    assert "lr" not in plan.search.space
    assert plan.points[0].training.lr == 0.02
    assert plan.search.space["pdrop"].values == (0.1, 0.2)
    assert plan.search.enqueued == ({"nb_hiddens": 96},)
    assert plan.search.seeds == (9,)


def test_without_seeds_a_trial_has_one(repository):
    repository.write(SEARCH.replace("  seed: {values: [3, 4]}\n", ""))
    assert repository.plan("--config=mine").search.seeds == (13,)


@pytest.mark.parametrize(
    "flags",
    [
        ["--debug"],
        ["--model_type=LIF", "--nb_hiddens=8", "--lr=1", "--pdrop=0", "--scheduler_patience=1"],
    ],
)
def test_a_single_point_of_a_search_is_a_run(repository, flags):
    repository.write(SEARCH)
    plan = repository.plan("--config=mine", *flags)
    assert plan.search is None
    assert plan.points[0].model.nb_hiddens == (96 if flags == ["--debug"] else 8)
    assert len(plan.points) == (1 if flags == ["--debug"] else 2)


def test_a_trial_by_its_number(repository):
    repository.write(SEARCH)
    assert repository.plan("--config=mine", "--only_point", "12").only_point == 12
    assert "there are 12 trials" in repository.error("--config=mine", "--only_point", "13")


@pytest.mark.parametrize(
    ("entry", "first"),
    [
        ({"type": "hyperband", "min_iter": 3}, 3),
        ({"type": "hyperband", "max_iter": 27, "s": 2}, 3),
        ({"type": "hyperband", "max_iter": 20, "s": 2, "eta": 2}, 5),
        ({"type": "hyperband", "max_iter": 9, "s": 5, "strict": False}, 1),
        ({"type": "hyperband", "max_iter": 9, "s": 10**12}, 1),
        ({"type": "median"}, 1),
        ({"type": "median", "min_iter": 4}, 4),
    ],
)
def test_the_first_epoch_after_which_trials_are_stopped(repository, entry, first):
    content = {"method": "random", "run_cap": 3, "early_terminate": entry}
    content["parameters"] = {"lr": {"min": 0.1, "max": 0.2}}
    repository.write(yaml.safe_dump(content))
    early = repository.plan("--config=mine").search.early
    assert isinstance(early, Early)
    assert early.first == first
    assert early.entry == entry
    assert early.strict == (entry["type"] == "hyperband" and entry.get("strict", True))


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"method": "bayse"}, "unknown method 'bayse'; did you mean 'bayes'?"),
        ({"method": "custom"}, "unknown method 'custom'; there are grid, random and bayes"),
        ({"parameters": None}, "parameters must hold options"),
        ({"run_cap": None}, "run_cap is missing"),
        ({"run_cap": 0}, "run_cap: '0' is not a whole number from 1"),
        ({"run_cap": 1.5}, "run_cap: '1.5' is not a whole number"),
        ({"run_cap": 10**6}, "is more than 10000"),
        ({"parameters": {"lr": {"value": 0.1}}}, "nothing to search"),
        ({"parameters": {"lrr": {"min": 0.1, "max": 1}}}, "unknown key 'lrr'"),
        ({"metric": {"name": "test acc", "goal": "maximize"}}, "'test acc' is not one of"),
        ({"metric": {"name": "valid acc", "goal": "minimize"}}, "goal must be maximize"),
        ({"metric": {"name": "valid acc"}}, "without one wandb would minimise"),
        ({"metric": {"goal": "maximize", "target": 1}}, "target is for wandb's server alone"),
        ({"metric": "valid acc"}, "metric must hold name and goal"),
        ({"controller": {"type": "local"}}, "controller is for `wandb controller`"),
        ({"scheduler": {"engine": "optuna"}}, "scheduler is for `wandb sweep-scheduler`"),
        ({"job": "x"}, "job is for wandb launch"),
        ({"early_terminate": {"type": "envelope"}}, "type must be hyperband or median"),
        ({"early_terminate": {"type": ["hyperband"]}}, "type must be hyperband or median"),
        ({"early_terminate": "hyperband"}, "type must be hyperband or median"),
        ({"early_terminate": {"type": "hyperband"}}, "hyperband needs min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, "max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "min_iter: '0' is not a whole"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}},
            "eta must be a whole",
        ),
        ({"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 1}}, "2 is below eta 3"),
        ({"early_terminate": {"type": "median", "eta": 3}}, "median takes min_iter, not 'eta'"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": 3}}, "true or false"),
        ({"enqueue": [{"pdrop": 0.1}]}, "enqueue: 'pdrop' is not searched"),
        ({"enqueue": [{"lr": 0.5}]}, "enqueue: lr: 0.5 is never drawn by uniform"),
        ({"enqueue": [{"lr": "x"}]}, "enqueue: lr: 'x' is not a number"),
        ({"enqueue": {"lr": 0.1}}, "enqueue must be a list of points"),
        ({"foo": 1}, "key 'foo' is next to parameters"),
        ({"nb_epochs": 1}, "move it below parameters"),
        ({"method": "grid"}, "run_cap is for a search"),
    ],
)
def test_a_wrong_search_is_refused_in_one_line(repository, parts, named):
    assert named in refusal(repository, **parts)


@pytest.mark.parametrize(
    ("name", "entry", "named"),
    [
        ("lr", {"distribution": "log_uniform_value", "min": 1, "max": 2}, "'log_uniform_values'"),
        ("lr", {"distribution": "foo"}, "unknown distribution 'foo'; there are constant"),
        ("lr", {"distribution": ["uniform"]}, "must be a name such as uniform"),
        ("lr", {"distribution": "log_normal", "mu": 1000}, "at its quantile 0.001"),
        ("lr", {"distribution": "log_uniform", "min": -3, "max": -1}, "exponents"),
        ("lr", {"min": 0.2, "max": 0.1}, "min 0.2 is not below max 0.1"),
        ("lr", {"min": 0.2, "max": 0.2}, "is not below"),
        ("lr", {"min": 0.2}, "uniform needs max"),
        ("lr", {"distribution": "uniform"}, "uniform needs min"),
        ("lr", {"min": 0.1, "max": 0.2, "q": 0.1}, "uniform takes min and max, not 'q'"),
        ("lr", {"min": "a", "max": 0.2}, "min: 'a' is not a number"),
        ("lr", {"min": None, "max": 0.2}, "min: 'None' is not a number"),
        ("lr", {"min": [0.1], "max": 0.2}, "is not a number"),
        ("lr", {"mu": 0.1}, "it holds ['mu']"),
        ("lr", {}, "must hold value, values"),
        ("lr", {"min": 0.0, "max": 0.2}, "0.0 is out of range; it must be > 0"),
        ("lr", {"distribution": "log_uniform_values", "min": 0.0, "max": 1}, "must be above 0"),
        ("lr", {"distribution": "normal", "mu": 0.1}, "at its quantile 0.001"),
        ("lr", {"distribution": "normal", "sigma": 0}, "sigma 0 must be above 0"),
        ("lr", {"distribution": "q_uniform", "min": 0.1, "max": 1.0, "q": 0}, "q 0 must be above"),
        ("lr", {"values": [0.1, 0.2], "probabilities": [0.5]}, "as long as values"),
        ("lr", {"values": [0.1, 0.2], "probabilities": [0.5, 0.6]}, "sum must be 1"),
        ("lr", {"values": [0.1, 0.1]}, "more than once"),
        ("lr", {"values": 0.1}, "values must be a list"),
        ("lr", {"values": [0.1, "x"]}, "'x' is not a number"),
        ("lr", {"values": []}, "values must be a list"),
        ("lr", {"parameters": {"a": {"value": 1}}}, "nested parameters"),
        ("lrr", {"min": 0.1, "max": 0.2}, "unknown key 'lrr'; did you mean 'lr'?"),
        ("nb_hiddens", {"min": 8.0, "max": 16.0}, "uniform draws others"),
        ("nb_hiddens", {"distribution": "q_uniform", "min": 8, "max": 16, "q": 0.5}, "whole q"),
        ("nb_hiddens", {"distribution": "q_uniform", "min": 1, "max": 16, "q": 8}, "0 is out of"),
        ("surrogate", {"min": 1, "max": 2}, "takes values such as [boxcar]"),
        ("use_bias", {"min": 0, "max": 1}, "takes values"),
        ("seed", {"min": 1, "max": 9}, "seed: takes values"),
        ("dataset_name", {"values": ["shd", "demo"]}, "judged on the same data"),
        ("data_folder", {"values": ["a", "b"]}, "does not belong to the training"),
        ("gpu_device", {"min": 0, "max": 3}, "does not belong to the training"),
        ("jobs", {"values": [1, 2]}, "does not belong to the training"),
        ("by_model", {"LIF": {"lr": 1}}, "by_model cannot be inside parameters"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line(repository, name, entry, named):
    assert named in refusal(repository, parameters={name: entry, "pdrop": [0.1, 0.2]})


def test_a_grid_does_not_stop_runs_early_and_says_so(repository):
    early = "early_terminate: {type: hyperband, min_iter: 1}\n"
    repository.write(f"method: grid\n{early}parameters: {{lr: {{values: [0.1, 0.2]}}}}\n")
    plan = repository.plan("--config=mine")
    assert plan.search is None
    assert any("early_terminate is for searches" in note for note in plan.notes)


def test_what_is_searched_stays_within_the_option(repository):
    """Whatever a sampler draws between its ends is a value of the option."""
    repository.write(SEARCH)
    for name, dimension in repository.plan("--config=mine").search.space.items():
        low, high, *_ = dimension.draw
        drawn = dimension.draw.choices or (low, (low + high) // 2 or low, high)
        for each in drawn:
            OPTIONS[name].convert(dimension.value(each))
