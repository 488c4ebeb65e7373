# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The inner ear: known physics of each stage, reproducibility, and the command for users."""

from pathlib import Path

import h5py
import numba
import numpy as np
import pytest
import soundfile
from loading import load

from datasets import cochlea, partition
from datasets.errors import DataError


def tone(frequency, seconds=0.5, rate=16_000):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def speech_like(seed=0, rate=16_000):
    """Half a second of a pulse train in noise, at an irregular level."""
    rng = np.random.default_rng(seed)
    sound = 0.05 * rng.standard_normal(rate // 2)
    sound[1000:7000:133] += 2
    return sound


def fire(n, p, draws, seed=0):
    uniforms = np.random.default_rng(seed).random(draws)
    return np.array([cochlea._binomial.py_func(u, n, p) for u in uniforms])


def test_wave_numbers_solve_the_dispersion_relation():
    """Near the stapes the wave is long: there p is that of the 1-D model, K^-1/4 exp(-i int k)."""
    places = np.linspace(0.0005, 0.05, 100)
    transfer = cochlea.membrane_transfer(np.array([100.0]), places)[:, 0].astype(complex)
    w = 2 * np.pi * 100
    softness = np.exp(-cochlea.STIFFNESS_DECAY * places)
    impedance = (
        cochlea.STIFFNESS * softness
        + 1j * w * cochlea.DAMPING * np.sqrt(softness)
        - w**2 * cochlea.MASS
    )
    k = np.sqrt(2 * cochlea.FLUID_DENSITY * w**2 / impedance / cochlea.FLUID_HEIGHT)
    pressure = transfer * impedance / (1j * w)
    long_wave = k**-0.5 * np.exp(-1j * np.cumsum(k) * (places[1] - places[0]))
    ratio = pressure / long_wave
    np.testing.assert_allclose(ratio / ratio[0], 1, atol=1e-3)


def test_best_frequency_falls_from_base_to_apex():
    places = (np.arange(cochlea.CHANNELS) + 0.5) * cochlea.LENGTH / cochlea.CHANNELS
    frequencies = np.geomspace(60, 8000, 300)
    best = np.abs(cochlea.membrane_transfer(frequencies, places)).argmax(axis=1)
    assert (np.diff(best[60:]) <= 0).all()
    assert frequencies[best[-1]] < 100
    assert frequencies[best[60]] > 6000


def test_membrane_is_linear_and_blocks_add_up():
    sound = speech_like()
    parts = np.kron(np.eye(3), sound)[1:]  # in 1.5 s, or two blocks
    whole = cochlea.membrane_response(parts.sum(0))
    np.testing.assert_allclose(whole, sum(map(cochlea.membrane_response, parts)), atol=2e-5)


def test_binomial_draws_follow_the_distribution():
    for n, p in ((40, 0.004), (40, 0.3), (7, 0.9)):
        draws = fire(n, p, 20_000)
        assert draws.min() >= 0
        assert draws.max() <= n
        assert draws.mean() == pytest.approx(n * p, rel=0.05)
        assert draws.var() == pytest.approx(n * p * (1 - p), rel=0.06)
    assert not fire(0, 0.5, 10).any()


def test_silent_cell_fires_at_the_rate_of_its_steady_state():
    """Meddis 1986: with no input h c follows from setting the three derivatives to zero; the
    refractory millisecond turns a probability rate r into r / (1 + r * 1 ms)."""
    _, rates = cochlea.hair_cells(np.zeros((cochlea.CHANNELS, 4_000), np.float32), seed=0)
    k = cochlea.PERMEABILITY_G * 5 / 305
    cleft = (
        k
        * cochlea.REPLENISH
        / (cochlea.LOSS * k + cochlea.REPLENISH * (cochlea.LOSS + cochlea.RECOVER))
    )
    rate = cochlea.FIRING * cleft
    assert rates.mean() == pytest.approx(rate / (1 + rate * cochlea.REFRACTORY), rel=0.02)


def test_hair_cell_answers_onset_more_than_the_sustained_tone():
    """Adaptation: the pool empties (Meddis 1986, figure 2)."""
    velocity = np.tile(0.3 * tone(2000), (cochlea.CHANNELS, 1)).astype(np.float32)
    velocity[:, :1600] = 0
    spikes, _ = cochlea.hair_cells(velocity, seed=0)
    onset, later = spikes[:, 1600:1760].sum(), spikes[:, -160:].sum()
    assert onset > 3 * later


def test_a_low_and_a_high_tone_excite_opposite_ends():
    _, low = cochlea.spikes_from_audio(tone(250), 16_000)
    _, high = cochlea.spikes_from_audio(tone(4000), 16_000)
    # A passive membrane also moves, less, all the way from the base to the place of the tone.
    assert np.percentile(low, 95) > 500  # towards the apex
    assert np.percentile(high, 95) < 250  # the base
    assert np.median(low) > np.median(high) + 200


def test_events_are_in_the_layout_of_shd():
    times, units = cochlea.spikes_from_audio(speech_like(), 16_000)
    assert times.dtype == np.float16
    assert units.dtype == np.uint16
    assert len(times) == len(units) > 500
    assert (np.diff(times.astype(float)) >= 0).all()
    assert units.max() < cochlea.CHANNELS
    assert times.max() <= 0.5


def test_same_seed_same_spikes_whatever_the_number_of_threads_and_the_level():
    first = cochlea.spikes_from_audio(4 * speech_like(), 16_000, seed=3)
    numba.set_num_threads(1)
    try:
        second = cochlea.spikes_from_audio(speech_like(), 16_000, seed=3)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    other = cochlea.spikes_from_audio(speech_like(), 16_000, seed=4)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].tobytes() != other[0].tobytes()


