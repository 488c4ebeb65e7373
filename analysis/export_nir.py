# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Write a trained network as a NIR graph: ``python -m analysis.export_nir EXP_FOLDER model.nir``.

Then the file is read back and run through nirtorch, and its spikes are compared with ours. NIR and
nirtorch are optional requirements, see requirements-analysis.txt.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import nir_graph
from analysis.observe import Clips
from analysis.trained import OpenedRun, add_run, need, open_named
from parsers.program import Parser, numeric, program
from training.errors import ExperimentError
from training.record.files import write_atomic
from training.terminal.console import log, start_logging

PROGRAM = "analysis.export_nir"


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="Write a trained LIF, RLIF, adLIF, RadLIF, CadLIF or SiLIF network as a NIR "
        "graph, and measure how many spikes of the graph differ from the network's.",
    )
    add_run(parser)
    parser.add_argument("file", type=Path, metavar="FILE.nir", help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    decay = "how the program that will run the graph gets from a time constant to a decay: "
    decay += "1 - dt / tau (euler) or exp(-dt / tau) (exact) [default: euler]"
    rules = ("euler", "exact")
    parser.add_argument("--discretization", choices=rules, default=rules[0], help=decay)
    clips = "test clips to compare the graph on, from the first [default: 512]"
    parser.add_argument("--clips", type=numeric(int, 1), default=512, metavar="N", help=clips)
    return parser.parse_args(argv)


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Export, check, and print what was found."""
    arguments = read_arguments(argv)
    need(("nir", "nirtorch"))
    import nir

    start_logging()
    path = Path(os.path.expanduser(arguments.file)).absolute()
    if path.exists() and not (arguments.overwrite and path.is_file()):
        raise ExperimentError(f"{path} exists already: name another file, or add --overwrite")
    if not path.parent.is_dir():
        raise ExperimentError(f"no folder {path.parent} for {path.name}: make it first")
    opened = open_named(arguments)
    nir_graph.check_exportable(opened.model)
    model = nir_graph.from_zero(opened.model).cpu()
    graph = nir_graph.build_graph(model, opened.step_seconds, arguments.discretization)
    write_atomic(path, lambda temporary: nir.write(str(temporary), graph))
    graph = nir.read(str(path))
    log.info("%d nodes and %d edges written to %s", len(graph.nodes), len(graph.edges), path)
    for line in conventions(opened, arguments.discretization):
        log.info("%s", line)
    test = opened.experiment.data.test.to("cpu")
    clips = Clips(test, opened.config.training.batch_size, "comparing", arguments.clips)
    for line in report(nir_graph.compare(model, nir_graph.to_torch(graph), clips)):
        log.info("%s", line)


def conventions(opened: OpenedRun, discretization: str) -> list[str]:
    """What anyone who runs the graph must know."""
    rule = "1 - dt / tau" if discretization == "euler" else "exp(-dt / tau)"
    lines = [
        f"time step dt {1000 * opened.step_seconds:.6g} ms; a decay per step is {rule}",
        "edges into adaptation, and from spikes into membrane, arrive one step later",
        "the output is the readout's potential: softmax over classes and the sum over time are "
        "left to the reader, as NIR has no node for them",
    ]
    if opened.config.model.init_state == "rand":
        lines.append(
            "the graph starts from zero states; the network was trained and tested from random ones"
        )
    return lines


def report(found: nir_graph.Mismatch) -> list[str]:
    """The mismatch in words."""
    lines = [f"against the network, from zero states, on {found.clips:,} test clips:"]
    for i, (differing, fired, places, rounding) in enumerate(
        zip(found.differing, found.fired, found.places, found.rounding, strict=True), start=1
    ):
        share = f"{differing / fired:.4%} of its {fired:,} spikes" if fired else "it is silent"
        lines.append(
            f"  layer {i}: {differing:,} spikes differ, {share}, {differing / places:.6%} of all "
            f"neurons and steps; the network in double precision differs in {rounding:,} (rounding)"
        )
    lines.append(
        f"  same class: {found.same_class:,} of {found.clips:,}; accuracy of the graph "
        f"{found.correct_graph / found.clips:.2%}, of the network "
        f"{found.correct_network / found.clips:.2%}"
    )
    return lines


if __name__ == "__main__":
    sys.exit(main())
