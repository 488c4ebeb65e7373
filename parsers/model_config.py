# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define the network."""

from dataclasses import dataclass
from functools import partial

from parsers.options import Needs, option

SNN_TYPES = ("LIF", "RLIF", "adLIF", "RadLIF", "CadLIF", "ResonateFire", "SiLIF", "CSiLIF")
ANN_TYPES = ("MLP", "RNN", "LiGRU", "GRU")
SURROGATES = (
    "boxcar",
    "triangle",
    "atan",
    "slayer",
    "gaussian",
    "double_gaussian",
    "multi_gaussian",
)
CSILIF = Needs("model_type", ("CSiLIF",))
SPIKING = Needs("model_type", SNN_TYPES, "spiking models")
STATEFUL = Needs("model_type", (*SNN_TYPES, "RNN", "LiGRU", "GRU"), "models with a state")

network = partial(option, group="model", recalled=True)
gradient = partial(network, needs=SPIKING, grid=True, in_tests=False)
time_step = partial(network, within="> 0", needs=CSILIF, grid=True, in_tests=False, tuned=True)


@dataclass(frozen=True)
class ModelConfig:
    """One network: every field holds a single value, also when it is a point of a grid."""

    model_type: str = network(
        "SiLIF",
        choices=SNN_TYPES + ANN_TYPES,
        aliases={"RF": "ResonateFire", "C-SiLIF": "CSiLIF"},
        registry="models/snns.py",
        joined=SNN_TYPES,
        grid=True,
        help="neuron of the hidden layers, or of each hidden layer, as in SiLIF+RadLIF; RF and "
        "C-SiLIF are short for ResonateFire and CSiLIF",
    )
    nb_layers: int = network(
        3, within=">= 2", grid=True, help="number of layers, the readout included"
    )
    nb_hiddens: int = network(512, within=">= 1", grid=True, help="neurons in each hidden layer")
    pdrop: float = network(
        0.1,
        within=">= 0 and < 1",
        grid=True,
        tuned=True,
        in_tests=False,
        help="dropout probability",
    )
    normalization: str = network(
        "batchnorm",
        choices=("batchnorm", "layernorm", "none"),
        grid=True,
        help="normalization of the input current of every layer",
    )
    use_bias: bool = network(False, help="add a bias to the feed-forward weights")
    bidirectional: bool = network(
        False, only_for=STATEFUL, help="run the hidden layers over the sequence in both directions"
    )
    dt_min: float = time_step(0.01, not_above="dt_max", help="smallest initial time step")
    dt_max: float = time_step(0.5, help="largest initial time step")
    init_state: str = network(
        "rand",
        choices=("rand", "zero"),
        needs=SPIKING,
        help="initial state of the neurons: random, as published, or zero",
    )
    surrogate: str = gradient(
        "boxcar",
        choices=SURROGATES,
        registry="models/surrogate.py",
        help="surrogate gradient: the function that stands in for the derivative of the spike",
    )
    surrogate_width: float | None = gradient(
        None,
        within="> 0",
        help="width of the surrogate gradient along the membrane potential; by default the "
        "surrogate's own",
    )
    readout: str = network(
        "softmax_sum",
        choices=("softmax_sum", "mean", "max", "last", "spike_count"),
        registry="models/readouts.py",
        grid=True,
        help="class scores from the output neurons: the softmax of the potentials summed over "
        "time, as published; the mean, maximum or last value of the potentials; or the spike "
        "counts of output neurons that spike",
    )
