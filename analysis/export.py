# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Write a trained network for other programs: ``python -m analysis.export EXP_FOLDER FILE``.

The ending of the file chooses: ``.onnx``, ``.pt2`` (torch.export), ``.c``, ``.h`` (C99), ``.nir``.
Then what was written is run on test clips, and its spikes are compared with the network's.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

from analysis import nir_graph
from analysis.deploy import c_program, graphs
from analysis.deploy.agreement import Run, compare, from_zero, in_double_precision, report, run_of
from analysis.deploy.one_step import OneStep, check_steps, run_steps
from analysis.observe import Clips
from analysis.trained import OpenedRun, add_run, need, open_named
from models.linear import set_weight_bits
from parsers.load import ConfigError
from parsers.program import Parser, check_file, numeric, program
from training.errors import ExperimentError
from training.record.files import write_atomic
from training.terminal.console import log, start_logging

PROGRAM = "analysis.export"
NOUNS = {".onnx": "ONNX graph", ".pt2": "program", ".c": "C code", ".h": "C code", ".nir": "graph"}
PACKAGES = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".nir": ("nir", "nirtorch")}
RULES = ("euler", "exact")


def read_arguments(argv: Sequence[str] | None, program: str = PROGRAM) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        program,
        description="Write one time step of a trained spiking network as an ONNX graph, as a "
        "program of torch.export, as C99 source or as a NIR graph, and measure how many spikes of "
        "it differ from the network's.",
    )
    add_run(parser)
    ending = f"the file to write; its ending chooses: {', '.join(NOUNS)}"
    parser.add_argument("file", type=Path, metavar="FILE", help=ending)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    bits = "round the weights to so many bits, with a factor for each neuron [default: as trained]"
    parser.add_argument("--weight_bits", type=numeric(int, 2, 8), metavar="N", help=bits)
    fraction = "hold states between steps as 16-bit fixed-point numbers with so many bits behind "
    fraction += "the point [default: 32-bit floating point]"
    parser.add_argument("--fraction_bits", type=numeric(int, 1, 15), metavar="N", help=fraction)
    decay = "of .nir, how the program that will run the graph gets from a time constant to a "
    decay += f"decay: 1 - dt / tau (euler) or exp(-dt / tau) (exact) [default: {RULES[0]}]"
    parser.add_argument("--discretization", choices=RULES, help=decay)
    clips = "test clips to compare what was written on, from the first [default: 512]"
    parser.add_argument("--clips", type=numeric(int, 1), default=512, metavar="N", help=clips)
    arguments = parser.parse_args(argv)
    check_arguments(arguments)
    return arguments


