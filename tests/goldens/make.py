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
"""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "models")]

import golden_cases  # noqa: E402 (the paths above must be set first)

from models.anns import LAYERS as ANN_LAYERS  # noqa: E402
from models.snns import LAYERS as SNN_LAYERS  # noqa: E402

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
THRESHOLD = {name: {"threshold": 0.02 if name == "ResonateFire" else 0.15} for name in SNN_LAYERS}
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
LEAST_RATE = 0.04
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
        golden |= golden_cases.run_recipe(golden, backend="naive")
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
        other = golden_cases.run_recipe(golden, backend="naive", init=disturbed)
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
        golden_cases.write(golden, path)
        print(f"{path.name}: seed {golden['case']['seed']}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