def test_other_sampling_rates_excite_the_same_places():
    _, native = cochlea.spikes_from_audio(tone(1000), 16_000)
    _, resampled = cochlea.spikes_from_audio(tone(1000, rate=22_050), 22_050)
    assert abs(np.median(native.astype(int)) - np.median(resampled.astype(int))) < 5


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros(1000), "silent"),
        (np.zeros(0), "shape"),
        (np.zeros((100, 2)), "one channel"),
        (np.full(100, np.nan), "not finite"),
    ],
)
def test_audio_without_content_is_refused(audio, words):
    with pytest.raises(DataError, match=words):
        cochlea.spikes_from_audio(audio, 16_000)


@pytest.fixture
def wav_folder(tmp_path):
    folder = tmp_path / "wavs"
    for word in ("no", "yes", "_noise"):
        (folder / word).mkdir(parents=True)
        for speaker in ("b", "a"):
            sound = 0.1 * speech_like(seed=ord(speaker))
            soundfile.write(folder / word / f"{speaker}_1.wav", sound, 16_000)
    return folder


def test_recordings_of_every_format_are_found(wav_folder):
    for suffix in (".flac", ".mp3", ".ogg"):
        soundfile.write(wav_folder / "no" / f"c{suffix}", speech_like(), 16_000)
    names = [path.name for path in cochlea.find_wavs(wav_folder)[0]]
    assert names == ["a_1.wav", "b_1.wav", "c.flac", "c.mp3", "c.ogg", "a_1.wav", "b_1.wav"]


def test_convert_writes_labels_speakers_and_keys(wav_folder, tmp_path):
    out = tmp_path / "words.h5"
    assert cochlea.convert(wav_folder, out, speaker_from="^([^_]+)_") == 4
    with h5py.File(out) as file:
        assert file["labels"][:].tolist() == [0, 0, 1, 1]
        assert file["extra/speaker"][:].tolist() == [0, 1, 0, 1]
        assert file["extra/keys"][:].tolist() == [b"no", b"yes"]
        assert file["spikes/times"][0].dtype == np.float16
        assert file["spikes/units"][0].dtype == np.uint16
        assert len(file["spikes/times"][3]) == len(file["spikes/units"][3]) > 500
    first = out.read_bytes()
    cochlea.convert(wav_folder, out, speaker_from="^([^_]+)_", overwrite=True)
    assert out.read_bytes() == first


def test_a_folder_gets_a_file_for_each_split(wav_folder, tmp_path, capsys):
    for word in ("no", "yes"):
        sound = 0.1 * speech_like(seed=ord("c"))[:2000]
        soundfile.write(wav_folder / word / "c_1.wav", sound, 16_000)
    out = tmp_path / "spikes"
    assert cochlea.main([str(wav_folder), str(out)]) == 0
    assert capsys.readouterr().out.count("2 clips in ") == 3
    data = load("shd", out)
    assert data.classes == ["no", "yes"]
    assert data.validation == "the dataset's own validation split"
    for split in (data.train, data.valid, data.test):
        assert sorted(split.labels.tolist()) == [0, 1]
    assert cochlea.main([str(wav_folder), str(out)]) == 2
    assert "shd_train.h5 exists" in capsys.readouterr().err


def named(pattern, speakers=10, words=3, takes=2):
    clips = [(w, s, t) for w in range(words) for s in range(speakers) for t in range(takes)]
    paths = [Path(f"word{w}") / pattern.format(speaker=f"s{s:02d}", take=t) for w, s, t in clips]
    return paths, [w for w, _, _ in clips]


