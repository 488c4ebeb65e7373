# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Random numbers of a CPU, which are PyTorch's."""

import importlib

import pytest
import torch

from models.shell import initial_values

pytest.importorskip("numba")
mersenne = importlib.import_module("models.dynamics.mersenne")

mersenne_twister = pytest.mark.skipif(
    not mersenne.draws_alike(), reason="PyTorch draws from MKL's generator on this CPU"
)


def generators(drawn_before: int) -> list[torch.Generator]:
    """Two alike, of which so many numbers were drawn."""
    found = [torch.Generator().manual_seed(3) for _ in range(2)]
    for generator in found:
        torch.rand(drawn_before, generator=generator)
    return found


@pytest.mark.parametrize("drawn_before", [0, 1, 623, 624, 625, 1000])
@pytest.mark.parametrize("count", [1, 2, 623, 624, 625, 5000])
def test_uniform_numbers_equal_pytorchs(drawn_before, count):
    ours, theirs = generators(drawn_before)
    expected = torch.rand(2, count, generator=theirs)
    assert torch.equal(mersenne.uniform((2, count), ours), expected)
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("batch", [2, 300])  # some draws are PyTorch's own
@pytest.mark.parametrize("init_state", ["rand", "zero"])
def test_initial_states_have_the_same_bits_with_every_back_end(dtype, batch, init_state):
    current, found = torch.zeros(batch, 3, 40), []
    for backend in ("auto", "naive"):
        torch.manual_seed(8)
        values = initial_values(current, init_state, dtype, backend)
        found.append((values, torch.get_rng_state()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert found[0][0].dtype == dtype
    assert found[0][0].shape == (batch, 40)


def test_another_stream_of_numbers_is_detected(monkeypatch):
    monkeypatch.setattr(mersenne, "uniform", lambda shape, generator: torch.zeros(shape))
    assert not mersenne.numbers_alike.__wrapped__()


@mersenne_twister
@pytest.mark.parametrize("drawn_before", [0, 1, 5, 623, 624, 625])
@pytest.mark.parametrize("probability", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_masks_equal_pytorchs(drawn_before, probability):
    for count in (1, 2, 311, 312, 313, 5000):
        ours, theirs = generators(drawn_before)
        expected = torch.empty(count).bernoulli_(probability, generator=theirs)
        drawn = mersenne.bernoulli(count, probability, ours)
        assert torch.equal(drawn.float(), expected)
        assert torch.equal(ours.get_state(), theirs.get_state())


@mersenne_twister
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("drawn_before", [0, 1, 623, 624])
def test_threads_draw_the_same_masks(threads, drawn_before, monkeypatch):
    monkeypatch.setattr(mersenne, "JUMP", 500)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for count in (1999, 2000, 7001, 30_000):
        ours, theirs = generators(drawn_before)
        drawn = mersenne.bernoulli(count, 0.3, ours)
        assert torch.equal(drawn.float(), torch.empty(count).bernoulli_(0.3, generator=theirs))
        assert torch.equal(ours.get_state(), theirs.get_state())


@mersenne_twister
def test_pairs_whose_first_word_decides_nothing():
    """Of a pair at the end of a block the second word is in the next one."""
    state = torch.get_rng_state().numpy()[mersenne.STATE].view("uint64").astype("uint32")
    spare, words = state.copy(), state.copy()
    mersenne.renew(words, spare)
    pairs = [mersenne.tempered.py_func(x) for x in (*words, spare[0])]
    for place in (0, 1, 622, 623):
        first = pairs[place] & mersenne.UPPER_BITS
        for lower, expected in ((pairs[place + 1], 0), (pairs[place + 1] + 1, 1)):
            kept, scratch = words[:1].astype("uint8"), spare.copy()
            mersenne.compare(words, place, scratch, first, lower, kept)
            assert kept[0] == expected


def test_another_stream_of_masks_is_detected(monkeypatch):
    def other(count, probability, generator):
        return torch.zeros(count, dtype=torch.uint8)

    monkeypatch.setattr(mersenne, "bernoulli", other)
    assert not mersenne.draws_alike.__wrapped__()
