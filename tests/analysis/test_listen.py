# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is heard while sound comes is what the network says of the recording."""

import queue
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import main
from analysis.listen import __main__ as listen
from analysis.listen import sources
from analysis.listen.ears import FrameEar, WindowEar, make_ear
from analysis.listening import open_listener
from datasets import cochlea
from datasets.recordings import Recording, read_recording
from tests.command_line import arguments
from tests.datasets.wav_files import RATE, WORDS, chirp, write_wav, write_words

SMALL = {"nb_hiddens": 12, "batch_size": 4, "nb_epochs": 1, "lr": 0.02, "seed": 3}
SPIKES = {"nb_steps": 15, "spatial_bin": 20, "max_time": 0.4}


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    return write_words(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture(scope="module")
def make_run(words, tmp_path_factory):
    """A run on features of the words."""

    def make(**options) -> Path:
        run = tmp_path_factory.mktemp("run") / "run"
        options = {"dataset_name": "sc", "data_folder": words, **SMALL, **options}
        assert main.main(arguments(new_exp_folder=run, **options)) == 0
        return run

    return make


@pytest.fixture(scope="module")
def audio_run(make_run) -> Path:
    return make_run()


@pytest.fixture(scope="module")
def clip(words) -> Path:
    return sorted(words.glob(f"{WORDS[0]}/*.wav"))[0]


@pytest.fixture
def run_listen(capsys):
    """Run the program on a file, fast; (exit status, standard output, standard error)."""

    def call(run, *argv):
        status = listen.main([str(run), *map(str, argv)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def heard_of(ear, samples: np.ndarray, sizes: list[int]) -> list:
    ear.reset()
    found, place = [], 0
    while place < len(samples):
        for size in sizes:
            found += ear.hear(samples[place : place + size])
            place += size
    return found + ear.end()


@pytest.mark.parametrize("sizes", [[160], [1], [37, 1000, 5], [10**6]])
def test_frames_are_heard_as_the_recording_is(audio_run, clip, sizes):
    """By the network that begins first, from the same initial states, whatever the blocks are."""
    listener, sound = open_listener(audio_run), read_recording(clip)
    ear = make_ear(listener, listener.seconds[1], 0.05)
    assert isinstance(ear, FrameEar)
    x = listener.input_of(sound)
    listener.start()
    answer = listener.answer(x[None])
    found = heard_of(ear, sound.samples, sizes)[: len(x)]
    assert len(found) == len(x)
    for step, heard in enumerate(found):
        if step < ear.window:
            torch.testing.assert_close(heard.scores, answer.running[0, step], rtol=1e-4, atol=1e-4)
            assert (heard.start, heard.end) == (0, pytest.approx(listener.seconds_heard(step)))


def test_windows_follow_one_another(audio_run):
    listener = open_listener(audio_run)
    ear = make_ear(listener, 0.2, 0.05)
    samples = np.concatenate([np.zeros(RATE, np.int16), np.full(RATE, 3277, np.int16)])
    found = heard_of(ear, samples, [160])
    whole = [heard for heard in found if heard.whole]
    starts = [heard.start for heard in whole]
    assert starts == pytest.approx([0.05 * i for i in range(len(starts))])
    assert starts[-1] >= 1.75
    assert all(heard.end - heard.start == pytest.approx(0.195) for heard in whole[:-1])
    assert whole[0].level == -120
    assert whole[-2].level == pytest.approx(-20, abs=0.01)


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"model_type": "GRU"}])
def test_networks_without_steps_hear_windows(make_run, clip, options):
    listener, sound = open_listener(make_run(**options)), read_recording(clip)
    seconds = len(sound.samples) / sound.rate
    ear = make_ear(listener, seconds, 0.1)
    assert isinstance(ear, WindowEar)
    (heard,) = heard_of(ear, sound.samples, [160])
    listener.start()
    expected = listener.answer(listener.padded(listener.input_of(sound))[None]).scores[0]
    assert torch.equal(heard.scores, expected)
    assert heard.whole
    assert (heard.start, heard.end) == (0, pytest.approx(seconds))


