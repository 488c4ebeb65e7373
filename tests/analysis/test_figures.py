# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The commands that draw figures: what they measure, keep, draw, print and refuse."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.text import Annotation, Text

from analysis import figure2, figure3, main_figure, style, trained
from analysis.eigenvalues import exact_eigenvalues, timing
from analysis.evaluations import Evaluations, key_of, over_seeds
from analysis.figure2 import Spectrum, crowded, draw_spectra
from analysis.figure3 import Cost, draw_scatter, draw_side_by_side, in_units, pareto_front
from analysis.style import INK, LOOKS, looks, print_style
from analysis.trained import REPO, open_model
from benchmarks import measure
from models.snns import LAYERS, AdaptiveLayer
from parsers.load import load_plan
from tests.analysis.conftest import small_runs, write_run
from training.sweep import run as run_plan

COSTS = (
    Cost("cheap\n128", 80.0, 2e5, "LIF", 0.5, 1e3),
    Cost("dear\n512", 95.0, 2e6, "SiLIF", 0.3, 2e4),
    Cost("beaten\n128", 79.0, 3e5, "adLIF", 1.0, 1e3),
    Cost("recurrent\n128", 85.0, 2.1e5, "RLIF", 0.4, 1e3, 1e5, 500),
)

FIGURES = {"accuracy": 0.5, "loss": 1.0, "sop": 1e5, "recurrent_sop": 0.0, "firing_rates": []}


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch) -> None:
    monkeypatch.setattr(style, "DPI", 80)


def draw(command, *argv) -> int:
    return command.main([str(word) for word in argv])


