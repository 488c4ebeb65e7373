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

from models.dynamics import cuda  # noqa: E402

ADAPTIVE = {"STEP": cuda._adaptive_step, "ADJOINT": cuda._adaptive_adjoint, "STRIDE": 1}
RESONATE = {"STEP": cuda._resonate_step, "ADJOINT": cuda._resonate_adjoint, "SCALES": True,
            "STRIDE": 2, "HAS_Y": True}  # fmt: skip
SCAN = {"BLOCK": 32, "STATES": 64, "RUN": 16}
TYPES = {
    "i32": {
        "step", "start", "stop", "given", "T", "D", "H", "C", "N", "W", "rows",
        "newest", "to", "end",
    },
    "fp32": {"decay", "dt", "p", "grown", "momentum", "eps", "unbiased", "count"},
    "*i64": {"seed", "first"},
}  # fmt: skip
FOLD = {"NORMALIZES", "DROPS", "EACH"}
STEPS = {"RETURNS", "SEEN", "KEEP", "EACH"}
CASES = {  # module and kernel, flags that are on or off together, and what is always so
    "adaptive forward": (
        "triton_loops._forward", {"FLAG", "HAS_Y", "KEEP", "COUNTS", *FOLD}, ADAPTIVE,
    ),
    "adaptive backward": (
        "triton_loops._backward", {"FLAG", "HAS_Y", "FILTERS", "LEARNS", *FOLD}, ADAPTIVE,
    ),
    "resonate forward": ("triton_loops._forward", {"FLAG", "KEEP", "COUNTS", *FOLD}, RESONATE),
    "resonate backward": ("triton_loops._backward", {"FLAG", "LEARNS", *FOLD}, RESONATE),
    "recurrent forward": ("cuda._forward", {"ADAPTS", "KEEP", "EACH"}, {}),
    "recurrent backward": ("cuda._backward", {"ADAPTS", "LEARNS", "EACH"}, {}),
    "recurrent resonate forward": ("triton_recurrent._forward", {"FLAG", "KEEP", "EACH"}, RESONATE),
    "recurrent resonate backward": (
        "triton_recurrent._backward", {"FLAG", "LEARNS", "EACH"}, RESONATE,
    ),
    "resetting forward": ("triton_steps._forward", STEPS, {"FORM": 21}),
    "resetting backward": ("triton_steps._backward", {"RETURNS", "EACH"}, {"FORM": 21}),
    "LIF forward": ("triton_steps._forward", STEPS, {"FORM": 2}),
    "LIF backward": ("triton_steps._backward", {"RETURNS", "EACH"}, {"FORM": 4}),
    "balanced forward": ("triton_steps._forward", STEPS, {"FORM": 32}),
    "balanced backward": ("triton_steps._backward", {"RETURNS", "EACH"}, {"FORM": 32}),
    "delayed spikes": ("triton_line._arriving", set(), {}),
    "gradient of delays": ("triton_line._by_taps", set(), {}),
    "readout forward": ("triton_readout._forward", {"SUMS", "KEEP"}, {"BLOCK": 64}),
    "readout backward": ("triton_readout._backward", {"SUMS"}, {"BLOCK": 64}),
    "scan forward": ("triton_scan._forward", {"KEEP"}, SCAN),
    "scan backward": ("triton_scan._backward", set(), SCAN),
}  # fmt: skip


def kernel_of(case):
    module, name = CASES[case][0].rsplit(".", 1)
    return getattr(importlib.import_module(f"models.dynamics.{module}"), name)


def compiled(kernel, constants: dict, capability: int):
    """The kernel for GPUs of a compute capability, as ``launch`` asks for it."""
    signature = {}
    for name in kernel.arg_names:
        kind = [kind for kind, names in TYPES.items() if name in names]
        if name in ("theta", "reset", "scale") and not constants["EACH"]:
            kind = ["fp32"]
        signature[name] = "constexpr" if name in constants else kind[0] if kind else "*fp32"
    positions = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=positions)
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


CHOICES = {"FLAG", "ADAPTS", "SUMS"}  # of two computations; other flags are off where they skip one


@pytest.mark.parametrize(
    ("case", "on"),
    [(case, on) for case in CASES for on in (True, False) if on or CHOICES & CASES[case][1]],
)
def test_kernels_compile_and_contract_nothing(case, on, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, (_, flags, always) = kernel_of(case), CASES[case]
    constants = {name: False for name in kernel.arg_names if name.isupper() and len(name) > 1}
    surrogate = {"SURROGATE": "gaussian" if on else "boxcar", "WIDTH": 0.5}
    for settings in ({"BLOCK": 128}, dict.fromkeys(flags, on), surrogate, always):
        constants |= {name: x for name, x in settings.items() if name in constants}
    result = compiled(kernel, constants, 90 if on else 80)
    assert len(result.asm["cubin"]) > 1000
    # A fused multiply-add rounds once where the specification rounds twice.
    assert "fma" not in result.asm["ptx"] or case.split()[0] in ("readout", "scan")


@pytest.mark.parametrize(
    ("module", "name", "constants"),
    [
        ("folding_triton", "_remember", {"BLOCK": 128}),
        ("folding_triton", "_backward", {"BLOCK": 128}),
        ("delays_triton", "_filter", {"BLOCK": 64, "LATER": True}),
        ("delays_triton", "_slopes", {"BLOCK": 64}),
    ],
)
def test_kernels_around_the_recurrences_compile(module, name, constants, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(importlib.import_module(f"models.{module}"), name)
    assert len(compiled(kernel, constants, 80).asm["cubin"]) > 1000


@pytest.mark.parametrize("case", CASES)
def test_kernels_are_made_once_for_all_sizes(case):
    """Triton would make a constant of a 1, and other kernels for multiples of 16."""
    sizes = [x for x in kernel_of(case).params if x.name in TYPES["i32"]]
    assert len(sizes) >= 2
    assert all(x.do_not_specialize for x in sizes)
