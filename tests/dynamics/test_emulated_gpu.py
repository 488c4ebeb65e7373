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
def _high_and_low(x, y, high, low, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    a, b = tl.load(x + at), tl.load(y + at)
    tl.store(high + at, (a.to(tl.int64) * b) >> 32)
    tl.store(low + at, a * b)


@triton.jit
def _sum_of_rows(x, out, COLUMNS: tl.constexpr):
    row = tl.program_id(0)
    tl.store(out + row, tl.sum(tl.load(x + row * COLUMNS + tl.arange(0, COLUMNS)), axis=0))


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


def test_whole_numbers_wrap():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(-(2**31), 2**31, (2, 64), generator=generator, dtype=torch.int32)
    high, low = torch.empty(64, dtype=torch.int64), torch.empty(64, dtype=torch.int32)
    _high_and_low[(1,)](x, y, high, low, SIZE=64, num_warps=1)
    assert torch.equal(high, (x.long() * y.long()) >> 32)
    assert torch.equal(low, x * y)


@pytest.mark.parametrize("warps", [1, 4])
def test_sums_within_and_between_warps(warps):
    x = torch.randint(-9, 9, (3, 256)).float()
    out = torch.empty(3)
    _sum_of_rows[(3,)](x, out, COLUMNS=256, num_warps=warps)
    assert torch.equal(out, x.sum(dim=1))


def test_memory_behind_an_argument_is_not_touched():
    x = torch.zeros(200)
    with pytest.raises(GPUError, match="reads 4 bytes at 800 of 800"):
        _multiply_and_add[(2,)](x, x, x, torch.empty(256), SIZE=128, num_warps=4)
    with pytest.raises(GPUError, match="writes 4 bytes at 800 of 800"):
        _multiply_and_add[(2,)](*torch.rand(3, 256), x, SIZE=128, num_warps=4)


def test_programs_that_race_are_seen():
    x = torch.rand(400)
    _shift[(1,)](x, 128, SIZE=128, num_warps=4)  # one program moves what it has read itself
    with pytest.raises(GPUError, match="writes what another reads"):
        _shift[(2,)](x, 128, SIZE=128, num_warps=4)


def test_warps_that_race_are_seen():
    x = torch.rand(300)
    with pytest.raises(GPUError, match="writes what another reads"):
        _shift[(1,)](x, 32, SIZE=128, num_warps=4)
    _shift[(1,)](x, 32, SIZE=32, num_warps=1)