def one_line(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("figure2_eigenvalues.py: error: ")
    assert error.count("\n") == 1
    return error


def test_figure_2_is_drawn_in_both_views_with_a_table_of_every_layer(tmp_path, capsys):
    """A neuron without a published matrix is in the exact figure only."""
    runs = small_runs(tmp_path, ("CSiLIF", "SiLIF", "LIF"))
    assert draw(figure2, "--models", *runs.values(), "--output", tmp_path / "figs") == 0
    printed = capsys.readouterr().out
    for name in ("figure2.png", "figure2_exact.png"):
        assert str(tmp_path / "figs" / name) in printed
        image = matplotlib.image.imread(tmp_path / "figs" / name)
        assert min(image.shape[:2]) >= 288
        assert 0.05 < (image[..., :3].min(axis=2) < 0.9).mean() < 0.5
    rows = [line.split() for line in printed.splitlines() if line.startswith("run_")]
    assert [(row[0], row[2]) for row in rows] == [
        *[("run_CSiLIF", "published"), ("run_CSiLIF", "exact")] * 2,
        *[("run_SiLIF", "published"), ("run_SiLIF", "exact")] * 2,
        *[("run_LIF", "exact")] * 2,
    ]
    layer = trained.open_model(runs["SiLIF"]).network().hidden_layers[1]
    figures = timing(exact_eigenvalues(layer), 1.0 / 19)
    row = next(row for row in rows if row[:3] == ["run_SiLIF", "2", "exact"])
    assert row[3] == f"{figures.oscillatory:.1%}"
    median = 1000 * np.median(figures.time_constants)
    assert float(row[4]) == pytest.approx(median, rel=0.01)


def test_another_layer_gets_a_name_of_its_own(tmp_path, capsys):
    run = write_run(tmp_path / "lif", model_type="LIF")
    argv = ["--models", run, "--output", tmp_path, "--format", "svg"]
    assert draw(figure2, *argv, "--layer", 2) == 0
    (path,) = tmp_path.glob("*.svg")
    assert path.name == "figure2_exact_layer2.svg"
    assert "hidden layer 2" in path.read_text()
    assert "only the exact figure" in capsys.readouterr().out
    assert draw(figure2, *argv, "--layer", 3) == 2
    assert "--layer 3: lif has 2 hidden layers" in one_line(capsys)


@pytest.fixture
def authors(tmp_path, monkeypatch) -> list:
    """Stand-ins for the authors' folders: their names, nothing but weights, small networks."""
    folders, configs = [], {}
    for name, config in trained.AUTHORS.items():
        options = load_plan([f"--config={config}", "--debug"]).points[0].to_dict()
        folders.append(write_run(tmp_path / name, classes=35, **{**options, "nb_hiddens": 6}))
        configs[name] = str(tmp_path / f"{name}.yaml")
        (folders[-1] / "config.yaml").rename(configs[name])
    monkeypatch.setattr(trained, "AUTHORS", configs)
    return folders


def test_the_authors_models_need_no_record(authors, tmp_path, capsys):
    argv = ["--models", *authors, "--output", tmp_path / "figs", "--format", "svg"]
    assert draw(figure2, *argv) == 0
    svg = (tmp_path / "figs" / "figure2.svg").read_text()
    assert "trained on SSC" in svg
    for label in ("cAdLIF, 4 ms", "C-SiLIF, 4 ms", "SiLIF, 4 ms", "RF, 4 ms"):
        assert label in svg
    assert "ref_SSC_RF" in capsys.readouterr().out


def test_all_four_of_the_authors_models_come_before_ours(tmp_path, monkeypatch):
    present = {"ref_SSC_CadLIF", "ref_SSC_CSiLIF", "ref_SSC_SiLIF"}
    monkeypatch.setattr(figure2, "is_there", lambda name: name in present)
    opened = []
    monkeypatch.setattr(figure2, "open_model", lambda name: opened.append(name) or name)
    assert figure2.choose_models(None)[1] == "our demo models"
    assert opened == ["demo_CadLIF", "demo_CSiLIF", "demo_SiLIF", "demo_RF"]
    present.add("ref_SSC_RF")
    opened.clear()
    assert figure2.choose_models(None)[1] == "the authors' SSC models"
    assert set(opened) == present


def test_what_holds_no_spiking_network_is_refused(tmp_path, capsys):
    def refusal(run) -> str:
        assert draw(figure2, "--models", run, "--output", tmp_path / "figs") == 2
        assert not (tmp_path / "figs").exists()
        return one_line(capsys)

    run = write_run(tmp_path / "run")
    weights = run / "checkpoints" / "best_model.pth"
    torch.save({"bias": torch.zeros(3)}, weights)
    assert "holds no layer of a network" in refusal(run)
    weights.unlink()
    assert "no checkpoint at" in refusal(run)
    (run / "config.yaml").unlink()
    assert "no config.yaml" in refusal(run)
    gru = write_run(tmp_path / "g", model_type="GRU")
    assert "a GRU, which is no network of one spiking neuron" in refusal(gru)
    other = write_run(tmp_path / "ref_SSC_CadLIF", classes=35, model_type="CadLIF")
    (other / "config.yaml").unlink()
    assert "does not fit this model" in refusal(other)


def test_the_zoom_holds_most_eigenvalues_of_every_network():
    wide = 0.9 * np.exp(1j * np.linspace(-1.5, 1.5, 100))[:, None]
    near_one = np.full((100, 1), 0.99 + 0.01j)
    spectra = [Spectrum("CSiLIF", "wide", wide), Spectrum("ResonateFire", "near", near_one)]
    left, right, bottom, top = crowded(spectra)
    for spectrum in spectra:
        points = spectrum.points
        inside = (left < points.real) & (points.real < right)
        inside &= (bottom < points.imag) & (points.imag < top)
        assert inside.mean() > 0.5
    assert right >= 1


def test_long_names_stay_in_the_picture_and_missing_eigenvalues_out_of_it():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (4, 2)) + 1j * rng.uniform(-1, 1, (4, 2))
    points[0, 0] = np.nan
    names = [f"SiLIF {'long_name' * 6}_{number}, 10 ms" for number in range(len(LOOKS) + 1)]
    spectra = [Spectrum("SiLIF", name, points) for name in names]
    with print_style():
        figure = draw_spectra(spectra, "title")
        figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    colours = {handle.get_facecolor().tobytes() for handle in figure.legends[0].legend_handles}
    assert len(colours) == len(LOOKS)
    shown = sum(len(cloud.get_offsets()) for cloud in figure.axes[0].collections)
    assert shown == len(names) * 7
    assert figure.axes[1].bbox.height > 0.3 * figure.bbox.height


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return small_runs(tmp_path_factory.mktemp("runs"), ("SiLIF", "RLIF"))


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What the figures show, which are not drawn."""
    shown = []
    monkeypatch.setattr(figure3, "write_figure", lambda *args: shown.append(args[3]))
    return shown


def test_figure_3_is_drawn_beside_its_table(runs, tmp_path, capsys):
    argv = ["--models", runs["SiLIF"], runs["RLIF"], "--seeds", 13, 42, "--output", tmp_path]
    assert draw(figure3, *argv) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run_")]
    assert [row.count("±") for row in rows] == [2, 3]
    for name in ("figure3_partial.png", "figure3_scatter.png"):
        assert min(matplotlib.image.imread(tmp_path / name).shape[:2]) >= 256


def test_evaluations_are_kept(runs, tmp_path, capsys, monkeypatch, drawn):
    argv = ["--models", runs["SiLIF"], runs["RLIF"], "--seeds", 13, 42, "--output", tmp_path]
    measured, original = [], Evaluations.measure
    monkeypatch.setattr(
        Evaluations, "measure", lambda *args: measured.append(args) or original(*args)
    )
    for flags, count in (([], 4), ([], 4), (["--refresh"], 8)):
        assert draw(figure3, *argv, *flags) == 0
        assert len(measured) == count
        kept = json.loads((tmp_path / figure3.KEPT).read_text())
        assert sorted((e["model"], e["seed"]) for e in kept.values()) == [
            (name, seed) for name in ("run_RLIF", "run_SiLIF") for seed in (13, 42)
        ]
        recurrent = {e["model"]: e["recurrent_sop"] > 0 for e in kept.values()}
        assert recurrent == {"run_SiLIF": False, "run_RLIF": True}
    assert drawn[0] == drawn[2] == drawn[4]


def test_an_evaluation_is_what_the_command_line_gives(runs, tmp_path, monkeypatch):
    """The same figures as --evaluate_pretrained True, which takes its options from the folder."""
    monkeypatch.chdir(tmp_path)
    model = open_model(runs["SiLIF"], (13, 42))
    ours = Evaluations(tmp_path / "kept.json").of([model])[0]
    argv = [str(runs["SiLIF"]), "--evaluate_pretrained", "True", "--seed", "13", "42"]
    assert run_plan(load_plan([*argv, "--new_exp_folder", "out"])) == 0
    theirs = json.loads((tmp_path / "out" / "evaluation_summary.json").read_text())["runs"]
    for figure in ("accuracy", "loss", "sop"):
        assert [one[figure] for one in ours] == [one["test"][figure] for one in theirs]


def test_the_key_follows_weights_data_seed_and_options(runs):
    config = open_model(runs["SiLIF"], (13,)).config
    others = [open_model(runs["SiLIF"], (42,)).config]
    others.append(replace(config, model=replace(config.model, init_state="zero")))
    keys = {key_of(other, "a", ["x"]) for other in (config, *others)}
    keys |= {key_of(config, "b", ["x"]), key_of(config, "a", ["y"])}
    assert len(keys) == 5
    moved = replace(
        config, training=replace(config.training, data_folder=Path("/x"), backend="cpu")
    )
    assert key_of(moved, "a", ["x"]) == key_of(config, "a", ["x"])


def test_shipped_evaluations_count_wherever_the_data_are(tmp_path, monkeypatch, drawn):
    """And no program writes into the folder that is shipped."""
    for path in (REPO / "datasets" / "demo").glob("demo_*.h5.gz"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Evaluations, "measure", Mock(side_effect=AssertionError))
    for data in ((), ("--data_folder", tmp_path)):
        assert draw(figure3, *data) == 0
    assert not (tmp_path / "figures").exists()  # nothing to keep, and nothing is drawn here
    for parse in (figure2.read_arguments, figure3.read_arguments):
        assert parse([]).output == Path("figures")
    assert not measure.RESULTS.is_absolute()


@pytest.mark.parametrize("content", ['{"mine": 1}', "{"])
def test_a_file_of_something_else_is_not_overwritten(runs, tmp_path, capsys, content):
    kept = tmp_path / figure3.KEPT
    kept.write_text(content)
    assert draw(figure3, "--models", runs["SiLIF"], "--seeds", 13, "--output", tmp_path) == 2
    assert "holds no evaluations" in capsys.readouterr().err
    assert kept.read_text() == content


def test_statistics_over_seeds():
    runs = [{"accuracy": 0.5}, {"accuracy": 0.7}]
    assert over_seeds(runs, "accuracy") == pytest.approx((0.6, 0.2 / 2**0.5))
    assert over_seeds(runs[:1], "accuracy") == (0.5, 0)


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


def test_units_of_operations():
    values = (950, 1500, 2e6, 98.3e6, 1e9)
    assert [in_units(value) for value in values] == ["950", "1.5 k", "2 M", "98.3 M", "1 G"]


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
    record = {"classes": list("abcdefgh"), "clips": {}, "checksums": {}}
    for file, content in (("summary.json", {"classes": 10}), ("data.json", record)):
        (model / file).write_text(json.dumps(content))
        assert figure3.data_title(open_model(model)) == "digits"
    assert figure3.data_title(open_model(write_run(tmp_path / "demo"))) == "the demo's test split"


def test_models_of_other_content_do_not_compare(tmp_path, monkeypatch, capsys, drawn):
    monkeypatch.setattr(figure3.Evaluations, "of", lambda self, models: [[FIGURES]] * len(models))
    runs = [write_run(tmp_path / name) for name in ("a", "b", "old")]
    sums = [{"demo_train.h5": name, "demo_test.h5": "test"} for name in ("a", "b")]
    for run, found in zip(runs, sums, strict=False):
        (run / "summary.json").write_text(json.dumps({"data_checksums": found}))
    argv = ["--models", runs[2], *runs[:2], "--output", tmp_path / "figs"]
    assert draw(figure3, *argv) == 0
    record = {"classes": [], "clips": {}, "checksums": {**sums[1], "demo_test.h5": "other"}}
    (runs[1] / "data.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert draw(figure3, *argv) == 2
    assert "a and b come from different data" in capsys.readouterr().err
    assert draw(figure3, *argv, "--data_folder", tmp_path) == 0
    assert (
        draw(figure3, *argv, "--models", runs[0], write_run(tmp_path / "c", dataset_name="shd"))
        == 2
    )
    assert "a is for demo and c for shd" in capsys.readouterr().err


def test_one_seed_has_no_deviation(runs, tmp_path, capsys, drawn):
    """The table of a sweep, beside the network, is skipped."""
    table = tmp_path / "sweep_summary.json"
    table.write_text("{}")
    argv = ["--output", tmp_path / "figs", "--seeds", 13, "--models", table]
    assert draw(figure3, *argv, runs["RLIF"]) == 0
    said = capsys.readouterr().out
    assert "run_RLIF" in said
    assert "±" not in said
    assert draw(figure3, *argv) == 2
    assert "is a file" in capsys.readouterr().err


def test_networks_of_one_neuron_get_labels_of_their_own(tmp_path, monkeypatch, capsys, drawn):
    monkeypatch.setattr(figure3.Evaluations, "of", lambda self, models: [[FIGURES]] * len(models))
    names = ("x/long_lr0_1_seed1", "x/long_lr0_1_seed2", "y/run", "z/run")
    runs = [write_run(tmp_path / name, nb_hiddens=6 if name[0] == "x" else 7) for name in names]
    runs.append(write_run(tmp_path / "other", model_type="LIF"))
    assert draw(figure3, "--models", *runs, "--output", tmp_path / "figs") == 0
    assert [cost.label.replace("\n", " ") for cost in drawn[0]] == [
        "SiLIF 6 seed1",
        "SiLIF 6 seed2",
        "SiLIF 7 y/run",
        "SiLIF 7 z/run",
        "LIF 6",
    ]
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows if "run " in row] == ["y/run", "z/run"]
    styles = looks([cost.model_type for cost in drawn[0]])
    assert len({*styles}) == len(drawn[0])
    assert styles[0] == LOOKS["SiLIF"]
    assert styles[4] == LOOKS["LIF"]
    assert looks([None, None, "mine"]) == [(INK, "*")] * 3


def test_the_table_has_the_terms_of_the_published_adaptive_neurons():
    terms = {
        name.replace("cAdLIF", "CadLIF"): marks for name, marks, _ in main_figure.ADAPTIVE_NEURONS
    }
    assert len(terms) == len(main_figure.ADAPTIVE_NEURONS) == 6
    for name, marks in terms.items():
        kind = LAYERS[name]
        assert issubclass(kind, AdaptiveLayer)
        adapts = "1" if kind.states_per_neuron == 2 else "0"
        assert marks == f"1{adapts}{adapts}{int(kind.recurrent)}"


def test_no_words_of_the_method_figure_overlap_or_leave_the_page():
    with print_style():
        figure = main_figure.draw()
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
        texts = [text for text in texts if text.axes is not None and text.axes.axison is False]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > 50
    page = figure.bbox
    for words, box in boxes:
        assert page.x0 < box.x0 < box.x1 < page.x1, words
        assert page.y0 < box.y0 < box.y1 < page.y1, words
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-2).overlaps(second.padded(-2)), f"{one} on {other}"


def test_the_method_figure_is_written(tmp_path, capsys):
    path = tmp_path / "new" / "main_figure.pdf"
    main_figure.main(["--output", str(path.parent), "--format", "pdf"])
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes().startswith(b"%PDF")
    assert list(path.parent.iterdir()) == [path]
