# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Augmented training: what is changed, when, and that a run can be repeated."""

from pathlib import Path

import pytest
import torch

from datasets import audio_set
from parsers.load import Config
from training.data.loading import augmented, load_data
from training.record import files
from training.steps import Steps

CPU = torch.device("cpu")
SPIKING = {
    "augm_time_shift": 0.1,
    "augm_channel_shift": 2,
    "augm_event_drop": 0.1,
    "augm_cutmix": 0.5,
}
AUDIO = {"use_augm": True, "augm_time_shift": 0.05, "augm_time_mask": 5, "augm_freq_mask": 5}


@pytest.fixture(params=["shd", "sc"])
def options(request, spikes_folder, words_folder):
    """Training options of a spiking and of an audio set, plain and with every augmentation."""
    folder, changes = {"shd": (spikes_folder, SPIKING), "sc": (words_folder, AUDIO)}[request.param]
    plain = {"dataset_name": request.param, "data_folder": folder, "nb_steps": 20, "seed": 13}
    return (Config.from_dict(values).training for values in (plain, plain | changes))


def first_batches(split, count=2):
    return [split.batch(torch.arange(4 * i, 4 * i + 4)) for i in range(count)]


def equal(batches, others):
    return all(
        a.equal(b) for pair in zip(batches, others, strict=True) for a, b in zip(*pair, strict=True)
    )


def test_without_options_the_split_is_used_as_it_is(options):
    plain, _ = options
    split = load_data(plain).train
    assert augmented(split, plain, epoch=1, step=0, device=CPU) is split


def test_a_batch_follows_from_seed_epoch_and_step(options):
    _, changed = options
    split = load_data(changed).train

    def batches(epoch=1, step=0, count=2, options=changed):
        return first_batches(augmented(split, options, epoch=epoch, step=step, device=CPU), count)

    before = torch.get_rng_state()
    result = batches()
    assert torch.get_rng_state().equal(before), "the order of clips would change"
    assert len(augmented(split, changed, epoch=1, step=0, device=CPU)) == len(split)
    plain = first_batches(split)
    assert not equal(result, plain)
    assert [y.tolist() for _, y in result] == [y.tolist() for _, y in plain]
    assert [x.shape for x, _ in result] == [x.shape for x, _ in plain]
    assert equal(result, batches())
    assert not equal(result, batches(epoch=2))
    other = Config.from_dict({**vars(changed), "seed": 14}).training
    assert not equal(result, batches(options=other))
    # After an interruption, the second batch is the same although no first one was made.
    later = augmented(split, changed, epoch=1, step=1, device=CPU)
    assert equal([later.batch(torch.arange(4, 8))], result[1:])


def test_unchanged_waveforms_give_the_cached_features(words_folder, monkeypatch):
    monkeypatch.setattr(audio_set, "augment_waveforms", lambda waveforms, *_: waveforms)
    values = {"dataset_name": "sc", "data_folder": words_folder, "use_augm": True}
    options = Config.from_dict(values).training
    split = load_data(options).train
    clips = augmented(split, options, epoch=1, step=0, device=CPU)
    for (x, y), (cached, labels) in zip(first_batches(clips), first_batches(split), strict=True):
        torch.testing.assert_close(x, cached, rtol=0, atol=1e-4)
        assert y.equal(labels)


def test_waveforms_are_kept_only_where_they_are_needed(words_folder):
    values = {"dataset_name": "sc", "data_folder": words_folder}
    plain = Config.from_dict(values).training
    changed = Config.from_dict({**values, "use_augm": True}).training
    assert load_data(plain).train.samples is None
    assert load_data(changed).train.samples is not None
    assert load_data(changed, ("test",)).test.samples is None


@pytest.mark.parametrize(("name", "changes"), [("shd", SPIKING), ("sc", AUDIO)])
def test_runs_are_repeatable_and_only_training_clips_change(
    train, words_folder, name, changes, monkeypatch
):
    forward = Steps.forward
    values = {"dataset_name": name}
    if name == "sc":
        values |= {"data_folder": words_folder, "batch_size": 8}

    def run(folder, **more):
        """The losses, and the batches that the network saw in training and in evaluation."""
        seen = {True: [], False: []}

        def record(steps, x):
            seen[steps.model.training].append(x.clone())
            return forward(steps, x)

        monkeypatch.setattr(Steps, "forward", record)
        assert train(new_exp_folder=folder, **values, **more) == 0
        losses = [record["loss"] for record in files.read_lines(Path(folder, "metrics.jsonl"))]
        return losses, seen[True], seen[False]

    plain, clean, tested = run("plain")
    first, shown, tested_too = run("first", **changes)
    second, again, _ = run("second", **changes)
    assert first == second != plain
    assert all(map(torch.equal, shown, again))
    assert all(map(torch.equal, tested, tested_too))
    half = len(shown) // 2
    assert not any(map(torch.equal, clean, shown))
    assert not any(a.equal(b) for a in shown[:half] for b in shown[half:])
