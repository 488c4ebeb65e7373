# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The worked examples of CONTRIBUTING.md, taken from the page itself."""

import importlib.util
import re
import shutil
import subprocess
import sys

import pytest
import torch
from own_neuron import PAGE, own_recurrence, python_blocks, run_block
from torch.nn import functional

from models.network import ParameterGroup
from models.readouts import READOUTS
from models.snns import LAYERS, SNN

B, T, F, CLASSES = 8, 20, 12, 4


def example() -> str:
    """The first Python block of the page."""
    return python_blocks()[0]


@pytest.fixture
def registered(monkeypatch) -> type:
    """The example's class, under the name that the page gives it."""
    page = PAGE.read_text(encoding="utf-8")
    name, class_name = re.search(r'`"(\w+)": (\w+)`', page).groups()
    layer = getattr(run_block(example()), class_name)
    monkeypatch.setitem(LAYERS, name, layer)
    return layer


@pytest.fixture
def own(monkeypatch) -> type:
    """The example's class with a recurrence of its own, registered as ALIF."""
    layer = own_recurrence(monkeypatch)
    monkeypatch.setitem(LAYERS, "ALIF", layer)
    return layer


def make_net(neuron: str = "TauLIF", **options) -> SNN:
    torch.manual_seed(0)
    return SNN((B, T, F), [24, 24, CLASSES], neuron, threshold=0.3, **options)


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
    learns(net)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_example_with_its_own_recurrence_learns(own, bidirectional):
    net = make_net("ALIF", bidirectional=bidirectional)
    assert type(net.snn[0]) is own
    learns(net)


def learns(net: SNN) -> None:
    x, y = make_batch()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(30):
        output, _, _ = net(x)
        loss = functional.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        # Later a parameter of the few readout neurons may rest on its bound.
        assert losses or all(p.grad.any() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_example_is_stable_as_the_page_says(registered):
    alpha, beta, a, _ = registered(F, 500).coefficients()
    for value in (alpha, beta):
        assert 0 < value.min() < value.max() < 1
    assert (a > -(1 - beta)).all()


def test_without_adaptation_the_own_recurrence_is_lif(own):
    ours, lif = make_net("ALIF").snn[0], make_net("LIF").snn[0]
    torch.nn.init.zeros_(ours.gain)
    current = 3 * torch.rand(B, T, 24)
    zero = torch.zeros(B, 24)
    with torch.no_grad():
        lif.alpha.copy_(ours.alpha)
        spikes, after = ours.dynamics(current, type(ours.initial_state(current))(zero, zero, zero))
        expected, state = lif.dynamics(current, type(lif.initial_state(current))(zero, zero, zero))
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, expected)
    assert torch.equal(after.u, state.u)


@pytest.mark.parametrize(
    "method", ["initial_state(current)", "dynamics(current, state)", "create_parameters()"]
)
def test_missing_methods_are_named(own, monkeypatch, method):
    monkeypatch.delattr(own, method.split("(")[0])
    with pytest.raises(TypeError, match=re.escape(f"ALIFLayer has no {method}")):
        make_net("ALIF")(make_batch()[0])


def test_the_own_recurrence_takes_the_surrogate(own):
    gradients = []
    for name in ("boxcar", "triangle"):
        net = make_net("ALIF", surrogate=name)
        torch.manual_seed(2)
        net(make_batch()[0])[0].square().sum().backward()
        gradients.append(net.snn[0].W.weight.grad)
    assert not torch.allclose(*gradients)


def test_the_example_readout_is_short_and_learns():
    (block,) = python_blocks("Add a readout")
    assert len(block.splitlines()) <= 10
    before = dict(READOUTS)
    run_block(block)
    (name,) = READOUTS.keys() - before.keys()
    try:
        net = make_net("LIF", readout=name, keep_potentials=True)
        found = net.eval().activity(make_batch()[0])
        assert torch.equal(found.output, found.potentials[:, T // 2 :].mean(dim=1))
        learns(net.train())
    finally:
        READOUTS.pop(name)


def test_the_example_of_a_parameter_group(registered, monkeypatch):
    page = PAGE.read_text(encoding="utf-8")
    (groups,) = re.findall(r"^groups = (\{.*\})", page, re.M)
    monkeypatch.setattr(registered, "groups", eval(groups, {"ParameterGroup": ParameterGroup}))
    _, group = make_net().parameter_groups()
    assert [p.shape for p in group["params"]] == [(24,)] * 2
    assert group["lr_factor"] == 0.1


NEW_SURROGATE = """
import functools
import torch
from models.dynamics.cpu_kinds import F, derivative
from models.surrogate import SURROGATES, surrogate
from tests.dynamics.cases import adaptive_inputs, assert_like_naive, run_adaptive
which = surrogate("fast_sigmoid")
for x in (-1.4, 0.0, 0.37):
    expected = SURROGATES[which.name][0](torch.tensor(x), which.width).item()
    assert abs(derivative(which.name)(F(x), F(which.width)) / expected - 1) < 1e-6
run = functools.partial(run_adaptive, surrogate=which)
if WITH_TRITON:
    assert_like_naive(run, "cuda", adaptive_inputs(2, 9, 8, adapts=False))
"""


def test_a_surrogate_takes_a_line_for_each_back_end(tmp_path):
    """In a copy of the package, each line in front of what ends its registry."""
    pytest.importorskip("numba")
    repo = PAGE.parent
    shutil.copytree(repo / "models", tmp_path / "models")
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("\n## Add a surrogate gradient\n")[1].split("\n## ")[0]
    for line, file, end in zip(
        re.findall(r"```text\n(.*)\n```", section),
        re.findall(r"`(models/\w[\w/]*\.py)`", section),
        ("}\n\n\ndef surrogate", "}  # fmt: skip\n\n\n@cache", "        else None\n"),
        strict=True,
    ):
        path = tmp_path / file
        before, found, after = path.read_text().partition(end)
        assert found, end
        path.write_text(f"{before}{line}\n{found}{after}")
    shutil.copytree(repo / "tests" / "dynamics", tmp_path / "tests" / "dynamics")
    triton = importlib.util.find_spec("triton") is not None
    done = subprocess.run(
        [sys.executable, "-c", NEW_SURROGATE.replace("WITH_TRITON", str(triton))],
        cwd=tmp_path,
        env={"TRITON_INTERPRET": "1", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
