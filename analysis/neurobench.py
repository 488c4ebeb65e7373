# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""NeuroBench's metrics of a trained network, beside ours: ``python -m analysis.neurobench RUN``.

NeuroBench (Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms
and systems", Nature Communications 16, 2025) is an optional requirement, see
requirements-analysis.txt. It counts by hooks on modules, but our layers pass spikes from function
to function and multiply by V inside the recurrence, where hooks see neither. So it is given a copy
of the network that computes the same, and whose spikes and recurrent weights pass through modules.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import copy
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.observe import Clips, Observation, Observer
from analysis.operations import total
from analysis.trained import OpenedRun, add_run, beside, need, open_named
from models.shell import SpikingLayer
from models.snns import SNN
from parsers.program import Parser, check_file, program
from training.errors import ExperimentError
from training.metrics import count_parameters
from training.record.files import write_json
from training.terminal.console import log, start_logging, table

PROGRAM = "analysis.neurobench"
TOLERANCE = 1e-5  # NeuroBench adds up in single precision
PARTING = (
    "NeuroBench takes a layer's operations on a batch for ACs if all its inputs are -1, 0 or 1, "
    "and for MACs if one is not, as in a layer that sees counts of events; we decide input by input"
)
LENGTHS = "recordings differ in length; theirs weighs a batch by its time steps, ours by its clips"


@dataclass(frozen=True)
class Row:
    """One figure as NeuroBench counts it, and as we do; ``note`` says why they may differ."""

    name: str
    theirs: float
    ours: float | None
    note: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether both are the same; None where we have no such figure."""
        if self.ours is None:
            return None
        return abs(self.theirs - self.ours) <= TOLERANCE * max(abs(self.theirs), abs(self.ours))


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="NeuroBench's footprint, activation sparsity, synaptic operations and accuracy "
        "of a trained spiking network on its test split, beside ours, and why they differ.",
    )
    output = "file to write [default: EXP_FOLDER/neurobench.json]"
    parser.add_argument("--output", type=Path, help=output)
    add_run(parser)
    return parser.parse_args(argv)


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Measure, print one table, and write it to a file."""
    arguments = read_arguments(argv)
    need(("neurobench", "snntorch"))
    start_logging()
    output = arguments.output or beside(arguments.folder, "neurobench.json")
    output = Path(os.path.expanduser(output)).absolute()
    check_file("--output", output)
    opened = open_named(arguments)
    if not isinstance(opened.model, SNN):
        name = opened.config.model.model_type
        raise ExperimentError(
            f"{opened.folder} holds a {name}, which is no network of spiking neurons"
        )
    if opened.model.counts_spikes:
        raise ExperimentError(
            f"{opened.folder} counts the spikes of its output neurons, which NeuroBench would take "
            "for hidden ones: it measures networks whose readout has potentials"
        )
    delays = [getattr(layer, "recurrent_delay", None) for layer in opened.model.snn]
    if any(delay is not None for delay in [*delays, *(layer.delay for layer in opened.model.snn)]):
        raise ExperimentError(
            f"{opened.folder} has learned delays, of which NeuroBench counts no operations"
        )
    seen = Observer(opened).observe()
    found = measure(opened)
    rows = compare(opened, seen, found)
    log.info("\n%s\n", table([printed(row) for row in rows], ["", "NeuroBench", "Sprache", "same"]))
    for row in rows:
        if row.note:
            log.info("%s: %s", row.name.strip(), row.note)
    content = {"neurobench": found, "rows": [vars(row) | {"agrees": row.agrees} for row in rows]}
    write_json(output, content)
    log.info("\nThese figures are in %s", output)


class Spikes(nn.Module):
    """Passes the spikes of a layer on unchanged; a forward hook on it sees them all."""

    def forward(self, spikes: Tensor) -> Tensor:
        return spikes


def hookable(model: SNN) -> SNN:
    """A copy of ``model`` that computes the same and can be watched by hooks.

    The spikes of hidden layer i pass through a ``Spikes`` module ``spikes_i`` of that layer. Where
    there are recurrent weights, ``V`` becomes an ``nn.Linear`` that is called once a step, with the
    spikes of the step before; its weight is the matrix in use, [to, from] and without
    self-connections. Feed-forward weights are modules anyway.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    for number, layer in enumerate(twin.hidden_layers, start=1):
        run = with_called_weights(layer) if layer.recurrent else layer.dynamics
        show_spikes(layer, f"spikes_{number}", run)
    return twin


def show_spikes(layer: SpikingLayer, name: str, run: Callable) -> None:
    """Let the spikes that ``run`` makes of a current pass through a module of ``layer``."""
    layer.add_module(name, Spikes())

    def dynamics(current, state, fold=None):
        spikes, state = run(current, state)
        return getattr(layer, name)(spikes), state

    layer.dynamics = dynamics


def with_called_weights(layer: SpikingLayer) -> Callable:
    """The recurrence of ``layer`` in single steps, to whose current a module V adds its output."""
    weight = layer.recurrent_weights().T  # a view: the product is the same to the last digit
    layer.V = nn.Linear(layer.hidden_size, layer.hidden_size, bias=False, device=weight.device)
    layer.V.weight = nn.Parameter(weight, requires_grad=False)
    layer.recurrent_weights = lambda: None
    step = layer.dynamics

    def run(current, state):
        spikes = []
        for I_t in current.unbind(dim=1):
            fired, state = step((I_t + layer.V(state.s))[:, None], state)
            spikes.append(fired)
        return torch.cat(spikes, dim=1), state

    return run


def measure(opened: OpenedRun) -> dict:
    """NeuroBench's metrics of a run's network on its test split, under the run's seed."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ActivationSparsityByLayer,
        ClassificationAccuracy,
        SynapticOperations,
    )
    from neurobench.models import TorchModel

    class Scores(TorchModel):
        def __call__(self, batch):
            return self.net(batch)[0]

    model = Scores(hookable(opened.model))
    model.add_activation_module(Spikes)
    options, test = opened.config.training, opened.experiment.data.test
    benchmark = Benchmark(
        model,
        Clips(test, options.batch_size, "NeuroBench", len(test)),
        [],
        [lambda scores: scores.argmax(dim=1)],
        [
            [Footprint, ParameterCount, ConnectionSparsity],
            [
                ClassificationAccuracy,
                ActivationSparsity,
                ActivationSparsityByLayer,
                SynapticOperations,
            ],
        ],
    )
    torch.manual_seed(options.seed)
    with torch.no_grad():
        results = benchmark.run(quiet=True)
    # A metric that fails is printed, here to nowhere, and becomes 0.
    assert isinstance(results["SynapticOperations"], dict), "NeuroBench could not count"
    return {name: plain(value) for name, value in results.items()}


