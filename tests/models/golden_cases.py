# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Golden cases: a small network, what it must compute, and the recipe that computes it.

A golden is a dictionary. ``kind`` ("snn" or "ann"), ``model`` and ``case`` (B, T, F, sizes,
dropout, norm, bias, bidir, readout, seed, and the threshold unless it is 1) say what to build,
``x`` and ``y`` what to feed it; the rest is what ``run_recipe`` must give. Everything follows from
the seed, because the draws come from torch's generator on the CPU in a fixed order.
"""

import json
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.anns import ANN
from models.snns import SNN

ADAM_STEPS = 5
ADAM_LR = 1e-3


def build(kind: str, model: str, case: dict, backend: str) -> nn.Module:
    """The network of a golden, its weights drawn from the case's seed."""
    torch.manual_seed(case["seed"])
    shape = (case["B"], None, case["F"])
    options = {
        "dropout": case["dropout"],
        "normalization": case["norm"],
        "use_bias": case["bias"],
        "bidirectional": case["bidir"],
        "use_readout_layer": case["readout"],
    }
    if kind == "ann":
        return ANN(shape, case["sizes"], model, **options)
    options["extra_features"] = {"dt_min": 0.01, "dt_max": 0.5}
    options["threshold"] = case.get("threshold", 1.0)
    return SNN(shape, case["sizes"], model, backend=backend, **options)


def run_recipe(golden: dict, *, backend: str = "auto", init: dict | None = None) -> dict:
    """Compute every field of ``golden`` that is a result.

    ``init`` replaces the drawn weights after they are noted, so that what follows starts from the
    very numbers of the golden.
    """
    x, y, seed = golden["x"], golden["y"], golden["case"]["seed"]
    net = build(golden["kind"], golden["model"], golden["case"], backend)
    drawn = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(init or drawn)

    torch.manual_seed(seed + 1)
    net.train()
    train_out, rates, sop = net(x)
    loss = functional.cross_entropy(train_out, y)
    loss.backward()
    result = {"init": drawn, "train_out": train_out.detach(), "loss": loss.detach()}
    result["grads"] = {name: p.grad.clone() for name, p in net.named_parameters()}
    if net.is_snn:
        result |= {"firing_rates": rates.detach(), "sop": sop}

    torch.manual_seed(seed + 2)
    net.eval()
    with torch.no_grad():
        result["eval_out"], rates, sop = net(x)
    if net.is_snn:
        result |= {"eval_firing_rates": rates, "eval_sop": sop}

    net.load_state_dict(init or drawn)
    result["adam_losses"] = train_briefly(net, x, y, seed + 3)
    return result


def train_briefly(net: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """The losses [ADAM_STEPS] of Adam on one batch."""
    torch.manual_seed(seed)
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), ADAM_LR)
    losses = []
    for _ in range(ADAM_STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x)[0], y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def check(golden: dict, *, backend: str = "auto") -> dict:
    """What the recipe gives; AssertionError that names the field unless ``golden`` holds it."""
    result = run_recipe(golden, backend=backend, init=golden["init"])
    inputs = {"kind", "model", "case", "x", "y"}
    assert result.keys() == golden.keys() - inputs
    _check_init(result["init"], golden["init"])
    for field in ("train_out", "loss", "eval_out", "adam_losses"):
        _close(result[field], golden[field], field, rtol=2e-5, atol=2e-5)
    if golden["kind"] == "snn":
        for field in ("firing_rates", "eval_firing_rates"):
            _close(result[field], golden[field], field, rtol=0, atol=1e-6)
        for field in ("sop", "eval_sop"):
            _close(result[field], golden[field], field, rtol=1e-6, atol=0)
    assert list(result["grads"]) == list(golden["grads"])
    # A bias in front of batchnorm has no effect: its gradient is rounding alone, and is measured
    # against the largest gradient of the network instead of its own.
    largest = max(grad.abs().max().item() for grad in golden["grads"].values())
    for name, grad in golden["grads"].items():
        scale = grad.abs().max().item() + 1e-2 * largest
        _close(result["grads"][name], grad, f"gradient of {name}", rtol=0, atol=1e-4 * scale)
    return result


def _check_init(drawn: dict, expected: dict) -> None:
    assert list(drawn) == list(expected)
    for name, value in expected.items():
        # LAPACK makes the orthogonal matrices and may round otherwise on another processor.
        orthogonal = name.split(".")[-2].startswith("V")
        _close(drawn[name], value, f"init of {name}", rtol=0, atol=1e-6 if orthogonal else 0)


def _close(actual: Tensor, expected: Tensor, field: str, *, rtol: float, atol: float) -> None:
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=atol, msg=lambda text: f"{field}: {text}"
    )


def write(golden: dict, path: Path) -> None:
    """Write ``golden`` as JSON, one line per tensor; float32 values survive exactly."""
    path.write_text(_to_json(golden) + "\n", encoding="utf-8")


def read(path: Path) -> dict:
    """Read what ``write`` wrote."""
    return _to_tensors(json.loads(path.read_text(encoding="utf-8")))


def _to_json(value, indent: str = "") -> str:
    if isinstance(value, dict) and any(isinstance(item, Tensor | dict) for item in value.values()):
        lines = [f"{indent} {json.dumps(k)}: {_to_json(v, indent + ' ')}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, Tensor):
        value = _shortest(value.numpy().tolist() if not value.is_floating_point() else value)
    return json.dumps(value, separators=(",", ":"))


def _shortest(value):
    """Nested lists whose numbers print with the fewest digits that still mean this float32."""
    if not isinstance(value, Tensor):
        return value
    if value.ndim:
        return [_shortest(row) for row in value]
    return float(str(numpy.float32(value.item())))


def _to_tensors(golden: dict) -> dict:
    plain = {"kind", "model", "case"}
    return {
        key: value
        if key in plain
        else {name: torch.tensor(item) for name, item in value.items()}
        if isinstance(value, dict)
        else torch.tensor(value)
        for key, value in golden.items()
    }
