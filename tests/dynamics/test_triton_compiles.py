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

TYPES = {"i32": {"start", "stop", "T", "H", "C"}, "fp32": {"theta", "reset", "scale"}}
FORWARD = {
    "adaptive": ({"ADAPTS", "RECURRENT", "KEEP"}, 128),
    "resonate": ({"RESET_INSIDE", "KEEP"}, 128),
    "readout": ({"KEEP"}, 64),
}
BACKWARD = {
    "adaptive": ({"ADAPTS"}, 128),
    "resonate": ({"RESET_INSIDE"}, 128),
    "readout": (set(), 64),
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
@pytest.mark.parametrize("direction", ["_forward", "_backward"])
@pytest.mark.parametrize("operation", FORWARD)
def test_kernels_compile_and_contract_nothing(operation, direction, on, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    module = importlib.import_module(f"models.dynamics.{operation}.cuda")
    flags, block = (FORWARD if direction == "_forward" else BACKWARD)[operation]
    constants = {name: on for name in flags} | {"BLOCK": block}
    for capability in (80, 90):
        result = compiled(getattr(module, direction), constants, capability)
        assert len(result.asm["cubin"]) > 1000
        # A fused multiply-add rounds once where the specification rounds twice.
        assert "fma" not in result.asm["ptx"] or operation == "readout"
