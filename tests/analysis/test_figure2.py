# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The command that draws eigenvalues: its figures, its table, and what it refuses."""

import matplotlib.image
import numpy as np
import pytest
import torch
from small_runs import small_runs, write_run

from analysis import figure2, trained
from analysis.eigenvalues import exact_eigenvalues, timing
from analysis.figure2 import Spectrum, crowded, draw_spectra
from analysis.style import print_style
from parsers.load import load_plan

pytestmark = pytest.mark.usefixtures("few_pixels")


@pytest.fixture
def runs(tmp_path):
    return small_runs(tmp_path, ("CadLIF", "CSiLIF", "SiLIF", "ResonateFire", "LIF"))


def draw(*argv) -> int:
    return figure2.main([str(word) for word in argv])


def one_line(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("figure2_eigenvalues.py: error: ")
    assert error.count("\n") == 1
    return error


def test_both_figures_and_a_table_of_every_layer(runs, tmp_path, capsys):
    models = [runs[name] for name in ("CadLIF", "CSiLIF", "SiLIF", "ResonateFire")]
    assert draw("--models", *models, "--output", tmp_path / "figs") == 0
    printed = capsys.readouterr().out
    for name in ("figure2.png", "figure2_exact.png"):
        assert str(tmp_path / "figs" / name) in printed
        image = matplotlib.image.imread(tmp_path / "figs" / name)
        assert min(image.shape[:2]) >= 288
        assert 0.05 < (image[..., :3].min(axis=2) < 0.9).mean() < 0.5
    rows = [line for line in printed.splitlines() if line.startswith("run_")]
    assert len(rows) == 4 * 2 * 2


def test_the_table_holds_what_the_network_does(runs, capsys, tmp_path):
    model = trained.open_model(runs["SiLIF"])
    assert draw("--models", runs["SiLIF"], "--output", tmp_path) == 0
    figures = timing(exact_eigenvalues(model.network().hidden_layers[1]), 1.0 / 19)
    row = next(
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.split()[:3] == ["run_SiLIF", "2", "exact"]
    )
    assert row[3] == f"{figures.oscillatory:.1%}"
    assert float(row[7].strip("()")) == pytest.approx(
        1000 * np.median(figures.time_constants), rel=0.01
    )


def test_another_layer_gets_a_name_of_its_own(runs, tmp_path):
    assert (
        draw("--models", runs["SiLIF"], "--layer", 2, "--output", tmp_path, "--format", "svg") == 0
    )
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {"figure2_layer2.svg", "figure2_exact_layer2.svg"}
    assert "hidden layer 2" in (tmp_path / "figure2_layer2.svg").read_text()


def test_neurons_without_a_published_matrix_are_in_the_exact_figure(runs, tmp_path, capsys):
    assert draw("--models", runs["LIF"], "--output", tmp_path) == 0
    assert not (tmp_path / "figure2.png").exists()
    assert (tmp_path / "figure2_exact.png").exists()
    assert "only the exact figure" in capsys.readouterr().out


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
    assert draw(*argv) == 0
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


def test_weights_of_another_size_and_a_folder_without_options(tmp_path, capsys):
    folder = write_run(tmp_path / "ref_SSC_CadLIF", classes=35, model_type="CadLIF")
    (folder / "config.yaml").unlink()
    assert draw("--models", folder, "--output", tmp_path / "figs") == 2
    assert "does not fit this model" in one_line(capsys)
    torch.save({"bias": torch.zeros(3)}, folder / "checkpoints" / "best_model.pth")
    assert draw("--models", folder, "--output", tmp_path / "figs") == 2
    assert "holds no layer of a network" in one_line(capsys)
    (write_run(tmp_path / "other") / "config.yaml").unlink()
    assert draw("--models", tmp_path / "other", "--output", tmp_path / "figs") == 2
    assert "no config.yaml" in one_line(capsys)


def test_a_layer_that_is_not_there(runs, tmp_path, capsys):
    assert draw("--models", runs["SiLIF"], "--layer", 3, "--output", tmp_path / "figs") == 2
    assert "--layer 3: run_SiLIF has 2 hidden layers" in one_line(capsys)
    assert not (tmp_path / "figs").exists()


def test_a_folder_without_weights_and_one_that_does_not_spike(runs, tmp_path, capsys):
    (runs["SiLIF"] / "checkpoints" / "best_model.pth").unlink()
    assert draw("--models", runs["SiLIF"], "--output", tmp_path / "figs") == 2
    assert "no checkpoint at" in one_line(capsys)
    gru = write_run(tmp_path / "gru", model_type="GRU")
    assert draw("--models", gru, "--output", tmp_path / "figs") == 2
    assert "a GRU, which does not spike" in one_line(capsys)


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


def test_neurons_without_eigenvalues_are_left_out_of_the_drawing():
    values = np.array([[0.5 + 0.1j, 0.5 - 0.1j], [np.nan, np.nan]])
    spectrum = Spectrum("CadLIF", "one known", values)
    assert len(spectrum.points) == 2
    figure = draw_spectra([spectrum], "title")
    shown = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    assert shown == 2


def test_long_names_of_networks_stay_in_the_picture():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (4, 2)) + 1j * rng.uniform(-1, 1, (4, 2))
    spectra = [Spectrum("SiLIF", f"SiLIF {'long_name' * 6}_{i}, 10 ms", points) for i in range(9)]
    with print_style():
        figure = draw_spectra(spectra, "title")
        figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    colours = {handle.get_facecolor().tobytes() for handle in figure.legends[0].legend_handles}
    assert len(colours) == 8
    assert figure.axes[1].bbox.height > 0.3 * figure.bbox.height
