# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One step of a network as an ONNX file, or as a program of torch.export, and these files run.

Both take a frame [B, F] and the states, and give the class scores [B, C] and the states for the
next step, for any B. ONNX Runtime and its exporter are optional, see requirements-analysis.txt.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from analysis.deploy.one_step import OneStep
from training.record.files import write_atomic

BATCH = "batch"  # the name of the free dimension
FACTS = "sprache.json"  # what a .pt2 file says of its network
FRAME, SCORES, NEXT = "frame", "scores", "next_"
EXPORTED_ROWS = 2  # a batch of 1 would become a constant


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of exporters about packages and types that are not used here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def example(network: OneStep) -> tuple[tuple[Tensor, ...], dict]:
    """Arguments of a step to trace it with, and which of their dimensions are free."""
    states = network.initial(EXPORTED_ROWS)
    free = {0: torch.export.Dim(BATCH)}
    frame = torch.zeros(EXPORTED_ROWS, network.inputs)
    return (frame, *states), {"x": free, "states": tuple(free for _ in states)}


@torch.no_grad()
def write_torch(path: Path, network: OneStep, facts: dict) -> None:
    """Write a program that ``torch.export.load`` reads without this project."""
    arguments, shapes = example(network)
    with quietly():
        program = torch.export.export(network, arguments, dynamic_shapes=shapes)
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={FACTS: json.dumps(facts)})
    write_atomic(path, lambda temporary: temporary.write_bytes(content.getvalue()))


def load_torch(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    """The step that :func:`write_torch` has written."""
    with quietly():
        return torch.export.load(path).module()


@torch.no_grad()
def write_onnx(path: Path, network: OneStep, facts: dict) -> None:
    """Write an ONNX file; its inputs are ``frame`` and the states, its outputs ``scores`` and the
    states as ``next_...``."""
    arguments, shapes = example(network)
    names = [state.name for state in network.states]
    with quietly():
        program = torch.onnx.export(
            network,
            arguments,
            dynamo=True,
            verbose=False,
            input_names=[FRAME, *names],
            output_names=[SCORES, *(NEXT + name for name in names)],
            dynamic_shapes=shapes,
        )
    model = program.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # where in this program it comes from
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    write_atomic(path, lambda temporary: temporary.write_bytes(model.SerializeToString()))


def load_onnx(path: Path) -> Callable[..., list[Tensor]]:
    """The step in an ONNX file as ONNX Runtime computes it on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def step(*given: Tensor) -> list[Tensor]:
        values = (value.numpy() for value in given)
        return [
            torch.from_numpy(y) for y in session.run(None, dict(zip(names, values, strict=True)))
        ]

    return step
