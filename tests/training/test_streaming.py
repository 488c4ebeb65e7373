# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Batches are the same wherever the clips live."""

import threading

import pytest
import torch
from resumption import same_results

from datasets.audio_set import AudioSet
from datasets.frames import FrameSet
from datasets.interface import Data
from parsers.load import Config
from training.data import loading as training_data
from training.data.loading import Streamed, augmented, batches, on_device

CPU = torch.device("cpu")
CLIPS, BATCH = 23, 5


def frames(count=CLIPS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return FrameSet(
        counts=torch.randint(0, 255, (count, 6, 4), generator=generator, dtype=torch.uint8),
        labels=torch.randint(0, 3, (count,), generator=generator),
        bin_seconds=0.01,
    )


def recordings():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 9, (CLIPS,), generator=generator)
    durations = torch.randint(400, 900, (CLIPS,), generator=generator)
    samples = torch.randint(-9999, 9999, (int(durations.sum()),), generator=generator)
    return AudioSet(
        features=torch.randn(int(lengths.sum()), 40, generator=generator),
        lengths=lengths,
        labels=torch.randint(0, 3, (CLIPS,), generator=generator),
        files=[f"{i}.wav" for i in range(CLIPS)],
        sample_rate=16000,
        samples=samples.to(torch.int16),
        durations=durations,
    )


def shuffled():
    order = torch.randperm(CLIPS, generator=torch.Generator().manual_seed(3))
    return list(order.split(BATCH))


def same(some, others):
    pairs = list(zip(some, others, strict=True))
    return len(pairs) == -(-CLIPS // BATCH) and all(
        a.equal(b) and a.dtype == b.dtype for pair in pairs for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("split", [frames(), recordings()], ids=["frames", "recordings"])
def test_streamed_batches_are_those_of_the_split(split):
    expected = list(batches(split, BATCH, shuffled()))
    streamed = Streamed(split.with_batches_on(CPU), CPU)
    assert len(streamed) == CLIPS
    for _ in range(2):  # an epoch leaves nothing behind for the next one
        assert same(batches(streamed, BATCH, shuffled()), expected)


def test_all_but_the_first_batch_are_gathered_in_the_background(monkeypatch):
    threads, counted = [], FrameSet.counted

    def watched(self, indices):
        threads.append(threading.current_thread().name.startswith("sprache-batches"))
        return counted(self, indices)

    monkeypatch.setattr(FrameSet, "counted", watched)
    list(batches(Streamed(frames(), CPU), BATCH, shuffled()))
    assert threads == [False, True, True, True, True]


def test_a_batch_that_was_not_prefetched_is_fetched():
    streamed, (first, second, third, *_) = Streamed(frames(), CPU), shuffled()
    streamed.prefetch(first)
    assert streamed.batch(second)[0].equal(frames().batch(second)[0])
    assert streamed.batch(third)[0].equal(frames().batch(third)[0])


def test_an_error_in_the_thread_reaches_the_training():
    streamed = Streamed(frames(), CPU)
    wrong = torch.tensor([CLIPS])
    streamed.prefetch(wrong)
    with pytest.raises((IndexError, RuntimeError)):
        streamed.batch(wrong)


@pytest.mark.parametrize(
    ("split", "changes"),
    [
        (frames(), {"augm_channel_shift": 1, "augm_event_drop": 0.3}),
        (recordings(), {"dataset_name": "sc", "augm_time_mask": 3}),
        (recordings(), {"dataset_name": "sc", "use_augm": True, "augm_time_shift": 0.01}),
    ],
    ids=["frames", "features", "waveforms"],
)
def test_augmented_batches_are_the_same_too(split, changes):
    values = {"dataset_name": "shd", "seed": 1, "spatial_bin": 5, "nb_steps": 6}
    options = Config.from_dict(values | changes).training

    def all_batches(clips):
        clips = augmented(clips, options, epoch=1, step=0, device=CPU)
        return list(batches(clips, BATCH, shuffled()))

    expected = all_batches(split)
    assert same(all_batches(Streamed(split.with_batches_on(CPU), CPU)), expected)
    assert not same(list(batches(split, BATCH, shuffled())), expected)


def spiking_data(valid):
    train, test = frames(20), frames(10)
    return Data(
        train=train,
        valid=test if valid == "test" else frames(5),
        test=test,
        classes=["a", "b", "c"],
        nb_features=4,
        validation=valid,
    )


@pytest.mark.parametrize(
    ("free_clips", "streamed"),
    [(100, []), (30, ["test"]), (24, ["valid", "test"]), (19, ["train"]), (0, [0, 1, 2])],
)
def test_splits_are_resident_as_long_as_they_fit(monkeypatch, free_clips, streamed):
    nbytes = 24 * free_clips / training_data.DEVICE_SHARE
    monkeypatch.setattr(training_data, "free_memory", lambda device: nbytes)
    placed = on_device(spiking_data("own"), CPU)
    names = ("train", "valid", "test")
    found = [name for name in names if isinstance(getattr(placed, name), Streamed)]
    assert found == [names[s] if isinstance(s, int) else s for s in streamed]


def test_a_split_that_serves_twice_is_placed_once():
    for placement in ("resident", "streamed"):
        placed = on_device(spiking_data("test"), CPU, placement)
        assert placed.valid is placed.test


def test_data_on_a_cpu_stay_where_they_are():
    data = spiking_data("own")
    assert on_device(data, CPU).train.counts is data.train.counts


def test_a_run_gives_the_same_numbers(train, tmp_path):
    for placement in ("resident", "streamed"):
        assert train(new_exp_folder=placement, data_placement=placement) == 0
    same_results(tmp_path / "resident", tmp_path / "streamed")


@pytest.mark.gpu
@pytest.mark.parametrize("split", [frames(), recordings()], ids=["frames", "recordings"])
def test_batches_arrive_on_a_gpu(split):
    device = torch.device("cuda", 0)
    expected = [split.batch(indices) for indices in shuffled()]
    for placed in (split.to(device), Streamed(split.with_batches_on(device), device)):
        found = []
        for x, y in batches(placed, BATCH, shuffled()):
            assert x.device == y.device == device
            torch.cuda._sleep(10_000_000)  # a step that is still at work when the next is fetched
            found.append((x.clone().cpu(), y.clone().cpu()))
        assert same(found, expected)