def test_state_space_networks_take_steps(make_run, clip):
    listener, sound = open_listener(make_run(model_type="S4D")), read_recording(clip)
    ear = make_ear(listener, listener.seconds[1], 0.1)
    assert isinstance(ear, FrameEar)
    x = listener.input_of(sound)[: ear.window]
    expected = listener.answer(x[None]).running[0, -1]
    found = heard_of(ear, sound.samples, [160])[len(x) - 1]
    torch.testing.assert_close(found.scores, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_spikes_are_heard_in_windows(words, tmp_path, clip):
    folder, run = tmp_path / "spikes", tmp_path / "run"
    cochlea.convert(words, folder, seed=7)
    options = {"dataset_name": "shd", "data_folder": folder, **SMALL, **SPIKES}
    assert main.main(arguments(new_exp_folder=run, **options)) == 0
    listener = open_listener(run)
    long = Recording((np.tile(chirp(1, 0, 0.4), 2) * 32767).astype(np.int16), RATE)
    ear = make_ear(listener, 0.4, 0.2)
    assert isinstance(ear, WindowEar)
    found = heard_of(ear, long.samples, [160])
    times = [(round(heard.start, 2), round(heard.end, 2)) for heard in found]
    assert times == [(0, 0.4), (0.2, 0.6), (0.4, 0.8)]
    listener.start()
    for heard in found:
        part = long.samples[round(heard.start * RATE) :][: round(0.4 * RATE)]
        expected = listener.answer(listener.input_of(Recording(part, RATE))[None]).scores[0]
        assert torch.equal(heard.scores, expected)
    assert heard_of(ear, np.zeros(RATE, np.int16), [160]) == []


def test_words_latency_and_factor_are_printed(audio_run, clip, run_listen):
    status, out, err = run_listen(audio_run, "--file", clip, "--fast", "--threshold", 0.1)
    assert (status, err) == (0, "")
    first, word, *_, last = out.splitlines()
    assert first.startswith("a window of ")
    assert word.split()[4] in WORDS
    assert "latency: 25 ms of a frame, " in last
    assert float(last.rsplit(" ", 1)[1]) > 0  # the real-time factor
    _, out, _ = run_listen(audio_run, "--file", clip, "--fast", "--threshold", 0, "--quiet", 0)
    assert len(out.splitlines()) == 2  # all is silence


def test_a_file_takes_its_time(audio_run, tmp_path, run_listen):
    path = write_wav(tmp_path / "long.wav", chirp(2, 0, 0.7))
    start = time.perf_counter()
    played = [block for block in sources.from_file(path, RATE)]
    assert time.perf_counter() - start >= 0.7 - 0.02
    assert sum(len(block.samples) for block in played) == round(0.7 * RATE)
    assert np.diff([block.when for block in played]).min() > 0


def test_the_live_line(audio_run, clip, run_listen, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(listen, "REDRAWN", 0.0)
    _, _, err = run_listen(audio_run, "--file", clip, "--fast", "--quiet", -100)
    lines = [line for line in err.split("\r\x1b[K") if line]
    assert all(any(word in line for word in WORDS) for line in lines)
    assert "0.03 s" in lines[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--fast"], "--fast is for a --file"),
        (["--file", "no.wav"], "no.wav does not exist"),
        (["--file", "no.wav", "--device", "1"], "--device is a microphone and --file a recording"),
        (["--file", "no.wav", "--window", "0.1", "--hop", "0.2"], "leaves sound between windows"),
        (["--window", "0.01"], "--window: '0.01' is not a number from 0.05"),
    ],
)
def test_mistakes(audio_run, run_listen, argv, message):
    status, _, err = run_listen(audio_run, *argv)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_without_sounddevice(audio_run, run_listen, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = run_listen(audio_run)
    assert status == 2
    assert "pip install sounddevice; or name a recording with --file" in err


class Device(SimpleNamespace):
    """Stands in for sounddevice: a microphone into which somebody speaks until Ctrl-C."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def InputStream(self, samplerate, channels, dtype, blocksize, device, callback):  # noqa: N802
        assert (channels, dtype) == (1, "int16")
        if self.samples is None:
            raise self.PortAudioError(f"Error querying device {device}")

        def start():
            status = SimpleNamespace(input_overflow=False)
            for block in np.array_split(self.samples, len(self.samples) // blocksize):
                callback(block[:, None], len(block), None, status)

        return SimpleNamespace(start=start, close=lambda: None, latency=0.012)


def test_a_microphone(audio_run, clip, run_listen, monkeypatch):
    samples = read_recording(clip).samples
    monkeypatch.setitem(sys.modules, "sounddevice", Device(samples=samples))

    class Blocks(queue.SimpleQueue):
        def get(self, timeout=None):
            if self.empty():
                raise KeyboardInterrupt
            return super().get()

    monkeypatch.setattr(sources.queue, "SimpleQueue", Blocks)
    status, out, _ = run_listen(audio_run)
    assert status == 0
    assert "listening, until Ctrl-C" in out
    assert "latency: 12 ms of the microphone, 25 ms of a frame" in out


def test_no_microphone(audio_run, run_listen, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Device(samples=None))
    status, _, err = run_listen(audio_run, "--device", "7")
    assert status == 2
    assert f"no microphone opens at {RATE} Hz (Error querying device 7): choose another" in err
