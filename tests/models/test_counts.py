# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Counts of events as uint8 give what they give as floating-point numbers, to the last bit."""

import numpy as np
import pytest
import torch

from models.network import input_activity, input_rates
from models.snns import SNN

numba = pytest.importorskip("numba")
events_cpu = pytest.importorskip("models.events_cpu")


def counts(*shape: int, share: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    chosen = torch.rand(shape, generator=generator) < share
    return chosen.to(torch.uint8) * torch.randint(
        1, 256, shape, dtype=torch.uint8, generator=generator
    )


@pytest.mark.parametrize(
    "shape", [(15, 7), (1, 31), (2, 64), (40, 64), (21, 140), (6, 200), (5, 1)]
)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_events_are_found_in_rows_of_any_length(shape, share):
    x = counts(*shape, share=share)
    for found, expected in zip(
        events_cpu.all_events(x), events_cpu.all_events(x.float()), strict=True
    ):
        assert torch.equal(found, expected)
        assert found.dtype == expected.dtype


def test_the_last_row_is_read_to_its_end_and_no_further():
    whole = counts(70, 3, share=1.0)
    x = whole[:50]
    assert events_cpu.all_events(x).columns.tolist() == [0, 1, 2] * 50


def test_an_input_is_counted_by_clip_and_feature():
    x = counts(3, 20, 70, share=0.3)
    rates, found = input_activity(x, "auto")
    assert torch.equal(found, x.count_nonzero(dim=1).float())
    torch.testing.assert_close(rates, input_rates(x.float()))


def result(x, mode="train", **options):
    """Everything that follows from x: output, rates, operations and gradients."""
    torch.manual_seed(0)
    net = SNN((None, None, x.shape[2]), [70, 66, 5], "SiLIF", dropout=0.2, **options)
    net.train(mode == "train")
    seen = []
    net.snn[0].W.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    torch.manual_seed(1)
    activity = net.activity(x)
    activity.output.var().backward()
    kept = activity.output, activity.firing_rates, activity.sop, *(p.grad for p in net.parameters())
    return kept, seen


@pytest.mark.parametrize(
    ("options", "as_they_are"),
    [
        ({}, True),
        ({"mode": "eval"}, False),
        ({"bidirectional": True}, True),
        ({"use_bias": True, "normalization": "layernorm"}, True),
        ({"backend": "naive"}, False),
        ({"delay": "axonal", "delay_taps": 5}, False),
    ],
)
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_a_network_gives_the_same(options, as_they_are, share, monkeypatch):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    x = counts(4, 30, 69, share=share)
    found, seen = result(x, **options)
    expected, _ = result(x.float(), **options)
    if "delay" not in options:
        assert seen == [torch.uint8 if as_they_are else torch.float32]
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_small_or_rounded_products_take_numbers(monkeypatch):
    x = counts(4, 30, 69)
    assert result(x)[1] == [torch.float32]  # too small to look for events
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    linear = SNN((None, None, 69), [70, 5]).snn[0].W
    assert linear.takes_counts(x)
    assert not linear.takes_counts(x.float())
    linear.precision = "bf16"
    assert not linear.takes_counts(x)
    y = linear(x)
    assert torch.equal(y, linear(x.float()))


@pytest.mark.parametrize("write", [events_cpu.write_each, events_cpu.write_together])
def test_places_are_written_one_by_one_or_together(write):
    """And nothing behind them: another thread may have written there."""

    @numba.njit
    def places(columns, begin, bits):
        return write(columns, 2, begin, bits)

    for chosen in ([], [0], [63], [0, 5, 62, 63], range(16), range(17), range(1, 64, 2), range(64)):
        columns = np.full(80, -1, np.int32)
        bits = np.uint64(sum(1 << k for k in chosen))
        assert places(columns, 640, bits) == 2 + len(chosen)
        expected = [-1, -1, *(640 + k for k in chosen), *[-1] * (78 - len(chosen))]
        assert columns.tolist() == expected


def test_columns_of_another_width_are_refused():
    @numba.njit
    def places(columns):
        return events_cpu.write_together(columns, 0, 0, np.uint64(1))

    with pytest.raises(numba.TypingError):
        places(np.zeros(64, np.int64))
