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
from matplotlib.text import Text
from torch.nn import functional

from analysis.observe import LayerTrace, Observation, Observer
from analysis.report import course, figures, notice
from analysis.report.page import Page
from analysis.trained import open_run
from tests.analysis.conftest import NB_CLASSES
from training.build import build_model
from training.data.loading import batches
from training.metrics import Metrics
from training.record import checkpoint

# Networks of every recurrence, with and without V, of each normalisation and kind of readout.
RUNS = {
    "SiLIF": {"model_type": "SiLIF"},
    "ResonateFire": {"model_type": "ResonateFire"},
    "both directions": {"model_type": "CSiLIF", "bidirectional": True},
    "layernorm": {"model_type": "RadLIF", "normalization": "layernorm"},
    "no normalisation": {"normalization": "none", "nb_layers": 4, "init_state": "zero"},
    "spike counts": {"model_type": "RadLIF+SiLIF", "readout": "spike_count"},
    "potentials": {"model_type": "CSiLIF+RadLIF", "readout": "last", "loss": "last_potential"},
    "GRU": {"model_type": "GRU"},
    "RNN": {"model_type": "RNN", "readout": "mean"},
    "S4D": {"model_type": "S4D"},
    "SpikingS4D": {"model_type": "SpikingS4D", "bidirectional": True, "normalization": "layernorm"},
}
DRAWN = ("SiLIF", "GRU")  # the others differ in numbers, not in kinds of figures
WITHOUT_SPIKES = ("GRU", "RNN", "S4D")


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
        if tag not in ("img", "meta", "wbr"):
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
    lead = re.search('class="lead">(.*?)</p>', text)[1]
    assert re.match(r"\d+\.\d% of the test clips are recognised \(95%: .*\.$", lead)
    assert text.count("steps of 71 ms") == 1  # 15 steps of a second, here and in tables of results
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


@pytest.mark.parametrize("case", RUNS)
def test_every_network_has_a_report(make_run, report, case):
    run, spikes = make_run(**RUNS[case]), case not in WITHOUT_SPIKES
    flags = ["--clips", "0", "22"] if spikes else []
    flags += ["--neurons", "1:0", "2:23"] if case == "both directions" else []
    status, folder, numbers, line = report(run, *flags, drawn=case in DRAWN)
    assert status == 0, line
    pictures, text = check_page(folder, numbers, drawn=case in DRAWN)
    assert pictures >= {"loss", "accuracy", "learning_rate", "confusion"}
    test = json.loads((run / "summary.json").read_text())["test"]
    assert numbers["test"]["accuracy"] == test["accuracy"]
    confusion = np.array(numbers["confusion"])
    assert confusion.sum() == test["samples"] == 23
    assert confusion.trace() / confusion.sum() == pytest.approx(test["accuracy"])
    assert confusion.sum(axis=1).tolist() == [2] * 3 + [1] * 17
    both = case in ("both directions", "SpikingS4D")
    assert ("early_decisions" in pictures) == (not both)
    if not both:
        early = numbers["early_decisions"]
        assert early["accuracy"][-1] == pytest.approx(test["accuracy"])
        assert len(early["accuracy"]) == 15
        assert early["seconds"][-1] == pytest.approx(1.0)
    assert "has not finished" not in text
    assert "The run's own test gave" not in text
    together = numbers["operations"][-1]
    assert [layer["name"] for layer in numbers["operations"]][-2:] == ["readout", "all"]
    if "mac" in test and case != "SpikingS4D":
        assert test["mac"] == together["mac"] + (together["update_mac"] if case == "S4D" else 0)
    if not spikes:
        assert not any(name.startswith(("raster", "rates", "traces")) for name in pictures)
        return
    assert pictures >= {"raster_clip0", "raster_clip22", "traces_layer2", "rates_layer2", "energy"}
    means = [np.mean(layer["rates"]) for layer in numbers["firing_rates"]]
    assert means == pytest.approx(test["firing_rates"], rel=1e-5)
    assert together["sop"] == pytest.approx(test["sop"], rel=1e-5)
    assert together["recurrent_sop"] == pytest.approx(test["recurrent_sop"], rel=1e-5)
    assert (together["recurrent_sop"] > 0) == ("RadLIF" in RUNS[case].get("model_type", ""))


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
        # A trace draws random numbers; the loop continues from where the batch left off.
        torch.random.set_rng_state(observer.random_states[min(batch + 1, 2)]["torch"])


@pytest.mark.parametrize("case", ["SiLIF", "spike counts", "potentials", "GRU"])
def test_early_decisions_are_those_of_clips_that_end_early(make_run, case):
    run = open_run(make_run(**RUNS[case]))
    seen = Observer(run).observe()
    for steps in (1, 6, 15):
        torch.manual_seed(13)
        right = 0
        for x, y in batches(run.experiment.data.test, 8):
            with torch.no_grad():
                # The states are drawn from the generator, which longer clips leave alike.
                right += (run.model(x[:, :steps])[0].argmax(dim=1) == y).sum()
        assert seen.right_by_step[steps - 1] == right