def plain(value: object) -> object:
    """A result in types that JSON knows."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return value if isinstance(value, int) else float(value)


def compare(opened: OpenedRun, seen: Observation, found: dict) -> list[Row]:
    """What NeuroBench ``found`` beside what an ``Observation`` holds."""
    model = opened.model
    ours, operations = total(seen.operations), found["SynapticOperations"]
    parameters = count_parameters(model)
    first = model.hidden_layers[0]
    recurrent = any(layer.recurrent for layer in model.hidden_layers)
    of_sums = ["theirs omits weights that are exactly 0"]
    if recurrent and first.init_state == "rand":
        of_sums.append(
            "theirs adds the random initial spikes, real numbers, which reach V at the first step"
        )
    if first.bidirectional:
        of_sums.append("both count two directions a layer; our SOP elsewhere one, as published")
    no_diagonals = recurrent and not all(layer.self_connections for layer in model.hidden_layers)
    of_dense = "theirs counts the self-connections in V that do not exist" if no_diagonals else ""
    spikes = sum(float(rates.sum()) for rates in seen.rates)
    units = sum(len(rates) for rates in seen.rates)
    rows = [
        Row("accuracy", found["ClassificationAccuracy"], seen.metrics.accuracy),
        Row("parameters", found["ParameterCount"], parameters),
        Row(
            "footprint (bytes)",
            found["Footprint"],
            4 * parameters,
            "theirs adds the buffers of batchnorm, which a chip would fold into the weights; "
            f"neither counts the {model.nb_state_variables():,} state variables of the neurons",
        ),
        Row(
            "connection sparsity",
            found["ConnectionSparsity"],
            None,
            "share of weights that are exactly 0"
            + (", which the diagonals of V are" if no_diagonals else ""),
        ),
        Row("activation sparsity", found["ActivationSparsity"], 1 - spikes / units),
    ]
    for number, rates in enumerate(seen.rates, start=1):
        theirs = found["ActivationSparsityByLayer"][f"spikes_{number}"]
        row = Row(f"  layer {number}", theirs, 1 - float(rates.mean()))
        rows.append(row if row.agrees else replace(row, note=LENGTHS))
    ac, mac = operations["Effective_ACs"], operations["Effective_MACs"]
    return [
        *rows,
        Row("effective ACs", ac, ours.ac, PARTING),
        Row("effective MACs", mac, ours.mac),
        Row("ACs and MACs", ac + mac, ours.ac + ours.mac, "; ".join(of_sums)),
        Row("dense operations", operations["Dense"], ours.dense_mac, of_dense),
    ]


def printed(row: Row) -> tuple[str, str, str, str]:
    """A row of the table: '1,234' for what is counted, '0.9876' for shares."""
    theirs, ours = (
        "" if value is None else f"{value:,.0f}" if value > 1 else f"{value:.4f}"
        for value in (row.theirs, row.ours)
    )
    return row.name, theirs, ours, {None: "", True: "yes", False: "no"}[row.agrees]


if __name__ == "__main__":
    sys.exit(main())
