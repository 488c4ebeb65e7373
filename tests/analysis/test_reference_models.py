# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The networks on the shelf are what their configs and summaries say."""

import json
import statistics
from pathlib import Path

import pytest
import yaml

from analysis import reference_models
from analysis.evaluations import Evaluations
from analysis.trained import OURS, SHELF, open_model
from models.snns import LAYERS
from parsers.load import OPTIONS, REPOSITORY, load_plan
from tests.analysis.conftest import write_run
from training.data import same_data
from training.errors import ExperimentError
from training.record import files

FILES = {
    *("checkpoints/best_model.pth", "config.yaml", "data.json", "metrics.jsonl", "summary.json"),
}
TWO_CLIPS = 2 / 320
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    return Evaluations(tmp_path_factory.mktemp("kept") / "evaluations.json", refresh=True)


def summary_of(name: str) -> dict:
    return json.loads((SHELF / name / "summary.json").read_text())


@pytest.mark.parametrize("name", OURS)
def test_a_network_reaches_its_recorded_accuracy(name, evaluations):
    """One seed of five; rounding on another processor may move single clips."""
    accuracy = summary_of(name)["test_seeds"]["accuracy"]
    seed = summary_of(name)["test_seeds"]["seeds"][0]
    found = evaluations.of([open_model(name, (seed,))])[0][0]
    allowed = max(accuracy["std"], TWO_CLIPS)
    assert found["accuracy"] == pytest.approx(accuracy["values"][0], abs=allowed)
    recorded = summary_of(name)["test_seeds"]["sop"]["values"][0]
    assert found["sop"] == pytest.approx(recorded, rel=0.01)


@pytest.mark.parametrize("name", OURS)
def test_the_recorded_config_is_the_committed_one(name):
    recorded = yaml.safe_load((SHELF / name / "config.yaml").read_text())
    committed = load_plan([f"--config={OURS[name]}", "--seed", "13"]).points[0].to_dict()
    assert recorded == {key: committed[key] for key in recorded}
    for key in committed.keys() - recorded.keys():
        option = OPTIONS[key]
        assert option.rules.group == "run" or committed[key] == option.default
    folder = load_plan([f"--config={OURS[name]}"]).points[0].training.load_exp_folder
    assert folder == SHELF / name


@pytest.mark.parametrize("name", OURS)
def test_the_folder_is_whole_and_names_no_other_machine(name):
    folder = SHELF / name
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    for text in ("config.yaml", "data.json", "metrics.jsonl", "summary.json"):
        content = (folder / text).read_text()
        assert str(Path.home()) not in content
        assert not any(word.startswith("/") for word in content.replace('"', " ").split())
    summary = summary_of(name)
    epochs = yaml.safe_load((folder / "config.yaml").read_text())["nb_epochs"]
    records = files.read_lines(folder / "metrics.jsonl")
    assert len([r for r in records if r["split"] == "train"]) == epochs == summary["epochs"]
    values = summary["test_seeds"]["accuracy"]["values"]
    assert summary["test_seeds"]["accuracy"]["mean"] == pytest.approx(statistics.fmean(values))
    assert summary["test_seeds"]["accuracy"]["std"] == pytest.approx(statistics.stdev(values))
    assert summary["test_seeds"]["seeds"][0] == summary["seed"]


@pytest.mark.parametrize("name", OURS)
def test_the_recorded_data_are_those_of_its_summary(name):
    record, summary = same_data.recorded(SHELF / name), summary_of(name)
    assert record["clips"] == summary["clips"]
    assert record["checksums"] == summary.get("data_checksums", record["checksums"])
    assert record["classes"][:2] == ["zero", "one"]
    assert len(record["classes"]) == 20


def test_every_published_neuron_is_there_and_all_are_small():
    models = {open_model(name).model_type for name in OURS}
    assert len(models) == 8
    assert models <= set(LAYERS)
    size = sum(path.stat().st_size for path in SHELF.glob("demo_*/**/*") if path.is_file())
    assert size < 20 * MEGABYTE


def test_the_readme_has_the_recorded_accuracies():
    text = (REPOSITORY / "reference_models" / "README.md").read_text()
    for name in OURS:
        accuracy = summary_of(name)["test_seeds"]["accuracy"]
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f}" in row


def test_what_is_put_on_the_shelf(tmp_path):
    """Weights, options without those of the run, records, and a summary of no machine."""
    source = write_run(tmp_path / "run", new_exp_folder=str(tmp_path / "run"), lr=0.25, nb_epochs=7)
    (source / "metrics.jsonl").write_text('{"epoch": 1, "split": "train"}\n')
    files.write_json(source / "data.json", {"classes": ["a", "b"], "clips": {}, "checksums": {}})
    summary = {
        "seed": 13,
        "epochs": 7,
        "versions": {"torch": "2.13.0", "platform": "Linux", "device": "CPU"},
        "device": {"type": "cpu"},
        "code": {"commit": "abc"},
    }
    figures = {"loss": 1.0, "sop": 5.0, "recurrent_sop": 0.0}
    runs = [{"seed": 13, "accuracy": 0.5, **figures}, {"seed": 42, "accuracy": 0.75, **figures}]
    published = reference_models.publishable(summary, runs)
    found = published["test_seeds"]
    kept = {"seed": 13, "epochs": 7, "versions": {"torch": "2.13.0"}, "test_seeds": found}
    assert published == kept
    assert found["seeds"] == [13, 42]
    assert found["accuracy"]["values"] == [0.5, 0.75]
    assert found["accuracy"]["mean"] == 0.625
    assert found["accuracy"]["std"] == pytest.approx(0.25 / 2**0.5)
    assert found["sop"]["std"] == 0
    shelf = tmp_path / "shelf"
    reference_models.shelve(source, shelf, published)
    found = {path.relative_to(shelf).as_posix() for path in shelf.rglob("*") if path.is_file()}
    assert found == FILES
    options = yaml.safe_load((shelf / "config.yaml").read_text())
    assert (options["lr"], options["nb_epochs"]) == (0.25, 7)
    assert "new_exp_folder" not in options
    assert open_model(shelf).network() is not None


def test_a_training_that_fails_is_not_shelved(monkeypatch, tmp_path):
    import main

    monkeypatch.setattr(main, "main", lambda argv: 1)
    monkeypatch.setattr(reference_models, "SHELF", tmp_path)
    with pytest.raises(ExperimentError, match="training of demo_LIF ended with status 1"):
        reference_models.make("demo_LIF")
    assert not list(tmp_path.iterdir())