def test_a_run_that_has_not_ended(make_run, report, tmp_path):
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "run")
    (run / "summary.json").unlink()
    status, folder, numbers, _ = report(run)
    assert status == 0
    assert "This run has not finished: 2 of 2 epochs" in check_page(folder, numbers)[1]
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
    assert "its first epoch has not finished" in line


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


def test_delays_are_shown_before_and_after_training(make_run, report):
    options = {"delay": "synaptic", "max_delay_ms": 500, "delay_layers": "1+3"}
    folder = make_run(model_type="LIF", **options)
    numbers, run = report(folder)[2], open_run(folder)
    torch.manual_seed(13)
    first = build_model(run.config, run.experiment.data.nb_features, NB_CLASSES)
    assert list(numbers["delays"]) == ["layer 1", "readout"]
    for name, layer in {"layer 1": 0, "readout": 2}.items():
        for when, model in (("before", first), ("after", run.model)):
            delays = model.snn[layer].delay.delays()
            counts = [int((delays == step).sum()) for step in range(7)]
            assert numbers["delays"][name][when] == counts
    assert numbers["delays"]["layer 1"]["before"] != numbers["delays"]["layer 1"]["after"]
    assert {"layer_1_synaptic_delay.png", "readout_synaptic_delay.png"} <= {*numbers["pictures"]}


def test_delays_before_training_are_those_that_the_run_started_from(make_run, report, tmp_path):
    options = {"model_type": "LIF", "delay": "axonal", "delay_lr_factor": 2000.0}
    first = shutil.copytree(make_run(**options), tmp_path / "first")
    later = make_run(**options, load_exp_folder=first, start_epoch=2, seed=14)
    ended = open_run(first).model.snn[0].delay
    page, numbers = report(later)[1:3]
    counts = torch.bincount(ended.delays(), minlength=ended.taps).tolist()
    assert numbers["delays"]["layer 1"]["before"] == counts
    assert (page / "index.html").read_text().count(f"training: the weights in {first}") == 2
    shutil.rmtree(first)
    page, numbers = report(later)[1:3]
    run = open_run(later)
    torch.manual_seed(14)
    drawn = build_model(run.config, run.experiment.data.nb_features, NB_CLASSES).snn[0].delay
    counts = torch.bincount(drawn.delays(), minlength=drawn.taps).tolist()
    assert numbers["delays"]["layer 1"]["before"] == counts
    assert (page / "index.html").read_text().count(f"not the weights in {first}") == 2


def test_recurrent_delays_are_shown_too(make_run, report):
    options = {"recurrent": "dense", "recurrent_delay": "axonal", "recurrent_delay_width": 3.0}
    folder = make_run(model_type="LIF", **options)
    numbers = report(folder)[2]
    for number in (1, 2):
        delays = open_run(folder).model.snn[number - 1].recurrent_delay.eval().delays()
        counts = numbers["delays"][f"layer {number}, recurrent"]["after"]
        assert counts == [int((delays == step).sum()) for step in range(len(counts))]
        assert sum(counts) == len(delays)
    assert "layer_1_recurrent_delay.png" in numbers["pictures"]
    assert "traces_layer1.png" in numbers["pictures"]


def test_clamped_parameters_are_counted(make_run, report, tmp_path):
    run = shutil.copytree(make_run(model_type="CadLIF"), tmp_path / "run")
    weights = torch.load(run / checkpoint.BEST, weights_only=True)
    weights["snn.0.beta"][:] = 1.2
    weights["snn.0.a"][:] = torch.tensor([0.5, 0.0, 1.0, -3.0]).repeat(3)
    weights["snn.0.alpha"][:] = 0.9
    torch.save(weights, run / checkpoint.BEST)
    found = report(run)[2]["clamped"]["layer 1"]
    assert (found["beta"], found["a"], found["alpha"]) == (1.0, 0.75, 0.0)


def test_dead_and_saturated_neurons_are_counted(make_run, report, tmp_path):
    run = shutil.copytree(make_run(model_type="LIF"), tmp_path / "run")
    weights = torch.load(run / checkpoint.BEST, weights_only=True)
    weights["snn.0.norm.weight"][:5] = 0.0
    weights["snn.0.norm.bias"][:2] = -50.0
    weights["snn.0.norm.bias"][2:5] = 50.0
    torch.save(weights, run / checkpoint.BEST)
    found = report(run)[2]["firing_rates"][0]
    rates = np.array(found["rates"])
    assert found["dead"] == (rates == 0).sum() >= 2
    assert found["saturated"] == (rates > 0.95).sum() >= 3
    assert (rates[:2] == 0).all()
    assert (rates[2:5] > 0.95).all()


