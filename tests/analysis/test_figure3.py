# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Accuracy against synaptic operations: what is measured, kept, drawn and refused."""

import json

import matplotlib.image
import pytest
from matplotlib.text import Annotation
from small_runs import small_runs, write_run

from analysis import figure3
from analysis.evaluations import Evaluations, deviation_of, key_of, mean_of
from analysis.figure3 import Cost, draw_scatter, draw_side_by_side, in_units, pareto_front
from analysis.style import INK, LOOKS, looks, print_style
from analysis.trained import open_model
from parsers.load import load_plan
from training.errors import ExperimentError
from training.sweep import run as run_plan

COSTS = (
    Cost("cheap\n128", 80.0, 2e5, "LIF", 0.5, 1e3),
    Cost("dear\n512", 95.0, 2e6, "SiLIF", 0.3, 2e4),
    Cost("beaten\n128", 79.0, 3e5, "adLIF", 1.0, 1e3),
    Cost("recurrent\n128", 85.0, 2.1e5, "RLIF", 0.4, 1e3, 1e5, 500),
)

FIGURES = {"accuracy": 0.5, "loss": 1.0, "sop": 1e5, "recurrent_sop": 0.0, "firing_rates": []}


pytestmark = pytest.mark.usefixtures("few_pixels")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return small_runs(tmp_path_factory.mktemp("runs"), ("SiLIF", "RLIF"))


def draw(*argv) -> int:
    return figure3.main([str(word) for word in argv])


def test_figures_table_and_kept_evaluations(runs, tmp_path, capsys, monkeypatch):
    argv = ["--models", runs["SiLIF"], runs["RLIF"], "--seeds", 13, 42, "--output", tmp_path]
    assert draw(*argv) == 0
    first = capsys.readouterr().out
    for name in ("figure3_partial.png", "figure3_scatter.png"):
        assert min(matplotlib.image.imread(tmp_path / name).shape[:2]) >= 256
    kept = json.loads((tmp_path / figure3.KEPT).read_text())
    assert sorted((e["model"], e["seed"]) for e in kept.values()) == [
        (name, seed) for name in ("run_RLIF", "run_SiLIF") for seed in (13, 42)
    ]
    recurrent = {e["model"]: e["recurrent_sop"] > 0 for e in kept.values()}
    assert recurrent == {"run_SiLIF": False, "run_RLIF": True}

    # The second time nothing is measured, with --refresh all is.
    measured = []
    original = Evaluations.measure
    monkeypatch.setattr(
        Evaluations, "measure", lambda *args: measured.append(args) or original(*args)
    )
    assert draw(*argv) == 0
    assert not measured
    rows = [line for line in first.splitlines() if line.startswith("run_")]
    assert [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("run_")
    ] == rows
    assert draw(*argv, "--refresh") == 0
    assert len(measured) == 4
    assert json.loads((tmp_path / figure3.KEPT).read_text()) == kept


def test_an_evaluation_is_what_the_command_line_gives(runs, tmp_path, monkeypatch):
    """The same figures as --evaluate_pretrained True, which takes its options from the folder."""
    monkeypatch.chdir(tmp_path)
    model = open_model(runs["SiLIF"], (13, 42))
    ours = Evaluations(None).of([model])[0]
    argv = [str(runs["SiLIF"]), "--evaluate_pretrained", "True", "--seed", "13", "42"]
    assert run_plan(load_plan([*argv, "--new_exp_folder", "out"])) == 0
    theirs = json.loads((tmp_path / "out" / "evaluation_summary.json").read_text())["runs"]
    for figure in ("accuracy", "loss", "sop"):
        assert [one[figure] for one in ours] == [one["test"][figure] for one in theirs]


def test_the_key_follows_weights_seed_and_options(runs):
    config = open_model(runs["SiLIF"], (13,)).config
    other_seed = open_model(runs["SiLIF"], (42,)).config
    keys = {key_of(config, "a"), key_of(config, "b"), key_of(other_seed, "a")}
    assert len(keys) == 3
    assert key_of(config, "a") in keys


def test_a_file_of_something_else_is_not_overwritten(runs, tmp_path, capsys):
    kept = tmp_path / figure3.KEPT
    kept.write_text('{"mine": 1}')
    assert draw("--models", runs["SiLIF"], "--seeds", 13, "--output", tmp_path) == 2
    assert "holds no evaluations" in capsys.readouterr().err
    assert kept.read_text() == '{"mine": 1}'
    kept.write_text("{")
    with pytest.raises(ExperimentError, match="holds no evaluations"):
        Evaluations(kept)


def test_statistics_over_seeds():
    runs = [{"accuracy": 0.5}, {"accuracy": 0.7}]
    assert mean_of(runs, "accuracy") == pytest.approx(0.6)
    assert deviation_of(runs, "accuracy") == pytest.approx(0.2 / 2**0.5)
    assert deviation_of(runs[:1], "accuracy") == 0


def test_the_pareto_front_counts_recurrent_operations():
    assert [cost.label for cost in pareto_front(COSTS)] == [
        "cheap\n128",
        "recurrent\n128",
        "dear\n512",
    ]
    same_accuracy = Cost("later", 80.0, 4e5, "LIF")
    assert same_accuracy not in pareto_front([*COSTS, same_accuracy])


def test_the_published_points_stand_beside_ssc():
    s5, event = figure3.ANALYTIC
    assert (s5.accuracy, s5.operations) == (78.8, 5_437_750)
    assert (event.accuracy, event.operations) == (85.3, 98_304_000)
    with print_style():
        figure = draw_side_by_side([*COSTS, s5, event], "title")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[-2:] == ["S5-RF", "Event-SSM"]
    low, high = figure.axes[1].get_ylim()
    assert low < 2e5
    assert high > 98_304_000


