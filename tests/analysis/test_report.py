# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The report of a run: what it shows is what the network did."""

import html.parser
import json
import re
import shutil
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch

from analysis.observe import LayerTrace, Observer
from analysis.report import figures
from analysis.report.neurons import neuron_trace
from analysis.trained import open_run
from models.anns import LAYERS as ANN_LAYERS
from tests.analysis.conftest import NB_CLASSES
from training.build import build_model
from training.data.loading import batches

# The others are one of these without recurrent weights, or with other ranges or gates.
MODELS = ["LIF", "RadLIF", "CadLIF", "SiLIF", "ResonateFire", "CSiLIF", "MLP", "GRU"]
DRAWN = ("SiLIF", "GRU")  # the others differ in numbers, not in kinds of figures
EVERYONE = {"loss", "accuracy", "learning_rate", "confusion"}


class Links(html.parser.HTMLParser):
    """Collects what a page refers to, its anchors, and pictures without a text."""

    def __init__(self, text: str):
        super().__init__()
        self.targets, self.anchors, self.pictures, self.silent = [], set(), [], 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.targets += [values[name] for name in ("src", "href") if name in values]
        self.anchors.add(values.get("id"))
        if tag == "img":
            self.pictures.append(values["src"])
            self.silent += not values.get("alt")
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(folder, numbers, drawn=False):
    """Self-contained, every link leads somewhere, every picture is one and lies beside it.

    The names of the pictures, and the text of the page.
    """
    text = (folder / "index.html").read_text(encoding="utf-8")
    links = Links(text)
    assert not links.open
    assert links.silent == 0
    for target in links.targets:
        assert target.startswith("data:image/png;base64,") or target[1:] in links.anchors
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert "url(" not in text
    assert "@import" not in text
    files = sorted(folder.glob("*.png"))
    assert [path.name for path in files] == numbers["pictures"]
    assert len(files) == len(links.pictures)
    for path in files if drawn else []:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 150
        assert image[..., :3].std() > 0.03, f"{path.name} is empty"
    return {path.stem for path in files}, text


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_report(make_run, report, model):
    run = make_run(model_type=model)
    status, folder, numbers, line = report(run, drawn=model in DRAWN)
    assert status == 0, line
    pictures, text = check_page(folder, numbers, drawn=model in DRAWN)
    assert pictures >= EVERYONE
    summary = json.loads((run / "summary.json").read_text())
    assert numbers["test"]["accuracy"] == summary["test"]["accuracy"]
    confusion = np.array(numbers["confusion"])
    assert confusion.sum() == summary["test"]["samples"] == 23
    assert confusion.trace() / confusion.sum() == pytest.approx(summary["test"]["accuracy"])
    assert confusion.sum(axis=1).tolist() == [2] * 3 + [1] * 17
    assert "has not ended" not in text
    assert "The run's own test gave" not in text
    operations = numbers["operations"]
    assert [layer["name"] for layer in operations] == ["layer 1", "layer 2", "readout", "all"]
    if model in ANN_LAYERS:
        assert not any(name.startswith(("raster", "rates", "traces")) for name in pictures)
        return
    assert pictures >= {"traces_layer1", "traces_layer2", "rates_layer1", "rates_layer2", "energy"}
    means = [np.mean(layer["rates"]) for layer in numbers["firing_rates"]]
    assert means == pytest.approx(summary["test"]["firing_rates"], rel=1e-5)
    assert operations[-1]["sop"] == pytest.approx(summary["test"]["sop"], rel=1e-6)
    assert operations[-1]["recurrent_sop"] == pytest.approx(summary["test"]["recurrent_sop"])
    assert (operations[-1]["recurrent_sop"] > 0) == (model in ("RLIF", "RadLIF"))


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True},
        {"bidirectional": True, "model_type": "CSiLIF"},
        {"normalization": "layernorm", "model_type": "RadLIF"},
        {"normalization": "none", "nb_layers": 4, "init_state": "zero"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_other_networks_have_reports(make_run, report, options):
    run = make_run(**options)
    neurons = ["--neurons", "1:0", "2:23"] if options.get("bidirectional") else []
    status, folder, numbers, line = report(run, "--clips", "0", "22", *neurons)
    assert status == 0, line
    pictures, _ = check_page(folder, numbers)
    assert pictures >= {"raster_clip0", "raster_clip22", "traces_layer2"}
    summary = json.loads((run / "summary.json").read_text())
    assert numbers["test"]["accuracy"] == summary["test"]["accuracy"]
    means = [np.mean(layer["rates"]) for layer in numbers["firing_rates"]]
    assert means == pytest.approx(summary["test"]["firing_rates"], rel=1e-5)


def test_a_traced_clip_is_the_one_of_the_test(make_run):
    run = open_run(make_run(model_type="SiLIF"))
    observer = Observer(run)
    seen = observer.observe()
    torch.manual_seed(13)
    order = batches(run.experiment.data.test, 8)
    for batch, (x, _) in enumerate(order):
        with torch.no_grad():
            activity = run.model.activity(x)
        clip, traces = observer.trace(8 * batch + 3)
        assert clip.equal(x[3])
        for result, trace in zip(activity.layers, traces[:-1], strict=True):
            assert trace.spikes[0].equal(result.output[3])
        torch.testing.assert_close(traces[-1].scores.sum(dim=1)[0], seen.scores[8 * batch + 3])
        # A trace draws random numbers; the loop goes on from where the batch left off.
        torch.random.set_rng_state(observer.random_states[min(batch + 1, 2)]["torch"])


def test_a_run_that_has_not_ended(make_run, report, tmp_path):
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "run")
    (run / "summary.json").unlink()
    status, folder, numbers, _ = report(run)
    assert status == 0
    assert "This run has not ended: 2 of 2 epochs" in check_page(folder, numbers)[1]
    (run / "checkpoints" / "best_model.pth").unlink()
    (run / "metrics.jsonl").unlink()
    status, folder, numbers, _ = report(run)
    assert status == 0
    pictures, text = check_page(folder, numbers)
    assert "ones of the last epoch" in text
    assert "loss" not in pictures, "the pictures of the earlier report are gone"
    (run / "checkpoints" / "last.pth").unlink()
    status, _, _, line = report(run)
    assert status == 2
    assert "its first epoch has not ended" in line


