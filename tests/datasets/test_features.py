# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The filterbank against Kaldi's own code and against torchaudio's."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from loading import load
from wav_files import write_words

from benchmarks import features as benchmark
from benchmarks.features import kaldi_fbank
from datasets.features import FLOOR, frame_counts, log_mel, log_mel_by_torchaudio

RATES = (8000, 16000, 22050, 44100)
SOUNDS = ("noise", "whisper", "tone", "two tones", "silence", "constant", "impulse", "voice")


def sound(kind: str, rate: int) -> np.ndarray:
    """One second [rate] float32 in -1..1."""
    rng = np.random.default_rng(7)
    t = np.arange(rate) / rate
    if kind == "voice":  # a glottal buzz with formants, in syllables, over a little noise
        pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 3 * t)) / rate
        harmonics = np.arange(1, int(0.45 * rate / 140))
        formants = [np.exp(-(((130 * harmonics - f) / 150) ** 2)) for f in (500, 1500, 2500)]
        buzz = np.sin(pitch[:, None] * harmonics) @ (sum(formants) + 0.01)
        wave = 0.05 * buzz * np.sin(2 * np.pi * 2 * t) ** 2 + 1e-3 * rng.standard_normal(rate)
    else:
        wave = {
            "noise": 0.1 * rng.standard_normal(rate),
            "whisper": 1e-4 * rng.standard_normal(rate),
            "tone": 0.1 * np.sin(2 * np.pi * 440 * t),
            "two tones": 0.2 * np.sin(2 * np.pi * 300 * t) + 0.1 * np.sin(2 * np.pi * 1250 * t),
            "silence": np.zeros(rate),
            "constant": np.full(rate, 0.3),
            "impulse": np.eye(1, rate, rate // 3)[0],
        }[kind]
    return np.round(wave * 32768).clip(-32768, 32767).astype(np.float32) / 32768


def kaldi(wave: np.ndarray, rate: int) -> np.ndarray:
    return kaldi_fbank(wave.tolist(), rate)


@pytest.fixture(scope="module")
def torchaudio_fbank():
    fbank = benchmark.load_fbank()
    if fbank is None:
        pytest.skip("torchaudio is not installed")
    return fbank


@pytest.fixture
def torchaudio(torchaudio_fbank, monkeypatch):
    """As if torchaudio imported here, as it does beside a CUDA build of PyTorch."""
    module = types.SimpleNamespace(fbank=torchaudio_fbank)
    monkeypatch.setitem(sys.modules, "torchaudio.compliance.kaldi", module)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", SOUNDS)
def test_equals_kaldi(kind, rate):
    wave = sound(kind, rate)
    ours = log_mel(torch.from_numpy(wave)[None], rate)
    assert ours.shape == (1, 98, 40)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours[0].numpy(), kaldi(wave, rate), rtol=0, atol=2e-3)


@pytest.mark.parametrize("rate", RATES)
def test_loud_tones_equal_kaldi_down_to_the_noise_of_float32(rate):
    """Bands 80 dB under a tone hold nothing but rounding, Kaldi's as much as ours."""
    rng = np.random.default_rng(3)
    t = np.arange(rate) / rate
    for frequency, amplitude in zip(
        rng.uniform(60, 0.45 * rate, 12), rng.uniform(0.3, 0.99, 12), strict=True
    ):
        tone = amplitude * np.sin(2 * np.pi * frequency * t)
        wave = np.round(tone * 32768).clip(-32768, 32767).astype(np.float32) / 32768
        ours, theirs = log_mel(torch.from_numpy(wave)[None], rate)[0].numpy(), kaldi(wave, rate)
        difference = np.abs(ours - theirs)
        below = theirs.max(axis=1, keepdims=True) - theirs
        assert difference[below < np.log(10) * 8].max() < 2e-3
        assert difference.max() < 0.2


@pytest.mark.parametrize("rate", [*RATES, 11025, 48000])
def test_equals_torchaudio(torchaudio_fbank, rate):
    waves = torch.from_numpy(np.stack([sound(kind, rate) for kind in SOUNDS]))
    ours = log_mel(waves, rate)
    for wave, features in zip(waves, ours, strict=True):
        theirs = torchaudio_fbank(wave[None], num_mel_bins=40, sample_frequency=rate)
        torch.testing.assert_close(features, theirs, rtol=0, atol=1e-5)


