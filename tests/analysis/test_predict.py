# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a run takes clips for: as its own test does, clip by clip, and words in long recordings."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import main
from analysis.listening import Answer, alike, open_listener
from analysis.predict import __main__ as predict
from analysis.predict.windows import Windows, levels, merged, search
from analysis.trained import open_run
from datasets import cochlea
from datasets.recordings import Recording, read_recording
from models.readouts import READOUTS
from models.snns import LAYERS, SNN
from tests.command_line import arguments
from tests.datasets.wav_files import RATE, WORDS, chirp, write_wav, write_words
from training.data.loading import batches

SMALL = {"nb_hiddens": 12, "batch_size": 4, "nb_epochs": 2, "lr": 0.02, "seed": 3}
SPIKES = {"nb_steps": 15, "spatial_bin": 20, "max_time": 0.4}


def train(folder: Path, **options) -> Path:
    run = folder / "run"
    options = {"backend": "naive", "new_exp_folder": run, **SMALL, **options}
    assert main.main(arguments(**options)) == 0
    return run


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """Folders of clips of several lengths."""
    return write_words(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture(scope="module")
def audio_run(words, tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("audio"), dataset_name="sc", data_folder=words)


@pytest.fixture(scope="module")
def ear(words, tmp_path_factory) -> Path:
    """The same words as spikes."""
    folder = tmp_path_factory.mktemp("ear") / "spikes"
    cochlea.convert(words, folder, seed=7)
    return folder


@pytest.fixture(scope="module")
def ear_run(ear, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("of_ear")
    return train(folder, dataset_name="shd", data_folder=ear, **SPIKES)


@pytest.fixture
def run_predict(tmp_path, capsys, monkeypatch):
    """Run the program; (exit status, content of its JSON file, standard output and error)."""
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        out = tmp_path / "out.json"
        status = predict.main([*map(str, argv), "--json", str(out), "--overwrite"])
        said = capsys.readouterr()
        content = json.loads(out.read_text()) if status == 0 else None
        return status, content, said.out, said.err

    return call


def own_test(run: Path) -> tuple[list[str], list[str]]:
    """The true classes of the test clips, and what the run's own evaluation takes them for."""
    experiment = open_run(run).experiment
    options, data = experiment.options, experiment.data
    torch.manual_seed(options.seed)
    with torch.no_grad():
        made = [(experiment.model(x)[0], y) for x, y in batches(data.test, options.batch_size)]
    taken = torch.cat([scores.argmax(dim=1) for scores, _ in made]).tolist()
    labels = torch.cat([y for _, y in made]).tolist()
    return [data.classes[i] for i in labels], [data.classes[i] for i in taken]


def recorded(run: Path) -> list[dict]:
    with open(run / "test_clips.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestAsTheRunsOwnTest:
    def check(self, run, clips):
        labels, taken = own_test(run)
        assert [clip["label"] for clip in clips] == labels
        assert [clip["word"] for clip in clips] == taken
        assert [row["predicted"] for row in recorded(run)] == taken
        assert [row["class"] for row in recorded(run)] == labels
        right = sum(a == b for a, b in zip(labels, taken, strict=True))
        summary = json.loads((run / "summary.json").read_text())
        assert right / len(labels) == pytest.approx(summary["test"]["accuracy"], abs=1e-9)

    def test_folder_of_words(self, audio_run, words, run_predict):
        """Of the whole folder, in any order, the test clips come out as in the test of the run."""
        status, found, out, _ = run_predict(audio_run, words)
        assert status == 0
        by_name = {"/".join(Path(c["clip"]).parts[-2:]): c for c in found["clips"]}
        assert len(by_name) == 6 * len(WORDS)
        self.check(audio_run, [by_name[row["clip"]] for row in recorded(audio_run)])
        assert f"the {len(WORDS)} test clips of the run" in out
        assert f"{len(WORDS)} are taken for the same word" in out

    def test_copies_of_the_test_clips_in_another_order(
        self, audio_run, words, run_predict, tmp_path
    ):
        names = [row["clip"] for row in recorded(audio_run)]
        for name in names:
            (tmp_path / "copy" / name).parent.mkdir(parents=True)
            shutil.copy(words / name, tmp_path / "copy" / name)
        _, found, *_ = run_predict(audio_run, *(tmp_path / "copy" / name for name in names[::-1]))
        self.check(audio_run, found["clips"][::-1])

    def test_published_demo(self, tmp_path, run_predict):
        options = {"nb_steps": 15, "spatial_bin": 20, "batch_size": 128, "nb_epochs": 1}
        run = train(tmp_path, dataset_name="demo", **options)
        demo = Path(predict.__file__).parents[2] / "datasets" / "demo" / "demo_test.h5.gz"
        status, found, out, err = run_predict(run, demo)
        assert (status, err) == (0, "")
        self.check(run, found["clips"])
        assert found["classes"][:2] == ["zero", "one"]
        assert "the 320 test clips of the run" in out

    def test_file_in_the_layout_of_shd(self, make_run, bands, run_predict):
        run = make_run()
        _, found, *_ = run_predict(run, bands / "shd_test.h5")
        self.check(run, found["clips"])

    def test_spikes_of_the_cochlea(self, ear_run, ear, run_predict):
        _, found, out, _ = run_predict(ear_run, ear / "shd_test.h5")
        self.check(ear_run, found["clips"])
        assert "note" not in out

    def test_recordings_that_the_cochlea_heard(self, ear_run, words, run_predict):
        """The recordings themselves make the spikes of the training again."""
        _, found, out, _ = run_predict(ear_run, words)
        by_name = {"/".join(Path(c["clip"]).parts[-2:]): c for c in found["clips"]}
        self.check(ear_run, [by_name[row["clip"]] for row in recorded(ear_run)])
        assert "note" not in out


def test_no_clip_depends_on_the_others_named(audio_run, words, run_predict):
    """Not on how long they are, as their zeros would be heard, nor on how many draw states."""
    files = sorted(words.glob("up/*.wav"))
    _, several, *_ = run_predict(audio_run, *files[:5])
    for file, clip in zip(files[:5], several["clips"], strict=True):
        assert run_predict(audio_run, file)[1]["clips"] == [clip]
    _, alone, *_ = run_predict(audio_run, files[0])
    write_wav(words / "up" / "longer.wav", chirp(2, 0, 0.4))
    _, several, *_ = run_predict(audio_run, files[0], words / "up" / "longer.wav")
    (words / "up" / "longer.wav").unlink()
    assert alone["clips"] == several["clips"][:1]


@pytest.mark.parametrize("model_type", ["LIF", "MLP", "GRU", "S4D"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_kind_of_network(make_run, bands, run_predict, model_type, bidirectional):
    if bidirectional and model_type == "MLP":
        return
    run = make_run(model_type=model_type, bidirectional=bidirectional, nb_epochs=1)
    _, found, *_ = run_predict(run, bands / "shd_test.h5")
    assert [clip["word"] for clip in found["clips"]] == own_test(run)[1]
    decided = {clip["decided"] is None for clip in found["clips"]}
    assert decided == {bidirectional}


@pytest.mark.parametrize("init_state", ["rand", "zero"])
@pytest.mark.parametrize("model_type", [*LAYERS, "RadLIF+CSiLIF"])
def test_clips_start_as_a_single_one_does(model_type, init_state):
    """All of a batch, in both directions; afterwards each draws its own again."""
    torch.manual_seed(0)
    options = {"bidirectional": True, "init_state": init_state}
    net = SNN((None, None, 6), [5, 5, 3], model_type, **options).eval()
    x = torch.rand(1, 20, 6).expand(4, -1, -1)
    with torch.no_grad(), alike(net):
        scores = net(x)[0]
    assert torch.equal(scores, scores[:1].expand(4, -1))
    assert torch.equal(net(x)[0][:1], net(x)[0][1:2]) == (init_state == "zero")


@pytest.mark.parametrize("name", READOUTS)
def test_running_scores_are_those_of_every_beginning(name):
    steps = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    running = READOUTS[name].running(steps)
    for end in range(1, 8):
        torch.testing.assert_close(running[:, end - 1], READOUTS[name].scores(steps[:, :end]))


@pytest.mark.parametrize(
    ("leading", "step"), [([0, 1, 0, 0, 0], 2), ([0] * 5, 0), ([1, 1, 1, 1, 0], 4)]
)
def test_a_clip_is_decided_where_its_class_leads_to_the_end(leading, step):
    running = torch.nn.functional.one_hot(torch.tensor([leading]), 2).float()
    answer = Answer(running[:, -1], running, first=10)
    assert answer.deciding_steps().tolist() == [10 + step]


def test_what_a_network_hears_is_what_it_was_trained_on(audio_run, ear_run, words):
    """Features to the bit, and spikes of the same seed."""
    data = open_run(audio_run).experiment.data.test
    listener = open_listener(audio_run)
    for index, name in enumerate(data.files):
        x, _ = data.batch(torch.tensor([index]))
        assert torch.equal(listener.input_of(read_recording(words / name)), x[0])
    assert listener.seconds_heard(0) == pytest.approx(0.025)
    assert listener.seconds[2] == pytest.approx(0.29, abs=0.011)
    listener = open_listener(ear_run)
    x, _ = open_run(ear_run).experiment.data.test.batch(torch.tensor([0]))
    sound = read_recording(words / recorded(ear_run)[0]["clip"])
    assert torch.equal(listener.input_of(sound, 5), x[0])


class Ear:
    """Stands for a network: hears a low word or a high one by the frames' brightest band."""

    classes, binning, rate = ("high", "low"), None, RATE
    config = SimpleNamespace(training=SimpleNamespace(batch_size=4))

    def start(self):
        pass

    def padded(self, x):
        return x

    def input_of(self, sound):
        from datasets.features import log_mel

        return log_mel(torch.from_numpy(sound.samples)[None] / 32768, sound.rate)[0]

    def seconds_heard(self, step):
        return step / 100

    def answer(self, x, *, alone):
        level = x.clamp(min=-8) + 8
        scores = torch.stack([level[..., 22:].sum((1, 2)), level[..., :18].sum((1, 2))], dim=1)
        return Answer(scores / 100, scores[:, None] / 100)


def tone(frequency, seconds=0.3):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def spoken(*parts):
    noise = 1e-4 * np.random.default_rng(0).standard_normal(sum(map(len, parts)))
    return Recording(np.int16(32767 * (np.concatenate(parts) + noise)), RATE)


def test_words_of_a_long_recording():
    quiet = np.zeros(RATE // 2)
    sound = spoken(quiet, tone(300), quiet, tone(3500), quiet, quiet, tone(250), quiet)
    found = search(Ear(), "talk.wav", sound, Windows(0.4, 0.1, 0.9))
    assert [word.word for word in found.words] == ["low", "high", "low"]
    starts = [word.start for word in found.words]
    assert np.allclose(starts, [0.5, 1.3, 2.6], atol=0.06)
    assert all(0.2 <= word.end - word.start <= 0.4 for word in found.words)
    assert found.starts[-1] == pytest.approx(len(sound.samples) / RATE - 0.4, abs=1e-3)
    assert len(levels(sound)) == int(len(sound.samples) / RATE / 0.025)


def test_windows_cover_a_recording():
    how = Windows(1.0, 0.25, 0.5)
    assert how.starts(1.5) == [0.0, 0.25, 0.5]
    assert how.starts(1.6) == [0.0, 0.25, 0.5, 0.6]
    assert how.starts(1.0) == how.starts(0.5) == [0.0]


def test_a_word_that_was_found_twice_is_one(audio_run, words, run_predict):
    _, found, *_ = run_predict(audio_run, words / "up" / "00.wav")
    word = predict.Prediction(**found["clips"][0] | {"start": 1.0, "end": 1.5})
    later = predict.Prediction(**found["clips"][0] | {"start": 1.4, "end": 1.8})
    other = predict.Prediction(**found["clips"][0] | {"start": 1.6, "end": 2.0, "word": "other"})
    joined = merged([other, later, word])
    assert [(w.word, w.start, w.end) for w in joined] == [(word.word, 1.0, 1.8), ("other", 1.6, 2)]


def test_a_long_recording_gets_lines_and_a_picture(audio_run, run_predict, tmp_path):
    sound = np.concatenate([np.zeros(RATE // 4), chirp(0, 0), np.zeros(RATE // 4), chirp(2, 1)])
    long = write_wav(tmp_path / "talk.wav", sound)
    flags = ["--threshold", "0", "--pictures", tmp_path / "p", "--csv", tmp_path / "words.csv"]
    status, found, out, _ = run_predict(audio_run, long, *flags)
    assert status == 0
    (recording,) = found["recordings"]
    assert recording["words"]
    assert re.search(r"\nstart +end +word +probability\n", out)
    assert (tmp_path / "p" / "talk.png").read_bytes()[:4] == b"\x89PNG"
    with open(tmp_path / "words.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == [word["word"] for word in recording["words"]]
    status, found, *_ = run_predict(audio_run, long, "--window", "0")
    assert (len(found["clips"]), found["recordings"]) == (1, [])


def test_bad_files_may_be_skipped(audio_run, words, run_predict, tmp_path):
    write_wav(tmp_path / "up" / "stereo.wav", np.zeros((RATE, 2)))
    shutil.copy(words / "up" / "00.wav", tmp_path / "up")
    status, _, _, err = run_predict(audio_run, tmp_path / "up")
    assert (status, err.count("\n")) == (2, 1)
    assert "has 2 channels" in err
    status, found, out, _ = run_predict(audio_run, tmp_path / "up", "--skip_bad_files")
    assert (status, len(found["clips"])) == (0, 1)
    assert "skipped 1: " in out


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["RUN", "nowhere.wav"], "nowhere.wav does not exist"),
        (["RUN", "empty"], "holds no WAV, FLAC, MP3 or Ogg or HDF5 files"),
        (["RUN", "notes.txt"], "notes.txt is no WAV"),
        (["RUN", "SPIKES"], "holds spikes, and the network in"),
        (["RUN", "short.wav"], "is too short"),
        (["RUN", "WAV", "--window", "0.01"], "--window 0.01"),
        (["RUN", "WAV", "--csv", "words.txt"], "must end in .csv"),
        (["RUN", "WAV", "--threshold", "2"], "--threshold"),
        (["nowhere", "WAV"], "nowhere is not a folder"),
        (["empty", "WAV"], "config.yaml"),
        (["RUN"], "FILE_OR_FOLDER"),
    ],
)
def test_mistakes_get_one_line(argv, named, audio_run, ear, words, tmp_path, run_predict):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("yes")
    write_wav(tmp_path / "short.wav", np.zeros(100))
    places = {"RUN": audio_run, "SPIKES": ear / "shd_test.h5", "WAV": words / "up" / "00.wav"}
    status, _, out, err = run_predict(*(places.get(arg, arg) for arg in argv))
    assert (status, err.count("\n"), out) == (2, 1, "")
    assert named in err


def test_what_an_earlier_run_does_not_say(audio_run, ear_run, words, run_predict, tmp_path):
    old = shutil.copytree(audio_run, tmp_path / "old")
    for name in ("data.json", "test_clips.csv"):
        (old / name).unlink()
    status, found, out, _ = run_predict(old, words / "up" / "00.wav")
    assert (status, found["classes"]) == (0, ["0", "1", "2"])
    assert "has no data.json" in out
    assert "clips of 1 s at 16000 Hz are assumed" in out
    old = shutil.copytree(ear_run, tmp_path / "old_ear")
    record = json.loads((old / "data.json").read_text())
    (old / "data.json").write_text(json.dumps({**record, "inner_ear_seed": None}))
    assert "not known to come from datasets.cochlea" in run_predict(old, words / "up/00.wav")[2]