def test_parameters_before_training_are_those_of_the_seed(make_run, report):
    folder = make_run(model_type="SiLIF")
    numbers = report(folder)[2]
    run = open_run(folder)
    torch.manual_seed(13)
    first = build_model(run.config, run.experiment.data.nb_features, NB_CLASSES).snn[0]
    rates = (first.alpha.double() + first.dt.double()).exp().detach()
    expected = 1000 * run.step_seconds / rates
    found = numbers["parameters"]["layer 1"]["membrane time constant"]
    np.testing.assert_allclose(found["before"], expected.numpy(), rtol=1e-4)
    assert run.step_seconds == pytest.approx(1.0 / 14)
    assert found["before"] != found["after"]


def test_clamped_parameters_are_counted(make_run, report, weights, tmp_path):
    run = shutil.copytree(make_run(model_type="CadLIF"), tmp_path / "run")
    with weights(run) as changed:
        changed["snn.0.beta"][:] = 1.2
        changed["snn.0.a"][:] = torch.tensor([0.5, 0.0, 1.0, -3.0]).repeat(3)
        changed["snn.0.alpha"][:] = 0.9
    found = report(run)[2]["clamped"]["layer 1"]
    assert (found["beta"], found["a"], found["alpha"]) == (1.0, 0.75, 0.0)


def test_dead_and_saturated_neurons_are_counted(make_run, report, weights, tmp_path):
    run = shutil.copytree(make_run(model_type="LIF"), tmp_path / "run")
    with weights(run) as changed:
        changed["snn.0.norm.weight"][:5] = 0.0
        changed["snn.0.norm.bias"][:2] = -50.0
        changed["snn.0.norm.bias"][2:5] = 50.0
    found = report(run)[2]["firing_rates"][0]
    rates = np.array(found["rates"])
    assert found["dead"] == (rates == 0).sum() >= 2
    assert found["saturated"] == (rates > 0.95).sum() >= 3
    assert (rates[:2] == 0).all()
    assert (rates[2:5] > 0.95).all()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--clips", "23"], "--clips 23: the test split has clips 0 to 22"),
        (["--neurons", "3:0"], "--neurons 3:0: the network has hidden layers 1 to 2"),
        (["--neurons", "1:12"], "--neurons 1:12: layer 1 has neurons 0 to 11"),
        (["--gpu_device", "7"], "--gpu_device 7"),
        (["--data_folder", "nowhere"], "nowhere"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_mistakes_are_one_line(make_run, report, flags, named):
    status, folder, _, line = report(make_run(model_type="SiLIF"), *flags)
    assert status == 2
    assert line.startswith("analysis.report: error: ")
    assert named in line
    assert not folder.exists()


def test_folders_that_are_no_run(make_run, report, tmp_path):
    assert "is not a folder" in report(tmp_path / "none")[3]
    assert "holds no config.yaml" in report(tmp_path)[3]
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "sweep" / "run_1")
    assert "name one of the runs in it: run_1" in report(tmp_path / "sweep")[3]
    (run / "config.yaml").write_text("nb_hiddens: many")
    assert re.search("config.yaml: .*nb_hiddens.*many", report(run)[3])
    ann = make_run(model_type="GRU")
    assert "does not spike" in report(ann, "--clips", "0")[3]


def test_nothing_but_a_report_is_written_over(make_run, report, tmp_path):
    run = make_run(model_type="SiLIF")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "thesis.txt").write_text("precious")
    status, folder, _, line = report(run)
    assert status == 2
    assert "holds something that is not a report" in line
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    folder.chmod(0o555)
    assert "read-only" in report(run)[3]
    assert "--output" in report(run)[3]


def test_a_folder_without_options_takes_a_config(make_run, report, tmp_path, bands):
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "published")
    shutil.move(run / "config.yaml", tmp_path / "mine.yaml")
    (run / "metrics.jsonl").unlink()
    (run / "summary.json").unlink()
    status, folder, numbers, _ = report(run, "--config", str(tmp_path / "mine.yaml"))
    assert status == 0
    assert "weights without records" in check_page(folder, numbers)[1]


def test_the_legend_of_traces_lies_above_the_adaptation():
    steps = np.linspace(0, 1, 50)
    spikes = np.eye(1, 50)[0]
    trace = figures.NeuronTrace("one", steps, spikes, 1.0, {"w": steps}, None, 4.0)
    figure = figures.traces([trace])
    axis, beside = figure.axes
    assert axis.get_zorder() > beside.get_zorder()
    assert not axis.patch.get_visible()
    assert axis.get_legend().get_frame().get_alpha() == 1
    assert beside.get_ylim()[1] > 1.3


@pytest.mark.parametrize(("count", "told"), [(0, "0 spikes"), (1, "1 spike"), (2, "2 spikes")])
def test_spikes_are_counted_in_the_title_of_a_trace(count, told):
    spikes = torch.zeros(1, 5, 1)
    spikes[0, :count] = 1
    trace = LayerTrace(threshold=1.0, states={"u": torch.zeros(1, 5, 1)}, spikes=spikes)
    layer = SimpleNamespace(states_per_neuron=1)
    assert neuron_trace(layer, trace, 1, 0, 4.0).title == f"layer 1, neuron 0: {told}"
