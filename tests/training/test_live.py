# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The figures on the progress bar."""

import torch

from training.metrics import Meter
from training.terminal import console
from training.terminal.console import LiveBar


class ShownBar:
    """Records what a progress bar is told."""

    disable = False

    def __init__(self):
        self.done, self.texts, self.closed = 0, [], False

    def update(self, count):
        self.done += count

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def close(self):
        self.closed = True


def add(meter, correct: bool):
    scores = torch.tensor([[2.0, 0.0]] * 4)
    meter.add(scores, torch.full((4,), int(not correct)), torch.tensor(0.5))


def test_figures_are_those_of_the_clips_so_far(monkeypatch):
    shown = ShownBar()
    monkeypatch.setattr(console, "progress_bar", lambda total, label: shown)
    monkeypatch.setattr(console, "BAR_REFRESH", -1.0)
    meter = Meter(torch.device("cpu"), [])
    add(meter, correct=True)
    with LiveBar(12, "train", meter) as bar:
        assert shown.done == 4  # an interrupted pass goes on where it was
        add(meter, correct=False)
        bar.advance(4)
        add(meter, correct=True)
        bar.advance(4)
    assert shown.texts == ["loss 0.500 acc 50.0%", "loss 0.500 acc 66.7%"]
    assert (shown.done, shown.closed) == (12, True)


def test_a_copy_that_is_under_way_is_not_waited_for(monkeypatch):
    shown, asked = ShownBar(), []
    monkeypatch.setattr(console, "progress_bar", lambda total, label: shown)
    monkeypatch.setattr(console, "BAR_REFRESH", -1.0)

    def arrived(copy):
        asked.append(copy)
        return len(asked) > 2

    monkeypatch.setattr(console._HostCopy, "arrived", arrived)
    meter = Meter(torch.device("cpu"), [])
    with LiveBar(12, "train", meter) as bar:
        for correct in (True, False, False):
            add(meter, correct)
            bar.advance(4)
    assert shown.texts == ["loss 0.500 acc 100.0%"]
    assert asked[0] is asked[1] is asked[2]
