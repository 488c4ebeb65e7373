# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How compiled CPU kernels get threads.

Where PyTorch computes by OpenMP, its idle threads spin for milliseconds while they wait for more
work, and would occupy the cores that threads of our own need. So the work is handed to them: a
parallel region of the OpenMP library that PyTorch has loaded is entered here, too. It is entered,
and pieces are taken in it, in compiled code: threads that run Python wait for each other, which
took longer than many a piece. As in PyTorch's own regions, all of its threads come, and those for
which there is no work leave at once: GCC's library ends the threads that a smaller region leaves
out, and starts others for the next larger one. Elsewhere, and in forked processes, where the
threads of OpenMP are gone, there is a pool whose idle threads sleep.
"""

import ctypes
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from llvmlite import ir
from numba import typeof, types
from numba.core.cgutils import alloca_once, gep_inbounds
from numba.np.arrayobj import populate_array

from models.dynamics.numba_kept import brief, instruction, kernel

_STARTED_IN = os.getpid()
Arrays = tuple[np.ndarray, ...]


@cache
def openmp() -> int | None:
    """The address of the function by which PyTorch's OpenMP library enters a parallel region; None:
    it has none.

    GCC calls it for `#pragma omp parallel`, and LLVM's library has it under the same name:
    GOMP_parallel(region, data, threads, flags).
    """
    if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    # As PyTorch's own symbols: first in what was loaded for all (LD_PRELOAD), then in its library
    # and in those that this needs.
    for name in (None, str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")):
        with suppress(OSError, AttributeError, TypeError):
            return ctypes.cast(ctypes.CDLL(name).GOMP_parallel, ctypes.c_void_p).value
    return None


@instruction
def enter_region(typing, enter, address, team, threads, bounds, progress, arguments, scratch):
    """Call the function at the ``address``, a compiled kernel, as :func:`run_pieces` says, in a
    region that the function at ``enter`` opens for the whole ``team``."""
    whole = types.intp
    own = [x.copy(ndim=x.ndim - 1, layout="C") for x in scratch]
    given = whole, whole, *arguments, *own

    def code(context, builder, signature, values):
        word, byte = ir.IntType(64), ir.IntType(8).as_pointer()

        def array(builder, kind, value):
            """Without its count of references, which all threads would change."""
            found = context.make_array(kind)(context, builder, value)
            found.meminfo = ir.Constant(found.meminfo.type, None)
            return found

        bounds, progress = (array(builder, signature.args[k], values[k]) for k in (4, 5))
        kept = values[1], values[3], bounds.data, bounds.nitems, progress.data, *values[6:]
        kind = ir.LiteralStructType([x.type for x in kept])
        data = alloca_once(builder, kind)
        for place, value in enumerate(kept):
            builder.store(value, gep_inbounds(builder, data, 0, place))

        region = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), "region")
        region.linkage = "internal"
        inner = ir.IRBuilder(region.append_basic_block())
        data_there = inner.bitcast(region.args[0], kind.as_pointer())
        address, threads, begins, count, done, arguments_there, scratch_there = (
            inner.load(gep_inbounds(inner, data_there, 0, place)) for place in range(len(kept))
        )

        def next_of(place):
            one = ir.Constant(word, 1)
            return inner.atomic_rmw("add", gep_inbounds(inner, done, place), one, "monotonic")

        passed = [inner.extract_value(arguments_there, i) for i in range(len(arguments))]
        for i, kind in enumerate(arguments):
            if isinstance(kind, types.Array):
                passed[i] = array(inner, kind, passed[i])._getvalue()
        thread = next_of(1)
        taking, head, body, end = (region.append_basic_block() for _ in range(4))
        inner.cbranch(inner.icmp_signed("<", thread, threads), taking, end)
        inner.position_at_end(taking)
        for i, (kind, part) in enumerate(zip(scratch, own, strict=True)):
            shared = array(inner, kind, inner.extract_value(scratch_there, i))
            strides = [inner.extract_value(shared.strides, k) for k in range(kind.ndim)]
            start = inner.add(inner.ptrtoint(shared.data, word), inner.mul(thread, strides[0]))
            found = context.make_array(part)(context, inner)
            shape = [inner.extract_value(shared.shape, k) for k in range(1, kind.ndim)]
            start = inner.inttoptr(start, shared.data.type)
            populate_array(found, start, shape, strides[1:], shared.itemsize, shared.meminfo)
            passed.append(found._getvalue())

        called = context.call_conv.get_function_type(types.none, given)
        result, error = (alloca_once(inner, x.pointee) for x in called.args[:2])
        function = inner.inttoptr(address, called.as_pointer())
        inner.branch(head)
        inner.position_at_end(head)
        turn = next_of(0)
        following = inner.add(turn, ir.Constant(word, 1))
        inner.cbranch(inner.icmp_signed("<", following, count), body, end)
        inner.position_at_end(body)
        piece = [inner.load(gep_inbounds(inner, begins, x)) for x in (turn, following)]
        flat = context.get_arg_packer(given).as_arguments(inner, [*piece, *passed])
        failed = inner.zext(inner.call(function, [result, error, *flat]), word)
        inner.atomic_rmw("or", gep_inbounds(inner, done, 2), failed, "monotonic")
        inner.branch(head)
        inner.position_at_end(end)
        inner.ret_void()

        number = ir.IntType(32)
        entered = ir.FunctionType(ir.VoidType(), [region.type, byte, number, number])
        opened = builder.inttoptr(values[0], entered.as_pointer())
        team = builder.trunc(values[2], number)
        builder.call(opened, [region, builder.bitcast(data, byte), team, ir.Constant(number, 0)])
        return context.get_dummy_value()

    kinds = enter, address, team, threads, bounds, progress, arguments, scratch
    return types.none(*kinds), code


def _entrance(name: str) -> Callable:
    """:func:`enter_region` for one kernel, of that ``name``, and arguments of one kind."""

    def enter(enter, address, team, threads, bounds, progress, arguments, scratch):
        enter_region(enter, address, team, threads, bounds, progress, arguments, scratch)

    enter.__qualname__ = f"enter.{brief(name)}"
    return kernel(enter)


def _refuse(*arguments, **options):
    """What an entrance does with arguments that it is not made for."""
    raise TypeError


class _Entrances:
    """How a region is entered for one kernel: by other code for each kind of arguments."""

    def __init__(self, compiled: Callable):
        self.compiled = compiled
        self.known: list[tuple[int, Callable]] = []

    def __call__(self, *given) -> None:
        """Enter it with what :func:`enter_region` is given, without the address of the kernel."""
        opened, *others = given
        for address, enter in self.known:
            try:
                return enter(opened, address, *others)
            except TypeError:  # it is for other arguments
                continue
        *_, arguments, scratch = others
        kinds = tuple(typeof(x) for x in (0, 0, *arguments, *(x[0] for x in scratch)))
        self.compiled.compile(kinds)
        found = self.compiled.overloads[kinds]
        address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        enter = _entrance(self.compiled._uuid)
        enter(opened, address, *others)
        enter._compile_for_args = _refuse  # with its compiler off Numba would convert arguments
        self.known.append((address, enter))


@cache
def _entrances(compiled: Callable) -> _Entrances:
    return _Entrances(compiled)


def run_pieces(
    compiled: Callable, bounds: list[int], threads: int, arguments: tuple, scratch: Arrays
) -> None:
    """Call ``compiled(first, end, *arguments, *own)``, a kernel, for all pieces between two of the
    ``bounds``, on up to ``threads`` threads at once, this one included; each takes the next piece
    when it is done with one, and has its ``own`` part of the ``scratch`` [threads, ...].

    Raises what the kernel raises, as a RuntimeError where a region was entered.
    """
    opened = openmp() if os.getpid() == _STARTED_IN else None
    if opened is None:
        in_pool(compiled, bounds, threads, arguments, scratch)
        return
    progress = np.zeros(3, np.int64)  # pieces that are taken, threads that have come, failures
    given = np.array(bounds), progress, arguments, scratch
    _entrances(compiled)(opened, max(threads, torch.get_num_threads()), threads, *given)
    if progress[2]:
        raise RuntimeError(f"{compiled.__name__} failed on one of {threads} threads")


def in_pool(
    compiled: Callable, bounds: list[int], threads: int, arguments: tuple, scratch: Arrays
) -> None:
    """The same on threads of our own."""
    turns = itertools.count()

    def work(thread: int) -> None:
        own = [x[thread] for x in scratch]
        while (turn := next(turns)) + 1 < len(bounds):
            compiled(bounds[turn], bounds[turn + 1], *arguments, *own)

    helpers = [_own(os.getpid()).submit(work, thread) for thread in range(1, threads)]
    work(0)
    for helper in helpers:
        if not helper.cancel():  # a helper that never got its turn has nothing left to do
            helper.result()


@cache
def _own(process: int) -> ThreadPoolExecutor:
    """The pool of a process: threads do not survive a fork."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sprache-dynamics")
