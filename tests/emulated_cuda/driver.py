# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What Python asks of a CUDA driver, for the emulated devices."""

import contextlib
import importlib.util
import itertools
import os
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import cuda

DEVICES = 2
MEMORY = int(os.environ.get("SPRACHE_EMULATED_MEMORY", 8 * 2**30))  # bytes, of all together
ops = torch.ops.emulated_cuda


class _Stream:
    """Everything is done at once; `device.cpp` knows which order that would have on a device."""

    known: ClassVar[dict[tuple[int, int], "_Stream"]] = {}
    numbers = itertools.count(1)

    def __init__(self, device=None, priority=0, number=None):
        index = torch.device("cuda" if device is None else device).index
        self.device = torch.device("cuda", cuda.current_device() if index is None else index)
        self.cuda_stream = next(self.numbers) if number is None else number
        self.key = self.device.index, self.cuda_stream
        self.known[self.key] = self

    def wait_stream(self, stream):
        self.wait_event(stream.record_event())

    def wait_event(self, event):
        event.wait(self)

    def record_event(self, event=None):
        event = event or _Event()
        event.record(self)
        return event

    def query(self):
        return True

    def synchronize(self):
        self.record_event().synchronize()


class _Event:
    numbers = itertools.count(1)

    def __init__(self, enable_timing=False, blocking=False, interprocess=False):
        self.number = next(self.numbers)
        self.timed, self.at, self.asked = enable_timing, None, False

    def record(self, stream=None):
        ops.record_event(*(stream or cuda.current_stream()).key, self.number)
        self.at = time.perf_counter()

    def query(self):
        if not self.asked:  # too early, the first time
            self.asked = True
            return False
        ops.see_event(self.number)
        return True

    def wait(self, stream=None):
        ops.wait_event(*(stream or cuda.current_stream()).key, self.number)

    def synchronize(self):
        if threading.current_thread() is threading.main_thread():
            ops.add_wait("synchronize an event")
        ops.see_event(self.number)

    def elapsed_time(self, end):
        assert self.timed
        assert end.timed
        return 1e3 * (end.at - self.at)

    def __del__(self):
        ops.free_event(self.number)


class _Graph:
    """What the host launched while it was captured; in between, its Python is left out."""

    def __init__(self, keep_graph=False):
        self.number = ops.new_graph()
        self.launches = []  # of our own kernels

    def replay(self):
        launches, at = iter(self.launches), 0
        while (at := ops.replay(self.number, at)) >= 0:
            next(launches)()
            at += 1

    def reset(self):
        ops.free_graph(self.number)

    def __del__(self):
        self.reset()


class _Capture:
    """As ``torch.cuda.graph``: nothing is computed."""

    under_way = None

    def __init__(self, graph, pool=None, stream=None, capture_error_mode="global"):
        self.graph = graph
        self.on_stream = torch.cuda.stream(stream or _Stream())

    def __enter__(self):
        self.on_stream.__enter__()
        ops.begin_capture(self.graph.number)
        _Capture.under_way = self.graph

    def __exit__(self, *exception):
        _Capture.under_way = None
        ops.end_capture()
        return self.on_stream.__exit__(*exception)

    @staticmethod
    def note(run, regions) -> None:
        """A kernel of ours has been launched."""
        graph = _Capture.under_way
        addresses = [address for address, size in regions.items() if size]

        def run_again():
            for address in addresses:
                ops.touch(address)
            run()

        if graph is None:
            for address in addresses:
                ops.touch(address)
        else:
            graph.launches.append(run_again)
            ops.record_launch()


def replace_driver() -> None:
    """Let PyTorch and Triton find the emulated devices."""
    ops.set_available(MEMORY)
    defaults = {i: _Stream(torch.device("cuda", i), number=0) for i in range(DEVICES)}

    def index_of(device=None) -> int:
        if isinstance(device, int):
            return device if device >= 0 else ops.exchange_device(-1)
        index = None if device is None else torch.device(device).index
        return ops.exchange_device(-1) if index is None else index

    @contextlib.contextmanager
    def on_stream(stream):
        if stream is None:
            yield
            return
        device = ops.exchange_device(stream.device.index)
        before = ops.exchange_stream(*stream.key)
        try:
            yield
        finally:
            ops.exchange_stream(stream.device.index, before)
            ops.exchange_device(device)

    def current_stream(device=None):
        index = index_of(device)
        return _Stream.known[index, ops.exchange_stream(index, -1)]

    def generator(device=None):
        return ops.generator(index_of(device))

    def seed_all(seed):
        for i in range(DEVICES):
            generator(i).manual_seed(seed)

    replacements = {
        "_lazy_init": lambda: None,
        "_lazy_call": lambda call, **_: call(),
        "_exchange_device": lambda i: ops.exchange_device(i),
        "_maybe_exchange_device": lambda i: ops.exchange_device(i),
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: DEVICES,
        "current_device": lambda: ops.exchange_device(-1),
        "set_device": lambda device: ops.exchange_device(index_of(device)),
        "get_device_name": lambda device=None: "Emulated GPU",
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: SimpleNamespace(
            name="Emulated GPU", total_memory=MEMORY, multi_processor_count=132, major=9, minor=0
        ),
        "mem_get_info": lambda device=None: (MEMORY - ops.allocated(), MEMORY),
        "memory_allocated": lambda device=None: ops.allocated(),
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: ops.add_wait("synchronize"),
        "Stream": _Stream,
        "Event": _Event,
        "stream": on_stream,
        "current_stream": current_stream,
        "default_stream": lambda device=None: defaults[index_of(device)],
        "is_current_stream_capturing": lambda: ops.capturing(),
        "CUDAGraph": _Graph,
        "graph": _Capture,
        "_sleep": lambda cycles: None,
        "default_generators": tuple(map(generator, range(DEVICES))),
        "get_rng_state": lambda device="cuda": generator(device).get_state(),
        "set_rng_state": lambda state, device="cuda": generator(device).set_state(state),
        "manual_seed": lambda seed: generator().manual_seed(seed),
        "manual_seed_all": seed_all,
    }
    for name, value in replacements.items():
        setattr(cuda, name, value)
        for module in (cuda.random, cuda.memory):
            if hasattr(module, name):
                setattr(module, name, value)

    def storage_to(storage, device, non_blocking=False):
        made = torch.empty(storage.size(), dtype=torch.uint8, device=device).untyped_storage()
        return made.copy_(storage, non_blocking)

    torch.storage._to = storage_to
    torch.UntypedStorage.clone = lambda storage: storage_to(storage, storage.device)
    torch.Tensor.record_stream = lambda tensor, stream: ops.record_stream(tensor, *stream.key)
    torch.version.cuda = "0.0"
    torch.backends.cuda.is_built = lambda: True
    if importlib.util.find_spec("triton"):
        from tests.dynamics.emulated_gpu import run_kernels_here

        run_kernels_here(_Capture.note)
