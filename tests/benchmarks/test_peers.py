# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""That each library computes the neuron that the benchmark says, and that the benchmark runs."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import libraries, peers
from benchmarks.libraries import DECAY, WAYS
from benchmarks.published import published
from parsers.options import ConfigError

REPO = Path(__file__).resolve().parents[2]
SHAPE = (3, 20, 16)


@pytest.fixture(autouse=True)
def uncompiled():
    """What PyTorch would compile runs as it is, in a tenth of the time."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


def loaded(name: str) -> libraries.Library:
    """A library, or a test that is skipped."""
    way = WAYS[name]
    if not way.installed:
        pytest.skip(f"{way.package} is not installed")
    return way.load()


def answer(name: str, I: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    """Spikes and gradient of the currents of a layer of the library, [B, T, H]."""
    library = loaded(name)
    found = library.layer(I, gradient)()
    found = [x if isinstance(x, torch.Tensor) else torch.tensor(x.tolist()) for x in found]
    return [x.transpose(0, 1) if library.time_first else x for x in found]


def expected(I: torch.Tensor, gradient: torch.Tensor, name: str) -> list[torch.Tensor]:
    """The same by the equations in the docstring of ``benchmarks.libraries``."""
    derivative = {
        "Sprache": lambda x: ((x > -0.5) & (x <= 0.5)).float(),
        "Norse": lambda x: 1 / (1 + x.abs()) ** 2,
    }.get(name, lambda x: 1 / (1 + (torch.pi * x) ** 2))

    def spike(x):  # x + (H(x) - x).detach() with the slope of the derivative
        return derivative(x.detach()) * (x - x.detach()) + (x > 0).float()

    I = I.clone().requires_grad_()
    u = s = torch.zeros_like(I[:, 0])
    spikes = []
    for I_t in I.unbind(dim=1):
        if name in ("snnTorch", "spyx"):
            u = DECAY * u - (s.detach() if name == "snnTorch" else s) + (1 - DECAY) * I_t
        else:
            u = DECAY * (u - s) + (1 - DECAY) * I_t
        s = spike(u - 1)
        spikes.append(s)
    if name == "spyx":
        spikes = [torch.zeros_like(s), *spikes[:-1]]
    spikes = torch.stack(spikes, dim=1)
    spikes.backward(gradient)
    gain = 1 - DECAY if name in ("snnTorch", "spyx") else 1.0  # of what the library is given
    return [spikes.detach(), I.grad / gain]


@pytest.mark.parametrize("name", WAYS)
def test_layers_are_the_neurons_that_the_documentation_says(name):
    torch.manual_seed(0)
    I, gradient = peers.CURRENT * torch.randn(SHAPE), torch.randn(SHAPE)
    spikes, slope = answer(name, I, gradient)
    right, right_slope = expected(I, gradient, name)
    assert 0.01 < right.mean() < 0.3
    assert torch.equal(spikes, right)
    torch.testing.assert_close(slope, right_slope, rtol=1e-4, atol=1e-4 * slope.abs().max().item())


@pytest.mark.parametrize("name", WAYS)
def test_networks_start_alike_and_learn(name, monkeypatch):
    monkeypatch.setattr(libraries, "LEARNING_RATE", 1e-2)
    weights, batch = peers.problem(8, 30, 64)
    net = loaded(name).network(weights, batch)
    rates = net.rates()
    losses = [float(net.step()) for _ in range(5)]
    assert losses[-1] < losses[0]
    plain = WAYS["plain PyTorch"].load().network(weights, batch)
    same = name not in ("snnTorch", "spyx")  # whose reset is another
    assert rates == pytest.approx(plain.rates(), rel=1e-4 if same else 0.25)
    if same:
        assert losses[0] == pytest.approx(float(plain.step()), rel=1e-4)


def test_the_published_code_is_measured_from_its_file():
    weights, batch = peers.problem(4, 10, 16)
    net = published(REPO / "models" / "snns.py").network(weights, batch)
    assert 0 < net.rates()[0] < 1
    assert torch.equal(net.net.layers[0].W.weight, weights[0])
    assert float(net.step()) > 0
    assert not torch.equal(net.net.layers[0].W.weight, weights[0])


@pytest.mark.parametrize("text", [None, "SNN = 1 +", "import nowhere_at_all", "x = 1"])
def test_a_file_without_the_network_is_a_mistake(text, tmp_path):
    file = tmp_path / "snns.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"--published: .*snns\.py"):
        published(file)


def test_the_benchmark_runs_without_what_is_missing(tmp_path, capsys, monkeypatch):
    lacking = libraries.Way("no_such_package", "", lambda: None)
    failing = libraries.Way(None, "", lambda: libraries.Library(fail, lambda *_: Failing()))
    ways = {name: WAYS[name] for name in ("plain PyTorch", "Sprache")}
    monkeypatch.setattr(peers, "WAYS", ways | {"absent": lacking, "broken": failing})
    out = tmp_path / "peers.json"
    assert peers.main(["--quick", "--published", "models/snns.py", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["layer"].keys() == ways.keys()
    assert found["step"].keys() == ways.keys() | {"published code"}
    assert found["layer"]["Sprache"]["ms"] > 0
    assert [r["axis"] for r in found["scaling"]] == ["B", "B", "T", "T", "H", "H"]
    assert out.with_suffix(".png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "absent: left out, as no_such_package is not installed" in shown
    assert "broken: left out (no compiler)" in shown


def fail(*_):
    """A layer pass that cannot be compiled."""

    def run():
        raise RuntimeError("no compiler\nand much more")

    return run


class Failing:
    """A network that cannot be compiled."""

    step = staticmethod(fail())
