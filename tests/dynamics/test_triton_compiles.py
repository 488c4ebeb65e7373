# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every kernel is compiled for GPUs; Triton brings the assembler, so this needs none of them."""

import importlib
import os

import pytest

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

TYPES = {
    "i32": {"step", "given", "T", "H", "C"},
    "fp32": {"theta", "reset", "scale", "p", "grown", "momentum", "eps", "unbiased", "count"},
    "*i64": {"seed"},
}
FLAGS = {  # that are on or off together, by recurrence and direction
    ("adaptive", "_forward"): {"ADAPTS", "KEEP", "NORMALIZES", "DROPS", "COUNTS"},
    ("adaptive", "_backward"): {"ADAPTS", "NORMALIZES", "DROPS"},
    ("recurrent adaptive", "_forward"): {"ADAPTS", "KEEP"},
    ("recurrent adaptive", "_backward"): {"ADAPTS"},
    ("resonate", "_forward"): {"RESET_INSIDE", "KEEP", "NORMALIZES", "DROPS", "COUNTS"},
    ("resonate", "_backward"): {"RESET_INSIDE", "NORMALIZES", "DROPS"},
    ("readout", "_forward"): {"SUMS", "KEEP"},
    ("readout", "_backward"): {"SUMS"},
}


def compiled(kernel, constants: dict, capability: int):
    """The kernel for GPUs of a compute capability, as ``launch`` asks for it."""
    signature = {}
    for name in kernel.arg_names:
        kind = [kind for kind, names in TYPES.items() if name in names]
        signature[name] = "constexpr" if name in constants else kind[0] if kind else "*fp32"
    positions = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=positions)
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("recurrence", "direction"), FLAGS)
def test_kernels_compile_and_contract_nothing(recurrence, direction, on, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    operation = recurrence.removeprefix("recurrent ")
    kernel = getattr(importlib.import_module(f"models.dynamics.{operation}.cuda"), direction)
    constants = {name: False for name in kernel.arg_names if name.isupper() and len(name) > 1}
    constants |= dict.fromkeys(FLAGS[recurrence, direction], on)
    constants |= {"RECURRENT": True} if recurrence != operation else {}
    if "SURROGATE" in constants:
        constants |= {"SURROGATE": "multi_gaussian" if on else "boxcar", "WIDTH": 0.5}
    constants["BLOCK"] = 64 if operation == "readout" else 128
    result = compiled(kernel, constants, 90 if on else 80)
    assert len(result.asm["cubin"]) > 1000
    # A fused multiply-add rounds once where the specification rounds twice.
    assert "fma" not in result.asm["ptx"] or operation == "readout"


@pytest.mark.parametrize("name", ["_remember", "_backward"])
def test_the_kernels_of_batch_normalisation_compile(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(importlib.import_module("models.gpu.statistics"), name)
    assert len(compiled(kernel, {"BLOCK": 128}, 80).asm["cubin"]) > 1000


@pytest.mark.parametrize(("recurrence", "direction"), FLAGS)
def test_kernels_are_made_once_for_all_sizes(recurrence, direction):
    """Triton would make a constant of a 1, and other kernels for multiples of 16."""
    operation = recurrence.removeprefix("recurrent ")
    kernel = getattr(importlib.import_module(f"models.dynamics.{operation}.cuda"), direction)
    sizes = [x for x in kernel.params if x.name in TYPES["i32"]]
    assert len(sizes) >= 2
    assert all(x.do_not_specialize for x in sizes)
