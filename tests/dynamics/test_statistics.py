# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Statistics of batches in CPU kernels: PyTorch's bits, on any number of threads."""

import copy

import pytest
import torch
from torch import nn

from models.linear import Linear

cpu_around = pytest.importorskip("models.dynamics.cpu_around")
events_cpu = pytest.importorskip("models.events_cpu")
linear_cpu = pytest.importorskip("models.linear_cpu")

alike = pytest.mark.skipif(not cpu_around.normalize_alike(), reason="PyTorch normalises otherwise")


@pytest.fixture
def threads():
    """Sets the number of threads until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def make_norm(size: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(size, momentum=0.05)
    nn.init.uniform_(norm.running_mean), nn.init.uniform_(norm.running_var, 1, 2)
    return norm


@alike
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(4, 50, 33), (3, 1, 20), (1, 2, 5), (7, 13, 64)])
def test_statistics_are_those_of_pytorch(shape, count, threads):
    threads(count)
    torch.manual_seed(0)
    x, norm = torch.randn(shape) * 2 + 1, make_norm(shape[-1])
    twin = copy.deepcopy(norm)
    remembered = twin.running_mean, twin.running_var, twin.momentum
    mean, variance = torch.batch_norm_update_stats(x.flatten(0, 1), *remembered)
    found, rate = cpu_around.statistics(norm, x)
    assert torch.equal(found, mean)
    assert torch.equal(rate, (1 / torch.sqrt(variance.double() + norm.eps)).float())
    assert torch.equal(norm.running_mean, twin.running_mean)
    assert torch.equal(norm.running_var, twin.running_var)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_product_notes_the_sums_of_its_rows(count, threads, monkeypatch):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    torch.manual_seed(0)
    layer, x = Linear(90, 70, bias=False), (torch.rand(5, 40, 90) < 0.05).float()
    threads(count)
    current = layer(x)
    assert current.noted[0] is not None
    expected = cpu_around.statistics(make_norm(70), current.detach().clone())
    found = cpu_around.statistics(make_norm(70), current)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_sums_of_what_has_changed_since_are_not_trusted(monkeypatch, threads):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    threads(2)
    layer, x = Linear(90, 70, bias=False), (torch.rand(5, 40, 90) < 0.05).float()
    with torch.no_grad():
        current = layer(x)
        before, _ = cpu_around.statistics(make_norm(70), current)
        threads(1)  # other sums
        assert torch.allclose(cpu_around.statistics(make_norm(70), current)[0], before, atol=1e-6)
        current += 1
        after, _ = cpu_around.statistics(make_norm(70), current)
    assert torch.allclose(after, before + 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 37, 20), (4, 5, 70), (8, 33, 1)])
def test_parts_are_added_and_transposed(shape):
    parts = torch.randn(shape)
    found, tile = torch.empty(shape[2], shape[1]), torch.empty(linear_cpu.TILE, shape[2] + 3)
    blocks = -(-shape[1] // linear_cpu.TILE)
    linear_cpu.add_transposed(0, blocks, *linear_cpu.arrays(parts, found, tile))
    assert torch.equal(found, sum(parts).T)
