# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""C source written, compiled and run on clips, where there is a compiler."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analysis.deploy.c_source import Source, identifier
from analysis.deploy.c_text import DECLARATIONS, MAIN
from analysis.deploy.one_step import SPIKES, OneStep
from training.errors import ExperimentError
from training.record.files import write_text

COMPILERS = ("cc", "gcc", "clang")
# Without contraction: a product and a sum are rounded one after the other, as they are here.
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def paths_of(path: Path) -> list[Path]:
    """The files that make C source of that name: ``.h`` is one, beside ``.c`` there is a ``.h``."""
    return [path] if path.suffix.lower() == ".h" else [path, path.with_suffix(".h")]


def write_source(path: Path, network: OneStep, facts: dict) -> None:
    """Write ``network`` as a header that holds everything, or as a ``.c`` file with a header."""
    source = Source(network, identifier(path.stem), facts)
    name, end = source.name, "\n#endif\n"
    shown = DECLARATIONS.format(name=name, NAME=name.upper())
    if path.suffix.lower() == ".h":
        write_text(path, f"{source.header}\n{source.code('static ', 'static inline ')}{end}")
        return
    write_text(path.with_suffix(".h"), source.header + shown + end)
    write_text(path, f'#include "{path.with_suffix(".h").name}"\n\n{source.code()}')


def compiler() -> list[str] | None:
    """The C compiler, by the variable CC or its usual names; None where there is none."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    return None


class Program:
    """C source in ``path`` compiled, with a main function that reads clips, in ``folder``."""

    def __init__(self, path: Path, network: OneStep, command: list[str], folder: Path):
        name = identifier(path.stem)
        self.classes = network.classes
        self.sizes = [
            layer.size
            for label, layer in zip(network.names, network.layers, strict=True)
            if label != "readout"
        ]
        show = "\n".join(
            f"            fwrite(state.{label}_{SPIKES}, 1, sizeof state.{label}_{SPIKES}, stdout);"
            for label in network.names
            if label != "readout"
        )
        main, self.program = folder / "main.c", folder / "program"
        header = paths_of(path)[-1].name
        main.write_text(MAIN.format(header=header, name=name, NAME=name.upper(), show=show))
        sources = [main] if path.suffix.lower() == ".h" else [main, path]
        argv = [*command, *FLAGS, f"-I{path.parent}", *sources, "-o", self.program, "-lm"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it does not say why"]
            raise ExperimentError(f"{command[0]} does not compile {path}: {lines[0]}")

    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Class scores [B, C] of clips x [B, T, F] from zero states, and the layers' spikes."""
        B, T, _ = x.shape
        given = np.array([B, T], "int32").tobytes() + x.numpy().astype("float32").tobytes()
        done = subprocess.run([self.program], input=given, capture_output=True, check=True)
        spikes = np.frombuffer(done.stdout[: B * T * sum(self.sizes)], "uint8").reshape(B, T, -1)
        scores = np.frombuffer(done.stdout[spikes.size :], "float32").reshape(B, self.classes)
        parts = torch.from_numpy(spikes.astype("float32")).split(self.sizes, dim=2)
        return torch.from_numpy(scores.copy()), list(parts)