@pytest.mark.parametrize(
    ("pattern", "speakers", "known", "rule"),
    [
        ("{speaker}_nohash_{take}.wav", 10, True, "speaker, of 10"),
        ("lang-english_speaker-{speaker}_trial-{take}.wav", 10, True, "speaker, of 10"),
        ("{speaker}_nohash_{take}.wav", 2, True, "class"),
        ("{take} by {speaker}.wav", 10, False, "class"),
    ],
)
def test_clips_are_split_by_speaker_where_names_tell(tmp_path, pattern, speakers, known, rule):
    paths, labels = named(pattern, speakers)
    found = cochlea.speaker_pattern([path.name for path in paths])
    assert (found is not None) == known
    numbers = cochlea.speaker_numbers(paths, found)
    (parts, said), again, other = (
        partition.partition(tmp_path, paths, labels, numbers, seed) for seed in (0, 0, 1)
    )
    assert (parts, said) == again
    assert said == rule
    assert parts != other[0]
    assert sorted(i for part in parts.values() for i in part) == list(range(len(paths)))
    assert all({labels[i] for i in part} == {0, 1, 2} for part in parts.values())
    if rule != "class":
        heard = [{numbers[i] for i in part} for part in parts.values()]
        assert sum(map(len, heard)) == len(set.union(*heard)) == 10


def test_lists_of_files_decide_first(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for take in range(3):
            (tmp_path / name / f"{take}.wav").touch()
    (tmp_path / "validation_list.txt").write_text("a/1.wav\n")
    (tmp_path / "testing_list.txt").write_text("b/0.wav\na/2.wav\n")
    paths, labels, _ = cochlea.find_wavs(tmp_path)
    parts, rule = partition.partition(tmp_path, paths, labels, [0] * 6, seed=0)
    assert parts == {"train": [0, 4, 5], "valid": [1], "test": [2, 3]}
    assert rule == "validation_list.txt and testing_list.txt"


@pytest.mark.slow
def test_several_processes_write_the_same_file(wav_folder, tmp_path, monkeypatch):
    one, several = tmp_path / "one.h5", tmp_path / "new" / "several.h5"
    cochlea.convert(wav_folder, one)
    monkeypatch.setattr(cochlea, "CLIPS_WORTH_A_PROCESS", 1)
    cochlea.convert(wav_folder, several, num_workers=2)
    assert several.read_bytes() == one.read_bytes()


def test_what_is_not_converted_is_reported(wav_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cochlea, "_clip", lambda *clip: pytest.fail("the long work has begun"))
    (wav_folder / "docs").mkdir()
    (wav_folder / "no" / "c.m4a").touch()
    (wav_folder / "no" / "deeper").mkdir()
    (wav_folder / "no" / "deeper" / "d.wav").touch()
    soundfile.write(wav_folder / "no" / "silent.wav", np.zeros(100), 16_000)
    for split, names in (("validation", "no/a_1.wav\nno/gone.wav"), ("testing", "no/b_1.wav")):
        (wav_folder / f"{split}_list.txt").write_text(names)
    words = [str(wav_folder), str(tmp_path / "spikes")]
    assert cochlea.main(words) == 2
    assert "silent.wav: audio is silent: repair or remove it" in capsys.readouterr().err
    (wav_folder / "testing_list.txt").write_text("\n")
    assert cochlea.main([*words, "--skip_bad_files"]) == 2
    shown = capsys.readouterr()
    assert "there is no test clip" in shown.err
    for line in (
        "file in the folder docs: not a class",
        f"1 file is left out, the first {wav_folder}/no/c.m4a, as clips are",
        f"1 file is left out, the first {wav_folder}/no/deeper/d.wav, as clips lie",
        f"skipped: {wav_folder}/no/silent.wav: audio is silent",
        f"listed, but not converted: {wav_folder}/no/gone.wav",
    ):
        assert line in shown.out


@pytest.mark.parametrize("sound", [np.ones((100, 2)) / 2, np.zeros(100)])
def test_bad_wav_is_named_in_one_line(wav_folder, tmp_path, capsys, sound):
    soundfile.write(wav_folder / "no" / "bad.wav", sound, 16_000)
    out = tmp_path / "words.h5"
    assert cochlea.main([str(wav_folder), str(out)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "bad.wav" in lines[0]
    assert list(tmp_path.glob("*words*")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{wavs}", "{wavs}/yes/a_1.wav/o.h5"], "a_1.wav is a file"),
        (["{wavs}", "{wavs}/yes/a_1.wav"], "a_1.wav is a file"),
        (["{wavs}", "o.h5", "--speaker-from", "("], "not a valid regular expression"),
        (["{wavs}", "o.h5", "--speaker-from", "a_1"], "finds no group"),
    ],
)
def test_bad_arguments_are_one_line(wav_folder, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert cochlea.main([a.replace("{wavs}", str(wav_folder)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
