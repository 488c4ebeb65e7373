# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The emulated GPU sees what a wrong kernel does; test_triton.py starts these tests on it."""

import os

import pytest
import torch

if "SPRACHE_EMULATES_GPU" not in os.environ:
    pytest.skip("not on the emulated GPU", allow_module_level=True)

import triton
import triton.language as tl
from emulated_gpu import GPUError, emulate_gpu

emulate_gpu()


@triton.jit
def _multiply_and_add(x, y, z, out, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(out + at, tl.load(x + at) * tl.load(y + at) + tl.load(z + at))


@triton.jit
def _shift(x, by, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(x + at + by, tl.load(x + at))


@pytest.mark.parametrize("fusion", [False, True])
def test_it_rounds_as_the_compiled_code_does(fusion):
    x, y, z = torch.rand(3, 512)
    out = torch.empty(512)
    _multiply_and_add[(4,)](x, y, z, out, SIZE=128, num_warps=4, enable_fp_fusion=fusion)
    fused = (x.double() * y.double() + z.double()).float()
    assert not torch.equal(fused, x * y + z)
    assert torch.equal(out, fused if fusion else x * y + z)


def test_access_beyond_an_argument_is_an_error():
    x = torch.zeros(200)
    with pytest.raises(GPUError, match="reads 4 bytes at 800 of 800"):
        _multiply_and_add[(2,)](x, x, x, torch.empty(256), SIZE=128, num_warps=4)
    with pytest.raises(GPUError, match="writes 4 bytes at 800 of 800"):
        _multiply_and_add[(2,)](*torch.rand(3, 256), x, SIZE=128, num_warps=4)


def test_races_between_programs_are_detected():
    x = torch.rand(400)
    _shift[(1,)](x, 128, SIZE=128, num_warps=4)  # one program moves what it has read itself
    with pytest.raises(GPUError, match="writes what another reads"):
        _shift[(2,)](x, 128, SIZE=128, num_warps=4)


def test_races_between_warps_are_detected():
    x = torch.rand(300)
    with pytest.raises(GPUError, match="writes what another reads"):
        _shift[(1,)](x, 32, SIZE=128, num_warps=4)
    _shift[(1,)](x, 32, SIZE=32, num_warps=1)