def test_names_in_the_scatter_do_not_cover_each_other():
    close = [Cost(f"net {i}", 90 + 0.2 * i, 1e6 * 1.02**i, "SiLIF") for i in range(6)]
    with print_style():
        figure = draw_scatter([*COSTS, *close], "title")
        figure.canvas.draw()
        names = figure.axes[0].findobj(Annotation)
        boxes = [name.get_window_extent() for name in names]
    assert len(names) == len(COSTS) + len(close)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :]), names[i].get_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(950, "950"), (1500, "1.5 k"), (2e6, "2 M"), (98.3e6, "98.3 M"), (1e9, "1 G")],
)
def test_units_of_operations(value, text):
    assert in_units(value) == text


def test_models_of_different_data_do_not_compare(runs, tmp_path, capsys):
    other = write_run(tmp_path / "other", dataset_name="shd")
    assert draw("--models", runs["SiLIF"], other, "--output", tmp_path / "figs") == 2
    assert "run_SiLIF is for demo and other for shd" in capsys.readouterr().err


def test_data_that_are_not_there_are_told(tmp_path, capsys):
    model = write_run(tmp_path / "of_shd", dataset_name="shd")
    argv = ["--models", model, "--data_folder", tmp_path / "none", "--output", tmp_path / "figs"]
    assert draw(*argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "shd_test.h5" in error


def test_ssc_is_taken_when_models_and_data_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(figure3, "is_there", lambda name: True)
    assert not figure3.ssc_is_there(str(tmp_path))
    (tmp_path / "ssc_test.h5.zip").write_bytes(b"")
    assert figure3.ssc_is_there(str(tmp_path))
    monkeypatch.setattr(figure3, "is_there", lambda name: name != "ref_SSC_RF")
    assert not figure3.ssc_is_there(str(tmp_path))


def test_own_classes_are_called_by_their_folder(tmp_path):
    model = write_run(tmp_path / "run", dataset_name="shd", data_folder="some/digits")
    assert figure3.data_title(open_model(model)) == "SHD"
    (model / "summary.json").write_text(json.dumps({"classes": 10}))
    assert figure3.data_title(open_model(model)) == "digits"
    record = {"classes": list("abcdefgh"), "clips": {}, "checksums": {}}
    (model / "data.json").write_text(json.dumps(record))
    assert figure3.data_title(open_model(model)) == "digits"
    (model / "summary.json").unlink()
    assert figure3.data_title(open_model(model)) == "digits"
    assert figure3.data_title(open_model(write_run(tmp_path / "demo"))) == "the demo's test split"


def test_models_of_other_content_do_not_compare(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figure3.Evaluations, "of", lambda self, models: [[FIGURES]] * len(models))
    runs = [write_run(tmp_path / name) for name in ("a", "b", "old")]
    sums = [{"demo_train.h5": name, "demo_test.h5": "test"} for name in ("a", "b")]
    for run, found in zip(runs, sums, strict=False):
        (run / "summary.json").write_text(json.dumps({"data_checksums": found}))
    argv = ["--models", runs[2], *runs[:2], "--output", tmp_path / "figs"]
    assert draw(*argv) == 0
    record = {"classes": [], "clips": {}, "checksums": {**sums[1], "demo_test.h5": "other"}}
    (runs[1] / "data.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert draw(*argv) == 2
    assert "a and b come from different data" in capsys.readouterr().err
    assert draw(*argv, "--data_folder", tmp_path) == 0


def test_one_seed_has_no_deviation_and_the_table_of_a_sweep_is_no_network(runs, tmp_path, capsys):
    table = tmp_path / "sweep_summary.json"
    table.write_text("{}")
    argv = ["--models", runs["RLIF"], table, "--output", tmp_path / "figs", "--seeds", 13]
    assert draw(*argv) == 0
    said = capsys.readouterr().out
    assert "run_RLIF" in said
    assert "±" not in said
    assert draw(*argv, 42) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("run_RLIF"))
    assert row.count("±") == 3
    assert draw("--models", table, "--output", tmp_path / "figs") == 2
    assert "is a file" in capsys.readouterr().err


def test_networks_of_one_neuron_are_told_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figure3.Evaluations, "of", lambda self, models: [[FIGURES]] * len(models))
    drawn = []
    scatter = figure3.draw_scatter
    monkeypatch.setattr(
        figure3, "draw_scatter", lambda *args: drawn.extend(args[0]) or scatter(*args)
    )
    names = ("x/long_lr0_1_seed1", "x/long_lr0_1_seed2", "y/run", "z/run")
    runs = [write_run(tmp_path / name, nb_hiddens=6 if name[0] == "x" else 7) for name in names]
    runs.append(write_run(tmp_path / "other", model_type="LIF"))
    assert draw("--models", *runs, "--output", tmp_path / "figs") == 0
    assert [cost.label.replace("\n", " ") for cost in drawn] == [
        "SiLIF 6 seed1",
        "SiLIF 6 seed2",
        "SiLIF 7 y/run",
        "SiLIF 7 z/run",
        "LIF 6",
    ]
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows if "run " in row] == ["y/run", "z/run"]
    styles = looks([cost.model_type for cost in drawn])
    assert len({*styles}) == len(drawn)
    assert styles[0] == LOOKS["SiLIF"]
    assert styles[4] == LOOKS["LIF"]
    assert looks([None, None, "mine"]) == [(INK, "*")] * 3