def test_speakers_are_told_apart_hardest_first():
    test = SimpleNamespace(speaker_names=list("abcabca"))
    run = SimpleNamespace(experiment=SimpleNamespace(data=SimpleNamespace(test=test)))
    labels = torch.arange(7)
    seen = SimpleNamespace(labels=labels, predictions=labels.where(labels % 3 != 1, 9))
    page = Page("a run")
    course.show_speakers(page, run, seen)
    assert list(page.numbers["speakers"]) == ["b", "a", "c"]
    assert page.numbers["speakers"]["b"] == {"clips": 2, "right": 0}
    assert "<td>b</td><td>2</td><td>0.0%</td><td>0.0 to 65.8%</td>" in page.html()
    page, test.speaker_names = Page("a run"), []
    course.show_speakers(page, run, seen)
    assert not page.contents


def test_the_first_sentence_says_what_to_notice():
    labels = torch.arange(80) % 4
    scores = functional.one_hot(labels.where(labels < 3, 2), 4)
    rates = [torch.tensor([0.1, 0.2]), torch.tensor([0.0, 0.2])]
    seen = Observation(Metrics(80, 1.0, 0.75, 1.0), scores, labels, rates, [])
    data = SimpleNamespace(test=SimpleNamespace(speaker_names=[]), classes=list("abcd"))
    run = SimpleNamespace(
        summary={"best_epoch": 2, "epochs": 3, "validated_on": "test split (as published)"},
        records=[{"split": "train", "epoch": 2, "accuracy": 0.99}],
        config=SimpleNamespace(training=SimpleNamespace(start_epoch=0)),
        experiment=SimpleNamespace(data=data),
    )
    assert notice.sentence(run, seen) == (
        "75.0% of the test clips are recognised (95%: 64.5 to 83.2%, 80 clips); the epoch was "
        "chosen on these clips, so expect less on others; the training clips reach 99.0%, so it "
        "overfits."
    )
    run.summary = None
    data.test.speaker_names = ["a"] * 80
    assert next(notice.remarks(run, seen)).startswith("all test clips are of one speaker")
    data.test.speaker_names = []
    assert list(notice.remarks(run, seen)) == [
        "50% of the neurons of layer 2 never fire",
        "the most frequent mistake is 'd' taken for 'c', in 20 of 20 clips",
    ]
    seen.metrics.accuracy = 0.2
    assert next(notice.remarks(run, seen)) == "this is no better than naming one class every time"


def test_letters_of_all_pictures_have_one_size():
    trace = LayerTrace({"u": torch.rand(50)}, torch.eye(1, 50)[0], threshold=1.0)
    names = [f"word {i}" for i in range(35)]
    for figure in (
        figures.confusion(np.eye(35, dtype=int), names),
        figures.traces({"one": trace}, step_ms=4.0),
        figures.curves("loss", {"train": ([1, 2], [2.0, 1.0]), "valid": ([1, 2], [2.0, 1.5])}),
    ):
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
        assert {text.get_fontsize() for text in texts} == {figures.FONT}


def test_mistakes_are_one_line(make_run, report):
    for flags, named in (
        (["--clips", "23"], "--clips 23: the test split has clips 0 to 22"),
        (["--neurons", "3:0"], "--neurons 3:0: the network has hidden layers 1 to 2"),
        (["--neurons", "1:12"], "--neurons 1:12: layer 1 has neurons 0 to 11"),
        (["--data_folder", "nowhere"], "nowhere"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
    ):
        status, folder, _, line = report(make_run(model_type="SiLIF"), *flags)
        assert status == 2
        assert line.startswith("analysis.report: error: ")
        assert named in line
        assert not folder.exists()


def test_folders_that_hold_no_single_run(make_run, report, tmp_path):
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "sweep" / "run_1")
    assert "name one of the runs in it: run_1" in report(tmp_path / "sweep")[3]
    (run / "config.yaml").write_text("nb_hiddens: many")
    assert re.search("config.yaml: .*nb_hiddens.*many", report(run)[3])
    ann = make_run(model_type="GRU")
    assert "does not spike" in report(ann, "--clips", "0")[3]


def test_nothing_but_a_report_is_written_over(make_run, report, tmp_path):
    page = tmp_path / "page"
    page.mkdir()
    (page / "thesis.txt").write_text("precious")
    assert "holds something that is not a report" in report(make_run(model_type="SiLIF"))[3]
    assert [path.name for path in page.iterdir()] == ["thesis.txt"]


def test_a_folder_without_options_takes_a_config(make_run, report, tmp_path, bands):
    run = shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "published")
    shutil.move(run / "config.yaml", tmp_path / "mine.yaml")
    (run / "metrics.jsonl").unlink()
    (run / "summary.json").unlink()
    status, folder, numbers, _ = report(run, "--config", str(tmp_path / "mine.yaml"))
    assert status == 0
    assert "weights without records" in check_page(folder, numbers)[1]


def test_the_legend_of_traces_lies_above_the_adaptation():
    steps = torch.linspace(0, 1, 50)
    trace = LayerTrace({"u": steps, "w": steps}, torch.eye(1, 50)[0], threshold=1.0)
    figure = figures.traces({"one": trace}, step_ms=4.0)
    axis, beside = figure.axes
    assert axis.get_zorder() > beside.get_zorder()
    assert not axis.patch.get_visible()
    assert axis.get_legend().get_frame().get_alpha() == 1
    assert beside.get_ylim()[1] > 1.3
