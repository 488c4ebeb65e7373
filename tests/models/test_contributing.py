# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The worked example of CONTRIBUTING.md, taken from the page itself."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.snns import LAYERS, SNN

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
B, T, F, CLASSES = 8, 20, 12, 4


def example() -> str:
    """The one Python block of the page."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return code


@pytest.fixture
def registered(monkeypatch) -> type:
    """The example's class, under the name that the page gives it."""
    page = PAGE.read_text(encoding="utf-8")
    name, class_name = re.search(r'`"(\w+)": (\w+)`', page).groups()
    namespace = {"__name__": "example"}
    exec(compile(example(), str(PAGE), "exec"), namespace)
    monkeypatch.setitem(LAYERS, name, namespace[class_name])
    return namespace[class_name]


def make_net(**options) -> SNN:
    torch.manual_seed(0)
    return SNN((B, T, F), [24, 24, CLASSES], "TauLIF", threshold=0.3, **options)


def make_batch():
    """Four words, each with input channels of its own that spike more."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(B) % CLASSES
    rate = 0.2 + 1.5 * (torch.arange(F) % CLASSES == y[:, None]).float()
    return torch.poisson(rate[:, None].expand(B, T, F), generator=generator), y


def test_the_example_is_short():
    body = example().split("class ", 1)[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_example_learns(registered, bidirectional):
    net = make_net(bidirectional=bidirectional)
    assert type(net.snn[0]) is registered
    x, y = make_batch()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(30):
        output, _, _ = net(x)
        loss = functional.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        # Later a parameter of the few read-out neurons may rest on its bound.
        assert losses or all(p.grad.any() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_example_is_stable_as_the_page_says(registered):
    alpha, beta, a, _ = registered(F, 500).coefficients()
    for value in (alpha, beta):
        assert 0 < value.min() < value.max() < 1
    assert (a > -(1 - beta)).all()


def test_the_example_saves_and_loads(registered):
    net = make_net()
    other = make_net()
    other.load_state_dict(net.state_dict(), strict=True)
    own = {"log_tau_u", "log_tau_w", "a", "b"}
    assert {f"snn.0.{name}" for name in own} < net.state_dict().keys()
