# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define the network."""

from dataclasses import dataclass

from parsers.options import option

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


@dataclass(frozen=True)
class ModelConfig:
    """One network: every field holds a single value, also when it is a point of a grid."""

    model_type: str = option(
        "SiLIF",
        group="model",
        choices=SNN_TYPES + ANN_TYPES,
        aliases={"RF": "ResonateFire", "C-SiLIF": "CSiLIF"},
        grid=True,
        help="neuron of the hidden layers; RF and C-SiLIF are short for ResonateFire and CSiLIF",
    )
    nb_layers: int = option(
        3, group="model", minimum=2, grid=True, help="number of layers, the readout included"
    )
    nb_hiddens: int = option(
        512, group="model", minimum=1, grid=True, help="neurons in each hidden layer"
    )
    pdrop: float = option(
        0.1, group="model", minimum=0, below=1, grid=True, help="dropout probability"
    )
    normalization: str = option(
        "batchnorm",
        group="model",
        choices=("batchnorm", "layernorm", "none"),
        grid=True,
        help="normalization of the input current of every layer",
    )
    use_bias: bool = option(False, group="model", help="add a bias to the feed-forward weights")
    bidirectional: bool = option(
        False, group="model", help="run the hidden layers over the sequence in both directions"
    )
    dt_min: float = option(
        0.01, group="model", above=0, grid=True, help="smallest initial time step (CSiLIF)"
    )
    dt_max: float = option(
        0.5, group="model", above=0, grid=True, help="largest initial time step (CSiLIF)"
    )
    state_size: int = option(
        64,
        group="model",
        minimum=1,
        grid=True,
        help="state of a state-space model; none is here yet, and the other models have none",
    )
    init_state: str = option(
        "rand",
        group="model",
        choices=("rand", "zero"),
        help="initial state of the neurons: random, as published, or zero",
    )
    surrogate: str = option(
        "boxcar",
        group="model",
        choices=SURROGATES,
        grid=True,
        help="surrogate gradient: the function that stands in for the derivative of the spike",
    )
    surrogate_width: float | None = option(
        None,
        group="model",
        above=0,
        grid=True,
        help="width of the surrogate gradient along the membrane potential; by default the "
        "surrogate's own",
    )
    readout: str = option(
        "softmax_sum",
        group="model",
        choices=("softmax_sum", "mean", "max", "last", "spike_count"),
        grid=True,
        help="class scores from the output neurons: the softmax of the potentials summed over "
        "time, as published; the mean, maximum or last value of the potentials; or the spike "
        "counts of output neurons that spike",
    )
