# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The command behind ``partial_figure3_synops.py``: accuracy against synaptic operations."""

import argparse
from pathlib import Path

from analysis.command import add_models, add_output
from analysis.evaluations import Evaluations, deviation_of, mean_of
from analysis.style import FORMATS, print_style, save
from analysis.synops_figure import Cost, draw_scatter, draw_side_by_side, pareto_front
from analysis.trained import (
    AUTHORS,
    OURS,
    REPO,
    Trained,
    is_there,
    labels_apart,
    names_apart,
    open_all,
)
from datasets.files import find_file
from datasets.registry import DATASETS
from parsers.options import ConfigError
from parsers.program import Parser, check_folder, numeric, program
from training.results.groups import are_other_data, tested_on
from training.terminal.console import start_logging, table

PROGRAM = "partial_figure3_synops.py"
TEST_SEEDS = (13, 42, 73, 190, 268)
KEPT = "figure3_evaluations.json"
# State-space models on SSC: published accuracy, and operations as the published figure counts them:
# 250 steps of 21,751; 8000 events, then 1000, through layers of 64 by 64.
ANALYTIC = (
    Cost("S5-RF", 78.8, 250 * 21_751),
    Cost("Event-SSM", 85.3, 8000 * 64 * 64 * 2 + 1000 * 64 * 64 * 8),
)


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command; ConfigError for a mistake."""
    parser = Parser(
        PROGRAM,
        description="Draw test accuracy against synaptic operations of trained networks, as Fabre "
        "et al. (2025, Figure 3) do and as a scatter with its Pareto front. Evaluations are kept "
        f"in {KEPT} beside the figures.",
    )
    default = "the authors' SSC models if they and SSC are there, else ours on the demo"
    add_models(parser, "folders of runs on one data set", default)
    parser.add_argument("--data_folder", help="folder of the data set [default: by the config]")
    seeds = "seeds of the random initial states [default: 13 42 73 190 268]"
    parser.add_argument("--seeds", nargs="+", type=numeric(int, 0), default=TEST_SEEDS, help=seeds)
    parser.add_argument("--refresh", action="store_true", help="measure again what is known")
    add_output(parser, FORMATS)
    return parser.parse_args(argv)


def choose_models(arguments: argparse.Namespace) -> list[Trained]:
    """The networks to compare; ConfigError if they are for different data."""
    names = arguments.models
    if names is None:
        names = AUTHORS if ssc_is_there(arguments.data_folder) else OURS
    seeds = tuple(dict.fromkeys(arguments.seeds))
    models = open_all(names, seeds, arguments.data_folder)
    first = models[0]
    for model in models:
        data, expected = (m.config.training.dataset_name for m in (model, first))
        if data != expected:
            raise ConfigError(
                f"--models: {first.name} is for {expected} and {model.name} for {data}; their "
                "accuracies do not compare"
            )
    if arguments.data_folder is None:
        check_same_data(models)
    return models


def check_same_data(models: list[Trained]) -> None:
    """ConfigError unless the checksums in the folders of the networks tell of the same test."""
    tests = {model.folder: tested_on(model.record()) for model in models}
    known = [model for model in models if tests[model.folder][1]]
    for model in known[1:]:
        if are_other_data(tests[known[0].folder], tests[model.folder]):
            first, second = names_apart([known[0], model])
            raise ConfigError(
                f"--models: {first} and {second} come from different data, by their "
                "checksums, so that their accuracies do not compare; --data_folder names one test "
                "for all"
            )


def ssc_is_there(data_folder: str | None) -> bool:
    """Whether the authors' networks and the test split that they are for are on this machine."""
    folder = Path(data_folder or REPO / DATASETS["ssc"].default_folder).expanduser()
    return all(map(is_there, AUTHORS)) and find_file(folder, "ssc_test.h5") is not None


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Evaluate, draw both figures and print the table."""
    arguments = read_arguments(argv)
    check_folder("--output", arguments.output)
    start_logging()
    models = choose_models(arguments)
    evaluations = Evaluations(arguments.output / KEPT, refresh=arguments.refresh)
    results = evaluations.of(models)
    labels = [f"{model.title}\n{model.config.model.nb_hiddens}" for model in models]
    labels = labels_apart(labels, models, "\n")
    costs = [cost_of(*network) for network in zip(labels, models, results, strict=True)]
    data = models[0].config.training.dataset_name
    shown = [*costs, *ANALYTIC] if data == "ssc" else costs
    print(f"\n{table(rows_of(models, shown), HEADERS)}\n")
    print(explanation(len(models[0].configs)))
    title = f"Accuracy and synaptic operations on {data_title(models[0])}"
    drawings = {"figure3_partial": draw_side_by_side, "figure3_scatter": draw_scatter}
    with print_style():
        for name, draw in drawings.items():
            path = arguments.output / f"{name}.{arguments.format}"
            print(f"Wrote {save(draw(shown, title), path)}")


def data_title(model: Trained) -> str:
    """The data set of a network as a title spells it."""
    return "the demo's test split" if model.data == "demo" else model.data


def cost_of(label: str, model: Trained, runs: list[dict]) -> Cost:
    """Mean and deviation over the seeds of one network."""
    figures = ("accuracy", "sop", "recurrent_sop")
    accuracy, sop, recurrent = ((mean_of(runs, f), deviation_of(runs, f)) for f in figures)
    return Cost(
        label, 100 * accuracy[0], sop[0], model.model_type, 100 * accuracy[1], sop[1], *recurrent
    )


HEADERS = ["model", "hidden", "test accuracy (%)", "operations", "recurrent ones", "Pareto"]


def rows_of(models: list[Trained], costs: list[Cost]) -> list[tuple]:
    """The table; the last costs may be of no model of ours."""
    front = pareto_front(costs)
    names = names_apart(models)
    deviates = len(models[0].configs) > 1
    rows = []
    for number, cost in enumerate(costs):
        model = models[number] if number < len(models) else None
        accuracy = f"{cost.accuracy:.2f}"
        operations = f"{cost.operations:,.0f}"
        recurrent = f"{cost.recurrent:,.0f}" if cost.recurrent else "-"
        if model and deviates:
            accuracy += f" ± {cost.accuracy_deviation:.2f}"
            operations += f" ± {cost.operations_deviation:,.0f}"
            recurrent += f" ± {cost.recurrent_deviation:,.0f}" if cost.recurrent else ""
        name = names[number] if model else f"{cost.label} (published)"
        hidden = str(model.config.model.nb_hiddens) if model else "-"
        mark = "*" if cost in front else ""
        rows.append((name, hidden, accuracy, operations, recurrent, mark))
    return rows


def explanation(seeds: int) -> str:
    """What the figures of the table are."""
    over = f"mean ± sample standard deviation over {seeds} test seeds" if seeds > 1 else "one seed"
    return (
        f"Accuracy and synaptic operations per clip: {over}.\n"
        "Operations are feed-forward ones; those through recurrent weights come on top.\n"
        "Pareto: no other network is at least as accurate and at most as costly, with these."
    )
