# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled kernels as operators of PyTorch, which stand in graphs."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.library import custom_op

from models.dynamics.backends import Differentiable, run_backward, set_up

DENSE = torch.contiguous_format


@cache
def register(of: Differentiable) -> None:
    """Make the operators of ``of``: ``torch.ops.sprache`` has them by its name."""
    n, count = of.tensors, of.inputs.count(",") + 1
    name = f"sprache::{of.name}"

    def backward(*given):
        inputs, kept = given[:count], given[count : count + of.kept]
        found = of.backward(inputs, kept, given[count + of.kept : -1], given[-1])
        found = [x for x, wanted in zip(found, given[-1], strict=True) if wanted]
        return [x.clone() if x._is_view() else x for x in found]  # no operator returns views

    def shapes_of_gradients(*given):
        wanted = zip(given[:n], given[-1], strict=True)
        return [torch.empty_like(x, memory_format=DENSE) for x, needed in wanted if needed]

    def keep(ctx, inputs, output):
        set_up(ctx, of, inputs, output if of.made > 1 else (output,))

    def pull_back(ctx, *gradients):
        needed = ctx.needs_input_grad[:n]
        return run_backward(ctx, of, gradients, needed, Differentiable.operator_backward)

    def all_made(function):  # an operator gives one tensor, or several
        return lambda *inputs: function(*inputs) if of.made > 1 else function(*inputs)[0]

    schema = f"({of.inputs}) -> ({', '.join(['Tensor'] * of.made)})"
    operator = custom_op(name, all_made(of.forward), mutates_args=(), schema=schema)
    operator.register_fake(all_made(of.allocate))
    operator.register_autograd(pull_back, setup_context=keep)
    operator.register_vmap(one_by_one(operator))
    more = ", ".join(f"Tensor x{i}" for i in range(of.kept + of.results))
    schema = f"({of.inputs}, {more}, bool[] needed) -> Tensor[]"
    operator = custom_op(f"{name}_backward", backward, mutates_args=(), schema=schema)
    operator.register_fake(shapes_of_gradients)
    operator.register_vmap(one_by_one(operator))


def one_by_one(operator: Callable) -> Callable:
    """How torch.func.vmap maps ``operator``."""

    def mapped(info, in_dims, *inputs):
        results = []
        for i in range(info.batch_size):
            pairs = zip(inputs, in_dims, strict=True)
            given = [x.select(d, i) if isinstance(d, int) else x for x, d in pairs]
            results.append(operator(*given))
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        kind = type(results[0])
        stacked = kind(torch.stack(x) for x in zip(*results, strict=True))
        return stacked, kind([0] * len(stacked))

    return mapped


def constant(function: Callable) -> Callable:
    """Let torch.compile call ``function`` once while it records, and take what it returns."""
    function._dynamo_marked_constant = True  # torch.compiler's decorator imports the compiler
    return function
