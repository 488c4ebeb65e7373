# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Write the golden cases ``tests/goldens/*.json``: ``python tests/goldens/make.py [NAME ...]``.

Run it only when the numbers of a model are meant to change, and say why in the commit: a golden
that is rewritten to make a test pass tests nothing.

A spike is a decision, so a rounding error can flip it, and another processor rounds otherwise. Each
case therefore takes the first seed whose results hardly change when every weight is disturbed by
far more than rounding. A fresh network at the usual threshold of 1 is almost silent, and a silent
network tests little: the threshold is lower here, every hidden layer fires, and every gradient
differs from 0.

A golden is a dictionary. ``kind`` ("snn" or "ann"), ``model`` and ``case`` (B, T, F, sizes,
dropout, norm, bias, bidir, readout, seed, and the threshold unless it is 1) say what to build,
``x`` and ``y`` what to feed it; the rest is what ``run_recipe`` must give. Everything follows from
the seed, because the draws come from torch's generator on the CPU in a fixed order.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from models.anns import ANN  # noqa: E402
from models.anns import LAYERS as ANN_LAYERS  # noqa: E402
from models.snns import LAYERS as SNN_LAYERS  # noqa: E402
from models.snns import SNN  # noqa: E402

ADAM_STEPS = 5
ADAM_LR = 1e-3
PLAIN = {
    "B": 4,
    "T": 14,
    "F": 9,
    "sizes": [8, 8, 4],
    "dropout": 0.1,
    "norm": "batchnorm",
    "bias": False,
    "bidir": False,
    "readout": True,
}
THRESHOLD = {name: {"threshold": 0.15} for name in SNN_LAYERS}
THRESHOLD |= {name: {"threshold": 0.02} for name in ("ResonateFire", "BRF")}
BIDIRECTIONAL = {"bidir": True, "bias": True, "dropout": 0.0}
VARIANTS = {
    "LIF_bidirectional": ("LIF", BIDIRECTIONAL),
    "SiLIF_bidirectional": ("SiLIF", BIDIRECTIONAL),
    "CSiLIF_bidirectional": ("CSiLIF", BIDIRECTIONAL),
    "RadLIF_bidirectional": ("RadLIF", {"bidir": True, "norm": "layernorm"}),
    "adLIF_layernorm": ("adLIF", {"norm": "layernorm", "bias": True, "dropout": 0.2}),
    "ResonateFire_none": ("ResonateFire", {"norm": "none", "bias": True}),
    "GRU_bidirectional": ("GRU", {"bidir": True, "norm": "layernorm", "bias": True}),
    "SiLIF_features": ("SiLIF", {"dropout": 0.2}),
}
DISTURBANCE = 1e-5
DISTURBED_RUNS = 5
TOLERANCE = 3e-3
LEAST_RATE = 0.03
SEEDS = range(13, 213)


def cases() -> dict[str, tuple[str, dict]]:
    """Name of the golden -> (model, case without seed): every model once, and the variants."""
    wanted = {name: (name, {}) for name in (*SNN_LAYERS, *ANN_LAYERS)} | VARIANTS
    return {
        name: (model, PLAIN | THRESHOLD.get(model, {}) | c) for name, (model, c) in wanted.items()
    }


def draw_input(case: dict, *, real: bool) -> torch.Tensor:
    """[B, T, F]: counts of input spikes, or real-valued features of either sign."""
    shape = (case["B"], case["T"], case["F"])
    if real:
        return torch.randn(shape)
    # Without normalisation small counts would hardly excite a neuron.
    rate = torch.full(shape, 0.4 if case["norm"] != "none" else 3.0)
    return torch.poisson(rate)


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


def make(name: str, model: str, case: dict) -> dict:
    """The golden of ``case`` with the first seed that will do."""
    for seed in SEEDS:
        golden = {
            "kind": "ann" if model in ANN_LAYERS else "snn",
            "model": model,
            "case": case | {"seed": seed},
        }
        torch.manual_seed(seed)
        golden["x"] = draw_input(case, real=name.endswith("_features"))
        golden["y"] = torch.randint(case["sizes"][-1], (case["B"],))
        golden |= run_recipe(golden, backend="naive")
        if is_lively(golden) and is_robust(golden):
            return golden
    raise SystemExit(
        f"{name}: with no seed from {SEEDS.start} to {SEEDS.stop - 1} do its neurons fire often "
        "enough, and alike in double precision; give it another threshold in THRESHOLD of this file"
    )


def is_lively(golden: dict) -> bool:
    """Whether every gradient differs from 0, and every hidden layer fires."""
    grads = golden["grads"].values()
    rates = golden.get("firing_rates", torch.ones(golden["case"]["F"] + 1))
    hidden = rates[golden["case"]["F"] :].split(golden["case"]["sizes"][0])
    return all(grad.any() for grad in grads) and all(r.mean() > LEAST_RATE for r in hidden)


def is_robust(golden: dict) -> bool:
    """Whether disturbed weights give the same spikes, and gradients and losses near the same."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(DISTURBED_RUNS):
        disturbed = {
            name: value * (1 + DISTURBANCE * torch.randn(value.shape, generator=generator))
            if value.is_floating_point()
            else value
            for name, value in golden["init"].items()
        }
        other = run_recipe(golden, backend="naive", init=disturbed)
        fields = [key for key in other if key not in ("init", "grads")]
        pairs = [(other[key], golden[key]) for key in fields]
        pairs += [(other["grads"][key], grad) for key, grad in golden["grads"].items()]
        largest = max(grad.abs().max() for grad in golden["grads"].values())
        if any(
            (a - b).abs().max() > TOLERANCE * (b.abs().max() + 1e-2 * largest) for a, b in pairs
        ):
            return False
    return True


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    known = cases()
    for name in wanted or known:
        if name not in known:
            raise SystemExit(f"usage: make.py [CASE ...], where CASE is one of {', '.join(known)}")
        golden = make(name, *known[name])
        path = HERE / f"{name}.json"
        write(golden, path)
        print(f"{path.name}: seed {golden['case']['seed']}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
