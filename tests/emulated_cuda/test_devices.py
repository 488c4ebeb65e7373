# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The emulated devices see what a program does wrong."""

import pytest
import torch

ops = torch.ops.emulated_cuda


@pytest.fixture
def x():
    yield torch.arange(6.0).view(2, 3).cuda()
    torch.cuda.synchronize()


def captured(work):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def test_it_computes_what_the_cpu_computes(x):
    linear = torch.nn.Linear(3, 4)
    expected = linear(x.cpu()).relu().sum()
    expected.backward()
    gradient = linear.weight.grad.clone()
    linear.zero_grad()
    found = linear.cuda()(x).relu().sum()
    found.backward()
    assert found.is_cuda
    assert found.item() == expected.item()
    assert torch.equal(linear.weight.grad.cpu(), gradient)


def test_operands_of_two_devices_are_refused(x):
    with pytest.raises(RuntimeError, match="same device"):
        torch.maximum(x, torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="same device"):
        torch.maximum(x, torch.ones(2, 3, device="cuda:1"))
    assert (x + torch.tensor(1.0)).sum().item() == 21  # a number of the CPU is allowed


def test_new_memory_holds_no_numbers():
    assert torch.empty(5, device="cuda").isnan().all()


def test_waits_are_counted(x):
    pinned = torch.ones(2, 3).pin_memory()

    def waits(work):
        before = ops.waits()
        work()
        return ops.waits() - before

    assert waits(lambda: x.cumsum(0).mul_(2)) == 0
    assert waits(lambda: pinned.to("cuda", non_blocking=True)) == 0
    assert waits(lambda: pinned.copy_(x, non_blocking=True)) == 0
    for work in (
        x.sum().item,
        x.cpu,
        x.nonzero,
        torch.cuda.synchronize,
        lambda: x[x > 2],
        lambda: x.copy_(torch.ones(2, 3)),
        lambda: float(x[0, 0]),
    ):
        assert waits(work) > 0


def test_a_device_has_its_own_random_numbers():
    torch.manual_seed(3)
    first, before = torch.rand(4, device="cuda"), torch.get_rng_state()
    state = torch.cuda.get_rng_state()
    second = torch.rand(4, device="cuda")
    assert not torch.equal(first, second)
    torch.cuda.set_rng_state(state)
    dropped = torch.nn.functional.dropout(torch.ones(4, device="cuda"))
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(4, device="cuda"), second)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.nn.functional.dropout(torch.ones(4, device="cuda")), dropped)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(4, device="cuda", generator=torch.Generator())


def test_a_capture_computes_nothing_and_a_replay_does_it_again(x):
    out = torch.zeros_like(x)
    torch.manual_seed(5)
    state = torch.cuda.get_rng_state()

    def work():
        out.add_(torch.rand_like(x) * x)

    graph = captured(work)
    assert not out.any()
    assert torch.equal(torch.cuda.get_rng_state(), state)
    graph.replay()
    x.mul_(2)
    graph.replay()
    found = out.clone()
    out.zero_()
    x.div_(2)
    torch.cuda.set_rng_state(state)
    work()
    x.mul_(2)
    work()
    assert torch.equal(out, found)


def test_a_graph_that_outlives_its_memory_is_refused(x):
    others = [torch.ones(2, 3, device="cuda")]
    graph = captured(lambda: x.add_(others[0]))
    graph.replay()
    others.clear()
    with pytest.raises(RuntimeError, match="has been freed"):
        graph.replay()


def test_nothing_waits_within_a_capture(x):
    with pytest.raises(RuntimeError, match="capturing"):
        captured(lambda: x.sum().item())
    assert x.sum().item() == 15


def side_stream():
    return torch.cuda.stream(torch.cuda.Stream())


def test_streams_that_nothing_puts_in_order_are_found(x):
    x.mul_(2)
    with side_stream(), pytest.raises(RuntimeError, match="another stream may be using"):
        x.add(1)
    with side_stream():
        torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
        y = x.add(1)
    with pytest.raises(RuntimeError, match="another stream may be using"):
        y.mul(2)
    with pytest.raises(RuntimeError, match="another stream may be using"):
        x.zero_()  # which the other may not have read yet
    torch.cuda.synchronize()


def test_an_event_or_the_host_puts_streams_in_order(x):
    stream, event = torch.cuda.Stream(), torch.cuda.Event()
    x.mul_(2)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        x.add_(1)
        event.record()
        y = x + 1
    torch.cuda.current_stream().wait_event(event)
    x.sum()
    with pytest.raises(RuntimeError, match="another stream may be using"):
        y.sum()
    torch.cuda.synchronize()
    y.sum()
    torch.cuda.synchronize()


@pytest.mark.parametrize("recorded", [False, True])
def test_freeing_memory_in_use_by_another_stream_is_an_error(recorded):
    stream = torch.cuda.Stream()
    x = torch.ones(5, device="cuda")
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        x.add_(1)
    if recorded:
        x.record_stream(stream)
    del x
    if recorded:
        torch.ones(1, device="cuda").add_(1)
    else:
        with pytest.raises(RuntimeError, match="record_stream"):
            torch.ones(1, device="cuda").add_(1)
        ops.forget_what_was_found()


def test_a_copy_to_the_host_arrives_when_the_host_has_asked(x):
    pinned = torch.empty(2, 3).pin_memory()
    event = torch.cuda.Event()
    pinned.copy_(x, non_blocking=True)
    event.record()
    x.zero_()
    assert pinned.isnan().all()
    assert not event.query()
    assert pinned.isnan().all()
    assert event.query()
    assert pinned.sum() == 15


def test_nondeterministic_operations_are_refused_on_request(x, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(True)
    try:
        for work in (lambda: x.cumsum(0), lambda: x @ x.T):
            with pytest.raises(RuntimeError, match=r"deterministic|CUBLAS"):
                work()
    finally:
        torch.use_deterministic_algorithms(False)