def test_clip_by_clip_by_torchaudio(torchaudio, torchaudio_fbank):
    waves = torch.from_numpy(np.stack([sound(kind, 16000) for kind in SOUNDS[:4]]))
    lengths = torch.tensor([16000, 400, 399, 9999])
    features = log_mel_by_torchaudio(waves, 16000, lengths)
    assert features.shape == (4, 98, 40)
    for wave, length, found in zip(waves, lengths, features, strict=True):
        count = frame_counts(int(length), 16000)
        if count:
            theirs = torchaudio_fbank(wave[None, :length], num_mel_bins=40)
            assert torch.equal(found[:count], theirs)
        assert not found[count:].any()


@pytest.mark.parametrize("asked", ["torchaudio", "auto"])
def test_recordings_by_torchaudio(torchaudio, torchaudio_fbank, tmp_path, said, asked):
    ours = load("sc", write_words(tmp_path))
    data = load("sc", tmp_path, said, feature_backend=asked, use_augm=True)
    assert data.facts["feature_backend"] == "torchaudio"
    assert not said.about("does not import")
    waves, samples = data.train.waveforms(torch.arange(3))
    x, _ = data.train.batch(torch.arange(3))
    for wave, length, found in zip(waves, samples, x, strict=True):
        theirs = torchaudio_fbank(wave[None, :length], num_mel_bins=40)
        assert torch.equal(found[: len(theirs)], theirs)
    torch.testing.assert_close(data.train.features, ours.train.features, rtol=0, atol=1e-5)
    assert data.train.filterbank is log_mel_by_torchaudio
    assert torch.equal(load("sc", tmp_path).train.features, ours.train.features)


@pytest.mark.parametrize("asked", ["torchaudio", "auto"])
def test_without_torchaudio_a_line_says_so(tmp_path, said, monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "torchaudio.compliance.kaldi", None)
    data = load("sc", write_words(tmp_path), said, feature_backend=asked)
    assert said.about("torchaudio does not import") == [
        "sc: torchaudio does not import beside this build of PyTorch: the features are those of "
        "--feature_backend torch"
    ]
    assert data.facts["feature_backend"] == "torch"
    assert data.train.filterbank is log_mel


def test_silence_is_the_floor():
    assert np.float32(1.1920929e-07) == FLOOR
    features = log_mel(torch.zeros(2, 16000), 16000)
    torch.testing.assert_close(features, torch.full((2, 98, 40), np.log(FLOOR)))


def test_clips_of_different_lengths_are_as_if_alone():
    rng = np.random.default_rng(0)
    lengths = torch.tensor([16000, 400, 399, 0, 9999, 560])
    waves = torch.from_numpy(rng.standard_normal((6, 16000)).astype(np.float32))
    together = log_mel(waves, 16000, lengths)
    counts = frame_counts(lengths, 16000)
    assert counts.tolist() == [98, 1, 0, 0, 60, 2]
    for wave, length, count, features in zip(waves, lengths, counts, together, strict=True):
        alone = log_mel(wave[None, :length], 16000)[0]
        assert len(alone) == count
        torch.testing.assert_close(features[:count], alone, rtol=0, atol=1e-5)
        assert features[count:].abs().sum() == 0


def test_many_clips_equal_few():
    waves = torch.randn(40, 16000, generator=torch.Generator().manual_seed(0))
    together = log_mel(waves, 16000)
    torch.testing.assert_close(together[-3:], log_mel(waves[-3:], 16000), rtol=0, atol=1e-5)


def test_no_clips_and_too_short_clips():
    assert log_mel(torch.zeros(0, 16000), 16000).shape == (0, 98, 40)
    assert log_mel(torch.zeros(3, 399), 16000).shape == (3, 0, 40)
    assert frame_counts(399, 16000) == 0
    assert frame_counts(np.array([0, 400]), 16000).tolist() == [0, 1]


def test_an_impossible_rate():
    with pytest.raises(ValueError, match="50 Hz"):
        log_mel(torch.zeros(1, 100), 50)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu():
    waves = torch.from_numpy(np.stack([sound(kind, 16000) for kind in SOUNDS]))
    lengths = torch.arange(len(waves)) * 2000
    on_gpu = log_mel(waves.cuda(), 16000, lengths.cuda())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), log_mel(waves, 16000, lengths), rtol=0, atol=2e-3)


def test_the_benchmark_times_all_ways(tmp_path):
    benchmark.main(["--quick", "--out", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["cpu"]["Sprache, batch"]["ms"] > 0
    assert "kaldi-native-fbank, per clip" in result["cpu"]
    assert result["largest_difference"]["cpu"] < 1e-4