def check_arguments(arguments: argparse.Namespace) -> None:
    """ConfigError for an ending without a format, and for what a format does not take."""
    ending = arguments.file.suffix.lower()
    if ending not in NOUNS:
        raise ConfigError(f"{arguments.file} must end in one of {', '.join(NOUNS)}")
    if arguments.discretization and ending != ".nir":
        raise ConfigError(f"--discretization is for .nir files, not for {ending}")
    if arguments.fraction_bits and ending == ".nir":
        raise ConfigError("--fraction_bits: the states of a NIR graph are real numbers")


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Export, check, and print what was found."""
    export(read_arguments(argv))


def export(arguments: argparse.Namespace) -> None:
    """What the command line asks for."""
    path = Path(os.path.expanduser(arguments.file)).absolute()
    ending = path.suffix.lower()
    need(PACKAGES.get(ending, ()))
    start_logging()
    for file in c_program.paths_of(path) if ending == ".c" else [path]:
        if file.exists() and not (arguments.overwrite and file.is_file()):
            raise ExperimentError(f"{file} exists already: name another file, or add --overwrite")
    if not path.parent.is_dir():
        raise ExperimentError(f"no folder {path.parent} for {path.name}: make it first")
    check_file("FILE", path)
    opened = open_named(arguments)
    (nir_graph.check_exportable if ending == ".nir" else check_steps)(opened.model)
    model = from_zero(opened.model).cpu()
    if arguments.weight_bits:
        set_weight_bits(model, arguments.weight_bits)
    with tempfile.TemporaryDirectory() as folder:
        if ending == ".nir":
            run = to_nir(path, opened, model, arguments.discretization or RULES[0])
            network = None
        else:
            network = OneStep(model, fraction_bits=arguments.fraction_bits).eval()
            run = to_step(path, opened, network, Path(folder))
        if opened.config.model.init_state == "rand":
            log.info(
                "it starts from zero states; the network was trained and tested from random ones"
            )
        if run is None:
            log.info("no C compiler is here (CC, cc, gcc, clang): the code was not compared")
            return
        compare_with(opened, model, run, arguments.clips, NOUNS[ending], network)


def to_nir(path: Path, opened: OpenedRun, model: nn.Module, discretization: str) -> Run:
    """Write a NIR graph, and read it back to be run."""
    import nir

    graph = nir_graph.build_graph(model, opened.step_seconds, discretization)
    write_atomic(path, lambda temporary: nir.write(str(temporary), graph))
    graph = nir.read(str(path))
    log.info("%d nodes and %d edges written to %s", len(graph.nodes), len(graph.edges), path)
    for line in nir_graph.conventions(opened.step_seconds, discretization):
        log.info("%s", line)
    module = nir_graph.to_torch(graph)
    return partial(nir_graph.run_graph, module, layers=len(model.hidden_layers))


def to_step(path: Path, opened: OpenedRun, network: OneStep, folder: Path) -> Run | None:
    """Write one step in the format of ``path``, and read it back to be run; None where nothing can
    run it."""
    facts, ending = facts_of(opened, network), path.suffix.lower()
    if ending in (".c", ".h"):
        c_program.write_source(path, network, facts)
    else:
        write = graphs.write_onnx if ending == ".onnx" else graphs.write_torch
        write(path, network, facts)
    log.info("%s bytes written to %s", f"{path.stat().st_size:,}", path)
    for name in ("frame", "weights", "states"):
        log.info("%s: %s", name, facts[name])
    if ending in (".c", ".h"):
        command = c_program.compiler()
        return command and c_program.Program(path, network, command, folder).run
    load = graphs.load_onnx if ending == ".onnx" else graphs.load_torch
    return partial(run_steps, load(path), network)


def facts_of(opened: OpenedRun, network: OneStep) -> dict:
    """What a file says of its network."""
    model, data = opened.config.model, opened.experiment.data
    bits = network.layers[0].weights.bits
    states = "float32"
    if network.fraction_bits is not None:
        states = f"16-bit fixed point, {network.fraction_bits} bits behind the point"
    sizes = [network.inputs, *opened.model.layer_sizes]
    return {
        "network": f"{model.model_type} {'-'.join(map(str, sizes))} of {opened.folder.name}",
        "frame": f"{network.inputs} numbers every {opened.step_ms:g} ms, as "
        f"{opened.config.training.dataset_name} makes them",
        "weights": "float32" if bits is None else f"{bits} bits, a factor for each neuron",
        "states": f"{', '.join(state.name for state in network.states)}; {states}",
        "readout": model.readout,
        "classes": [str(name) for name in data.classes],
    }


def compare_with(
    opened: OpenedRun, model: nn.Module, run: Run, count: int, noun: str, network: OneStep | None
) -> None:
    """Compare what was written with the network on ``count`` clips; with its own step in PyTorch
    where ``network`` has states in fixed point, which the network itself has not."""
    ours, rounding = run_of(model), run_of(in_double_precision(model))
    if network is not None and network.fraction_bits is not None:
        log.info("compared with the same step in PyTorch, whose states are in fixed point too")
        ours, rounding = network.run, None
    clips = Clips(
        opened.experiment.data.test.to("cpu"), opened.config.training.batch_size, "comparing", count
    )
    for line in report(compare(ours, run, clips, rounding), noun):
        log.info("%s", line)


if __name__ == "__main__":
    sys.exit(main())
