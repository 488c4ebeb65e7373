# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Each augmentation against its definition, and all of them for what a training relies on."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datasets import augment
from datasets.augment import Augmentation

RATE = 4000
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ON = {
    "use_augm": True,
    "min_snr": 0.1,
    "max_snr": 0.2,
    "augm_time_shift": 0.05,
    "augm_time_mask": 8,
    "augm_freq_mask": 5,
    "augm_channel_shift": 3,
    "augm_event_drop": 0.2,
    "augm_cutmix": 0.9,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(B: int = 8, S: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a mean, clips of 300 to S samples."""
    lengths = torch.linspace(300, S, B).long()
    waves = 0.1 + 0.3 * torch.randn(B, S, generator=seeded(1))
    return waves * (torch.arange(S) < lengths[:, None]), lengths


def counts(B: int = 12, T: int = 40, C: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts without an event in bin 0; classes 0, 1 and 2, and the last clip alone in class 9."""
    frames = torch.poisson(torch.full((B, T, C), 0.4), generator=seeded(1))
    frames[:, 0] = 0
    labels = torch.arange(B) % 3
    labels[-1] = 9
    return frames, labels


def kinds(options: Augmentation, device: str = "cpu") -> dict:
    """The three functions on a batch, as (inputs, generator -> result)."""
    waves, lengths = (x.to(device) for x in clips())
    frames, labels = (x.to(device) for x in counts())
    features = torch.randn(8, 30, 40, generator=seeded()).to(device)
    nb_frames = torch.arange(23, 31, device=device)
    return {
        "waveforms": (
            waves,
            lambda g: augment.augment_waveforms(waves, lengths, RATE, options, g),
        ),
        "features": (
            features,
            lambda g: augment.augment_features(features, nb_frames, options, g),
        ),
        "frames": (frames, lambda g: augment.augment_frames(frames, labels, 0.01, options, g)),
    }


@pytest.mark.parametrize("kind", ["waveforms", "features", "frames"])
class TestAnyKind:
    @pytest.mark.parametrize("device", DEVICES)
    def test_the_generator_decides(self, kind, device):
        original, change = kinds(Augmentation(**ON), device)[kind]
        before, state = original.clone(), torch.get_rng_state()
        generator = torch.Generator(device)
        changed = change(generator.manual_seed(3))
        torch.testing.assert_close(changed, change(generator.manual_seed(3)), rtol=0, atol=1e-6)
        assert not torch.allclose(changed, change(generator.manual_seed(4)))
        assert changed.isfinite().all()
        assert changed.device == original.device
        assert changed.shape == original.shape
        assert changed.dtype == original.dtype
        assert changed.is_contiguous()
        assert original.equal(before), "the input was changed"
        assert torch.get_rng_state().equal(state)

    def test_nothing_is_drawn_where_nothing_is_asked_for(self, kind):
        original, change = kinds(Augmentation())[kind]
        generator = seeded()
        before = generator.get_state()
        assert change(generator) is original
        assert generator.get_state().equal(before)


def test_what_an_option_changes():
    assert Augmentation.of(SimpleNamespace(**ON, other=1)) == Augmentation(**ON)
    alone = {name: Augmentation(**{name: value}) for name, value in ON.items()}
    changing = {
        kind: {name for name, options in alone.items() if getattr(options, kind)}
        for kind in ("of_waveforms", "of_features", "of_frames")
    }
    assert changing == {
        "of_waveforms": {"use_augm", "augm_time_shift"},
        "of_features": {"augm_time_mask", "augm_freq_mask"},
        "of_frames": {
            "augm_time_shift", "augm_channel_shift", "augm_event_drop", "augm_cutmix"
        },
    }  # fmt: skip


def test_padding_of_waveforms_stays_zero():
    waves, lengths = clips(B=64)
    options = Augmentation(use_augm=True, augm_time_shift=0.02)
    changed = augment.augment_waveforms(waves, lengths, RATE, options, seeded())
    assert not changed[torch.arange(1000) >= lengths[:, None]].any()
    assert changed.isfinite().all()
    assert (changed != waves).any(1).all()


def test_published_probabilities():
    """With strengths that leave their mark, count how many clips each change met."""
    waves = torch.ones(4000, 64)
    inverted = augment.invert_polarity(waves, seeded(), augment.P_INVERSION)
    assert set(inverted.unique().tolist()) == {-1.0, 1.0}
    noise = waves * torch.linspace(-1, 1, 64)
    lengths = torch.full((4000,), 64)
    met = {
        0.8: inverted != waves,
        0.1: augment.add_noise(noise, lengths, (0.5, 0.5), seeded(), augment.P_NOISE) != noise,
        0.3: augment.change_gain(waves, seeded(), augment.P_GAIN) != waves,
        0.6: augment.reverberate(noise, lengths, RATE, seeded(), augment.P_REVERB) != noise,
    }
    for p, changed in met.items():
        assert changed.any(1).float().mean() == pytest.approx(p, abs=0.03)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_what_a_gpu_computes_for_all_changes_the_chosen(p, monkeypatch):
    """Made for all and put where the mask is, as made for the chosen alone."""
    waves, lengths = clips(B=30)
    inverted = augment.invert_polarity(waves, seeded(), p)
    choose = augment._choose
    monkeypatch.setattr(
        augment, "_choose", lambda *given: choose(*given)._replace(rows=slice(None))
    )
    assert augment.invert_polarity(waves, seeded(), p).equal(inverted)
    mask = choose(30, p, seeded()).mask
    for changed in (
        augment.add_noise(waves, lengths, (0.5, 0.5), seeded(), p),
        augment.change_gain(waves, seeded(), p),
        augment.reverberate(waves, lengths, RATE, seeded(), p),
    ):
        assert (changed != waves).any(1).equal(mask)


def test_noise_is_a_share_of_the_clips_deviation():
    waves, lengths = clips(B=40, S=8000)
    noise = augment.add_noise(waves, lengths, (0.2, 0.6), seeded()) - waves
    ratios = [
        (noise[i, :n].std() / waves[i, :n].std()).item() for i, n in enumerate(lengths.tolist())
    ]
    assert 0.18 < min(ratios) < 0.3
    assert 0.5 < max(ratios) < 0.65
    fixed = augment.add_noise(waves, lengths, (0.5, 0.5), seeded())[-1] - waves[-1]
    assert fixed.std() / waves[-1].std() == pytest.approx(0.5, rel=0.05)


def test_gain_is_between_minus_20_and_minus_1_db():
    waves, _ = clips(B=200, S=400)
    changed = augment.change_gain(waves, seeded())
    gains = 20 * (changed[:, 0] / waves[:, 0]).log10()
    torch.testing.assert_close(changed, waves * (10 ** (gains / 20))[:, None])
    assert -20.01 < gains.min() < -18
    assert -3 < gains.max() < -0.99


def test_reverberation_is_a_convolution_that_keeps_the_energy():
    waves, lengths = clips(B=5)
    changed = augment.reverberate(waves, lengths, RATE, seeded(3))
    generator = seeded(3)
    torch.rand(5, generator=generator)  # which clips are met
    rooms = augment._room_responses(5, RATE, generator)
    for wave, room, n, result in zip(waves, rooms, lengths.tolist(), changed, strict=True):
        wet = np.convolve(wave.double().numpy(), room.double().numpy())[:n]
        wet *= np.sqrt((wave.double() ** 2).sum().item() / (wet**2).sum())
        np.testing.assert_allclose(result[:n], wet, atol=2e-5)


def test_rooms_answer_as_long_and_as_loud_as_documented():
    rooms = augment._room_responses(60, 16000, seeded())
    assert (rooms[:, 0] == 1).all()
    loudness = rooms[:, 1:].norm(dim=1)
    assert augment.WET[0] <= loudness.min() < loudness.max() <= augment.WET[1] + 1e-5
    # Schroeder's backward integral, from 5 to 25 dB below the whole.
    energy = rooms[:, 1:].square().flip(1).cumsum(1).flip(1)
    decibels = 10 * (energy / energy[:, :1]).log10()
    rt60 = 3 * ((decibels > -25).sum(1) - (decibels > -5).sum(1)) / 16000
    assert 0.08 < rt60.min() < 0.2
    assert 0.5 < rt60.max() < 0.72


@pytest.mark.parametrize("most", [0, 3, 9])
def test_shift_loses_what_leaves_and_fills_with_zeros(most):
    x = torch.rand(200, 7, 2, generator=seeded(2)) + 1
    whole = augment.shift(x, most, seeded(), torch.full((200,), 7))
    assert augment.shift(x, most, seeded()).equal(whole)
    lengths = torch.arange(200) % 8
    x *= (torch.arange(7) < lengths[:, None])[:, :, None]
    moved = augment.shift(x, most, seeded(), lengths)
    met = set()
    for clip, n, result in zip(x, lengths.tolist(), moved, strict=True):
        fitting = []
        for offset in range(-most, most + 1):
            expected = torch.zeros_like(clip)
            for t in range(n):
                if 0 <= t - offset < n:
                    expected[t] = clip[t - offset]
            fitting += [offset] if expected.equal(result) else []
        assert fitting
        met |= set(fitting) if len(fitting) == 1 else set()
    assert met >= set(range(-min(most, 6), min(most, 6) + 1))


def test_masks_are_one_stretch_inside_the_clip():
    lengths = torch.arange(2000) % 30
    mask = augment.random_mask(lengths, 30, 12, seeded())
    widths = mask.sum(1)
    assert not mask[torch.arange(30) >= lengths[:, None]].any()
    assert (mask[:, 1:] & ~mask[:, :-1]).sum(1).max() <= 1
    assert set(widths.tolist()) == set(range(13))
    assert set(widths[lengths == 5].tolist()) == set(range(6))
    assert mask[lengths == 29].any(0)[:29].all()


@pytest.mark.parametrize("name", ["augm_time_mask", "augm_freq_mask"])
def test_masked_features_take_the_mean_of_their_clip(name):
    x = torch.randn(50, 30, 40, generator=seeded(2)) - 5
    lengths = torch.arange(50) % 30 + 1
    x[torch.arange(30) >= lengths[:, None]] = 0
    changed = augment.augment_features(x, lengths, Augmentation(**{name: 10}), seeded())
    for clip, n, result in zip(x, lengths.tolist(), changed, strict=True):
        assert result[n:].equal(clip[n:])
        masked = clip[:n] != result[:n]
        assert torch.allclose(result[:n][masked], clip[:n].mean())
        along = masked if name == "augm_time_mask" else masked.T
        assert (along.all(1) == along.any(1)).all()
        assert along.any(1).sum() <= 10


def test_events_are_dropped_one_by_one():
    frames = torch.full((20, 50, 40), 5.0)
    frames[:, ::2] = 0
    thinned = augment.drop_events(frames, 0.3, seeded())
    assert thinned.equal(thinned.round())
    assert not thinned[:, ::2].any()
    met = thinned[:, 1::2]
    assert met.min() >= 0
    assert met.max() <= 5
    assert met.mean() == pytest.approx(5 * 0.7, rel=0.01)
    assert met.var() == pytest.approx(5 * 0.7 * 0.3, rel=0.05)


def test_cutmix_takes_one_stretch_of_a_clip_of_the_class():
    B, T = 60, 25
    labels = torch.arange(B) % 4
    labels[-1] = 9
    frames = (torch.arange(B) + 1.0)[:, None, None].expand(B, T, 3)  # each clip its own number
    mixed = augment.cutmix(frames, labels, seeded())
    donors = mixed[:, :, 0].long() - 1
    assert mixed.equal((donors + 1.0)[:, :, None].expand(B, T, 3))
    assert (labels[donors] == labels[:, None]).all()
    foreign = donors != torch.arange(B)[:, None]
    assert (foreign[:, 1:] & ~foreign[:, :-1]).sum(1).max() <= 1
    assert foreign.any(1)[:-1].float().mean() > 0.9
    assert not foreign[-1].any(), "a clip without partner was changed"
    for row in donors:
        assert len(set(row.tolist())) <= 2
    met = augment.cutmix(frames, labels, seeded(), 0.5) != frames
    assert 0.2 < met.any(2).any(1).float().mean() < 0.7


@pytest.mark.parametrize("size", [0, 1, 500])
def test_silent_empty_and_single_clips_stay_as_they_are(size):
    for waves in (torch.zeros(10, 500), torch.zeros(1, 500)):
        lengths = torch.full((len(waves),), size)
        given = (waves, lengths, RATE, Augmentation(use_augm=True), seeded())
        assert augment.augment_waveforms(*given).equal(waves)
    frames, labels = counts(B=1, T=2)
    mixed = Augmentation(augm_cutmix=1.0, augm_time_shift=1.0)
    assert augment.augment_frames(frames, labels, 0.01, mixed, seeded()).shape == frames.shape


def test_frames_move_in_time_and_channels_but_not_into_the_bin_before_the_clip():
    frames = torch.zeros(300, 50, 20)
    frames[:, 25, 10] = 1
    labels = torch.zeros(300).long()
    options = Augmentation(augm_time_shift=0.03, augm_channel_shift=4)
    _, times, channels = augment.augment_frames(frames, labels, 0.01, options, seeded()).nonzero().T
    assert set(times.tolist()) == set(range(22, 29))
    assert set(channels.tolist()) == set(range(6, 15))
    frames, labels = counts(B=100)
    options = Augmentation(augm_time_shift=0.2, augm_cutmix=1.0, augm_channel_shift=5)
    changed = augment.augment_frames(frames, labels, 0.01, options, seeded())
    assert changed[:, 1].any()
    assert not changed[:, 0].any()
