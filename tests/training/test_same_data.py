# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Networks meet the data they were trained on, or the difference is reported."""

import contextlib
import json
import os
import shutil

import h5py
import numpy as np
import pytest
import soundfile
import torch

import main
from analysis.report import page
from analysis.report.__main__ import main as report
from analysis.trained import open_model
from datasets import spiking
from models.snns import SNN
from training.data import same_data
from training.data.same_data import difference
from training.record import checkpoint
from training.verify import main as verify


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Spare reports their pictures, which take most of the time."""
    monkeypatch.setattr(page, "as_png", lambda figure: b"no picture")


@pytest.fixture(scope="session")
def trained(words_folder, tmp_path_factory):
    """A folder with recordings in words/, and in run/ what a training on them left."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(words_folder, folder / "words", ignore=shutil.ignore_patterns(".frames"))
    assert train(folder / "words", folder / "run") == 0
    return folder


@pytest.fixture
def words(trained, tmp_path):
    """A copy of the recordings, which a test may change, beside the run that was trained on it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    return tmp_path / "words"


def train(words, folder, *flags) -> int:
    options = ["--dataset_name", "sc", "--data_folder", words, "--new_exp_folder", folder]
    options += ["--nb_hiddens", 6, "--nb_epochs", 2, "--seed", 3, *flags]
    with contextlib.chdir(words.parent):
        return main.main(list(map(str, options)))


def replace_word(words) -> None:
    """Another word of as many clips, behind which all labels are others."""
    shutil.move(words / "rise", words / "rück auf")
    for path in words.glob("*.txt"):
        path.write_text(path.read_text().replace("rise/", "rück auf/"))


@pytest.mark.parametrize("command", ["evaluate", "verify", "report"])
def test_a_replaced_word_is_noticed(words, tmp_path, capsys, command):
    replace_word(words)
    with contextlib.chdir(tmp_path):
        if command == "evaluate":
            status = main.main(["run", "--evaluate_pretrained", "True"])
        else:
            status = {"verify": verify, "report": report}[command](["run"])
    assert status == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "was trained on 3 classes" in said
    assert "'rise' is missing, 'rück auf' is new" in said


def interrupt(run) -> None:
    """Make a run one whose last epoch has still to come."""
    (run / "summary.json").unlink()
    shutil.copyfile(run / "checkpoints/last_previous.pth", run / "checkpoints/last.pth")


def add_a_clip(words) -> None:
    shutil.copyfile(words / "fall" / "08.wav", words / "fall" / "new.wav")


def change_a_clip(words) -> None:
    shutil.copyfile(words / "fall" / "08.wav", words / "fall" / "09.wav")


def touch_a_clip(words) -> None:
    os.utime(words / "fall" / "09.wav", (1, 1))


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (replace_word, 2, "'rise' is missing, 'rück auf' is new"),
        (add_a_clip, 2, "it had 30 train clips, and there are 31 now"),
        (change_a_clip, 2, "its data have changed since (train clips)"),
        (touch_a_clip, 0, None),
        (lambda words: None, 0, None),
    ],
)
def test_a_run_is_resumed_with_its_data_only(words, tmp_path, capsys, change, status, said):
    interrupt(tmp_path / "run")
    change(words)
    assert train(words, tmp_path / "run", "--resume", "auto") == status
    heard = "".join(capsys.readouterr())
    assert (said in heard) if said else ("cannot resume" not in heard)


@pytest.mark.parametrize("louder", [False, True])
def test_a_run_is_resumed_with_a_copy_of_its_data_only(words, tmp_path, capsys, louder):
    run, copy = tmp_path / "run", tmp_path / "copy of words"
    interrupt(run)
    shutil.copytree(words, copy, ignore=shutil.ignore_patterns(".frames"))
    if louder:
        for path in copy.rglob("*.wav"):
            samples, rate = soundfile.read(path)
            soundfile.write(path, 0.5 * samples, rate)
    status = main.main(["--resume", str(run), "--data_folder", str(copy)])
    assert status == (2 if louder else 0)
    assert ("its data have changed" in capsys.readouterr().err) == louder


def test_recordings_at_another_rate_are_tested_at_that_of_the_training(words, tmp_path, capsys):
    for path in words.rglob("*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, np.repeat(samples, 2), 32000)
    with contextlib.chdir(tmp_path):
        assert main.main(["run", "--evaluate_pretrained", "True", "--seed", "3"]) == 0
    assert "from 32000 to 16000 Hz" in "".join(capsys.readouterr())


def test_a_rate_can_be_set_and_is_recorded(words, tmp_path, capsys):
    assert train(words, tmp_path / "8 kHz", "--sample_rate", "8000") == 0
    records = [json.loads((tmp_path / n / "data.json").read_text()) for n in ("8 kHz", "run")]
    assert records[1]["classes"] == ["fall", "rise", "stay"]
    assert records[1]["clips"] == {"train": 30, "valid": 9, "test": 9}
    assert [record["sample_rate"] for record in records] == [8000, 16000]
    assert records[0]["checksums"] == records[1]["checksums"]  # of the files, not of what is made
    assert "from 16000 to 8000 Hz" in "".join(capsys.readouterr())
    assert train(words, tmp_path / "low", "--sample_rate", "80") == 2
    assert "--sample_rate 80: 1000 to 768000 Hz" in capsys.readouterr().err


def test_a_damaged_record_is_refused_in_one_line(words, capsys):
    run = words.parent / "run"
    sound = json.loads((run / "data.json").read_text())
    for damaged in ("{", "[]", json.dumps(sound | {"clips": 3})):
        (run / "data.json").write_text(damaged)
        assert verify([str(run)]) == 2
        assert "data.json is not readable" in capsys.readouterr().err


@pytest.fixture
def spoken(spikes_folder, tmp_path):
    """Spikes whose files name two words."""
    folder = shutil.copytree(spikes_folder, tmp_path / "spikes")
    name_classes(folder, ("down", "up"))
    return folder


def name_classes(folder, names) -> None:
    for path in folder.glob("*.h5"):
        with h5py.File(path, "a") as file:
            file["labels"][...] = file["labels"][...] % 2
            if "extra/keys" in file:
                del file["extra/keys"]
            file["extra/keys"] = np.array([name.encode() for name in names])


def run_main(tmp_path, *argv) -> int:
    with contextlib.chdir(tmp_path):
        return main.main(list(map(str, argv)))


def train_spikes(folder, run, *flags) -> int:
    options = ["--data_folder", folder, "--new_exp_folder", run, "--nb_hiddens", 6]
    options += ["--nb_steps", 10, "--nb_epochs", 2, "--seed", 3, *flags]
    return run_main(run.parent, *options)


def outputs(run) -> int:
    return json.loads((run / "summary.json").read_text())["classes"]


def test_a_network_from_before_names_counted_is_used_as_it_is(
    spoken, tmp_path, capsys, monkeypatch
):
    run, part = tmp_path / "run", tmp_path / "part"
    with monkeypatch.context() as earlier:
        earlier.setattr(spiking, "read_class_names", lambda path: [])
        assert train_spikes(spoken, run) == 0
        assert train_spikes(spoken, part) == 0
    assert outputs(run) == 20
    assert run_main(tmp_path, run, "--evaluate_pretrained", "True", "--seed", 3) == 0
    assert verify([str(run)]) == 0
    with contextlib.chdir(tmp_path):
        assert report([str(run)]) == 0
    interrupt(part)
    assert train_spikes(spoken, part, "--resume", "auto") == 0
    assert outputs(part) == 20
    assert "'up' is new" not in "".join(capsys.readouterr())
    name_classes(spoken, [f"word {label}" for label in range(22)])
    assert run_main(tmp_path, run, "--evaluate_pretrained", "True", "--seed", 3) == 0


def test_the_number_of_channels_is_that_of_the_training(spikes_folder, tmp_path):
    folder = shutil.copytree(spikes_folder, tmp_path / "spikes")
    for path in folder.glob("*.h5"):
        with h5py.File(path, "a") as file:
            largest = 64 if "train" in path.name else 50
            for clip, units in enumerate(file["spikes/units"]):
                file["spikes/units"][clip] = units % largest
    run, part, old = (tmp_path / name for name in ("run", "part", "old"))
    assert train_spikes(folder, run) == train_spikes(folder, part) == 0
    assert json.loads((run / "data.json").read_text())["nb_channels"] == 64
    assert run_main(tmp_path, run, "--evaluate_pretrained", "True", "--seed", 3) == 0
    interrupt(part)
    assert train_spikes(folder, part, "--resume", "auto") == 0
    assert open_model(run).network().layer_sizes == open_model(part).network().layer_sizes

    assert train_spikes(folder, old, "--nb_channels", 700) == 0
    record = json.loads((old / "data.json").read_text())
    assert record.pop("nb_channels") == 700
    (old / "data.json").write_text(json.dumps(record))
    config = (old / "config.yaml").read_text()
    (old / "config.yaml").write_text(config.replace("nb_channels: 700\n", ""))
    assert run_main(tmp_path, old, "--evaluate_pretrained", "True", "--seed", 3) == 0
    assert open_model(old).network()


def test_names_are_one_in_every_encoding(words, tmp_path):
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    record["classes"][1] = "ru\u0308ck"
    (tmp_path / "run" / "data.json").write_text(json.dumps(record))
    assert same_data.recorded(tmp_path / "run")["classes"][1] == "rück"


def test_outputs_as_published_give_the_published_weights(spoken, tmp_path, capsys):
    weights = []
    for flags in ([], ["--nb_outputs", 20]):
        run = tmp_path / f"run{len(flags)}"
        assert train_spikes(spoken, run, "--lr", 1e-30, *flags) == 0
        state = checkpoint.read_weights(run / checkpoint.BEST)
        weights.append(next(v for name, v in state.items() if name.endswith("2.W.weight")))
        assert run_main(tmp_path, run, "--evaluate_pretrained", "True", "--seed", 3) == 0
        assert report([str(run)]) == 0
    assert [len(w) for w in weights] == [2, 20]
    torch.manual_seed(3)
    published = SNN((None, None, 140), [6, 6, 20], "SiLIF", dropout=0.1)
    assert torch.equal(weights[1], published.state_dict()["snn.2.W.weight"])
    assert train_spikes(spoken, tmp_path / "few", "--nb_outputs", 2) == 0
    name_classes(spoken, ("a", "b", "c"))
    assert train_spikes(spoken, tmp_path / "less", "--nb_outputs", 2) == 2
    assert "the data have 3 classes, and each needs an output" in capsys.readouterr().err


def test_differences_are_named():
    assert difference(["a", "b"], ["a", "c"]) == "'b' is missing, 'c' is new"
    assert difference(["a"], ["a", "b", "c"]) == "'b' (and 1 more) is new"
    assert difference(["a", "b"], ["b", "a"]) == "their order differs"
