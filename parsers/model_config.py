# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define the network."""

from dataclasses import dataclass
from functools import partial

from parsers.options import JOINT, Needs, option

SNN_TYPES = (
    *("LIF", "RLIF", "adLIF", "RadLIF", "CadLIF", "ResonateFire", "SiLIF", "CSiLIF"),
    *("LIFNode", "SEadLIF", "EFadLIF", "BRF"),
)
ANN_TYPES = ("MLP", "RNN", "LiGRU", "GRU")
S4D_TYPES = ("S4D", "SpikingS4D")
SSM_TYPES = (*S4D_TYPES, "Mamba")
SURROGATES = (
    "boxcar",
    "triangle",
    "atan",
    "slayer",
    "gaussian",
    "double_gaussian",
    "multi_gaussian",
)
DELAYS = ("none", "axonal", "dendritic", "synaptic")
DELAYED = Needs("delay", DELAYS[1:])
STEPPED = Needs("model_type", ("CSiLIF", *SSM_TYPES))
LIF_NODE = Needs("model_type", ("LIFNode",))
RECURRENT_DELAYED = Needs("recurrent_delay", ("axonal",))
ANY_DELAYS = Needs("delay", DELAYS[1:], "delays", also=RECURRENT_DELAYED)
NEURONS = Needs("model_type", SNN_TYPES, "models of spiking neurons")
SPIKING = Needs("model_type", (*SNN_TYPES, "SpikingS4D"), "spiking models")
STATEFUL = Needs(
    "model_type", (*SNN_TYPES, *SSM_TYPES, "RNN", "LiGRU", "GRU"), "models with a state"
)
STATE_SPACE = Needs("model_type", SSM_TYPES, "state-space models")
S4D = Needs("model_type", S4D_TYPES)
CHOSEN_HEAD = Needs("model_type", SNN_TYPES + ANN_TYPES, "models other than state-space models")

network = partial(option, group="model", recalled=True)
gradient = partial(network, needs=SPIKING, grid=True, in_tests=False)
delays = partial(network, needs=RECURRENT_DELAYED, grid=True, in_tests=False)
time_step = partial(network, within="> 0", needs=STEPPED, grid=True, in_tests=False, tuned=True)
of_node = partial(network, needs=LIF_NODE, grid=True)


@dataclass(frozen=True)
class ModelConfig:
    """One network: every field holds a single value, also when it is a point of a grid."""

    model_type: str = network(
        "SiLIF",
        "neuron of the hidden layers, or of each hidden layer, as in SiLIF+RadLIF; RF and "
        "C-SiLIF are short for ResonateFire and CSiLIF",
        choices=SNN_TYPES + ANN_TYPES + SSM_TYPES,
        aliases={"RF": "ResonateFire", "C-SiLIF": "CSiLIF"},
        registry="models/snns.py",
        joined=SNN_TYPES,
        grid=True,
    )
    nb_layers: int = network(3, "number of layers, the readout included", within=">= 2", grid=True)
    nb_hiddens: int = network(512, "neurons in each hidden layer", within=">= 1", grid=True)
    pdrop: float = network(
        0.1, "dropout probability", within=">= 0 and < 1", grid=True, tuned=True, in_tests=False
    )
    normalization: str = network(
        "batchnorm",
        "normalization of the input current of every layer",
        choices=("batchnorm", "layernorm", "none"),
        grid=True,
    )
    use_bias: bool = network(False, "add a bias to the feed-forward weights")
    bidirectional: bool = network(
        False, "run the hidden layers over the sequence in both directions", only_for=STATEFUL
    )
    dt_min: float = time_step(0.01, "smallest initial time step", not_above="dt_max")
    dt_max: float = time_step(0.5, "largest initial time step")
    state_size: int = network(
        64,
        "real numbers in the state of each channel of S4D, SpikingS4D or Mamba",
        within=">= 2",
        needs=STATE_SPACE,
        grid=True,
    )
    tau: float = of_node(2.0, "time constant of LIFNode in steps, which is fixed", within=">= 1")
    reset: str = of_node(
        "hard",
        "reset of LIFNode: to 0 (hard), or by the threshold (soft)",
        choices=("hard", "soft"),
    )
    detach_reset: bool = of_node(True, "LIFNode's reset gets no gradient")
    adaptation_gain: float | None = network(
        None,
        "gain q of the adaptation of SEadLIF or EFadLIF; default: 120 or 60",
        needs=Needs("model_type", ("SEadLIF", "EFadLIF")),
        grid=True,
    )
    weight_init: str = network(
        "default",
        "initial feed-forward weights: those of the neuron's published code, or, as published "
        "with delays, Kaiming's for ReLU",
        choices=("default", "kaiming"),
        needs=NEURONS,
        grid=True,
        in_tests=False,
    )
    init_state: str = network(
        "rand",
        "initial state of the neurons: random, as published, or zero",
        choices=("rand", "zero"),
        needs=NEURONS,
    )
    learn_threshold: bool = network(
        False, "learn the firing threshold of every neuron, which starts at 1", needs=NEURONS
    )
    recurrent: str = network(
        "auto",
        "recurrent weights between the neurons of every hidden layer; auto: as published, those of "
        "RLIF, RadLIF, SEadLIF, EFadLIF and BRF have them",
        choices=("auto", "none", "dense"),
        needs=NEURONS,
        grid=True,
    )
    recurrent_layers: str = network(
        "all",
        "hidden layers that are recurrent: all, or their numbers from 1, as in 1+2; others have no "
        "recurrent weights",
        needs=NEURONS,
        grid=True,
    )
    recurrent_dropout: float = network(
        0.0,
        "probability of dropping, for all steps of a clip, what a neuron receives through "
        "recurrent weights",
        within=">= 0 and < 1",
        needs=NEURONS,
        grid=True,
        in_tests=False,
    )
    recurrent_delay: str = network(
        "none",
        "delays after which spikes return through recurrent weights: none, one step; or axonal, "
        "learned for every neuron (DelRec), which they also lead back to itself",
        choices=("none", "axonal"),
        needs=NEURONS,
        grid=True,
    )
    recurrent_delay_init: str = delays(
        "normal",
        "how recurrent delays are drawn: normal, as absolute values, or uniform",
        choices=("normal", "uniform"),
    )
    recurrent_delay_mean: float = delays(
        0.0, "mean of the initial recurrent delays in time steps", within=">= 0 and <= 10000"
    )
    recurrent_delay_width: float = delays(
        12.0,
        "standard deviation of the initial recurrent delays, or half the range of uniform ones",
        within=">= 0 and <= 10000",
    )
    recurrent_sigma: float = delays(
        10.0,
        "spread of recurrent delays in the first epoch, in time steps; it shrinks with the epochs",
        within=">= 0 and <= 10000",
    )
    recurrent_spread: bool = network(
        False, "learn the spread of every neuron's recurrent delay", needs=RECURRENT_DELAYED
    )
    surrogate: str = gradient(
        "boxcar",
        "surrogate gradient: the function that stands in for the derivative of the spike",
        choices=SURROGATES,
        registry="models/surrogate.py",
    )
    surrogate_width: float | None = gradient(
        None, "width of the surrogate along the potential; default: its own", within="> 0"
    )
    readout: str = network(
        "softmax_sum",
        "class scores from the output neurons: the softmax of the potentials summed over "
        "time, as published; the mean, sum, maximum or last value of the potentials; or the spike "
        "counts of output neurons that spike",
        choices=("softmax_sum", "mean", "sum", "max", "last", "spike_count"),
        registry="models/readouts.py",
        needs=CHOSEN_HEAD,
        grid=True,
    )
    readout_decay: float | None = network(
        None,
        "share of its potential that an output neuron keeps in a time step, which is then fixed; "
        "default: learned, from .82 to .96",
        within=">= 0 and < 1",
        needs=NEURONS,
        grid=True,
    )
    readout_tau: float | None = network(
        None,
        "learn a time constant of each output neuron, in steps, which starts around this, instead "
        "of its decay",
        within="> 0",
        needs=NEURONS,
        grid=True,
    )
    readout_gain: float | None = network(
        None,
        "factor of the input current of output neurons; default: 1 minus their decay",
        within="> 0",
        needs=NEURONS,
        grid=True,
    )
    readout_normalization: str | None = network(
        None,
        "normalization of the input current of output neurons; default: that of other layers",
        choices=("batchnorm", "layernorm", "none"),
        needs=NEURONS,
        grid=True,
    )
    readout_start: int = network(
        0,
        "first time steps that count for no class; the last one always counts",
        within=">= 0",
        needs=NEURONS,
        grid=True,
    )
    weight_bits: int | None = network(
        None,
        "bits to which all weights are rounded in each step of training and in tests, with a "
        "factor for each neuron; default: none, they are float32",
        within=">= 2 and <= 8",
        only_for=NEURONS,
        grid=True,
    )
    delay: str = network(
        "none",
        "learnable delays in front of the neurons of a layer: one for each of its inputs (axonal), "
        "neurons (dendritic) or weights (synaptic)",
        choices=DELAYS,
        only_for=NEURONS,
        grid=True,
    )
    max_delay_ms: float = network(
        250.0,
        "longest delay; the odd number of time steps that is the next one down, and no delay, are "
        "the taps",
        within="> 0 and <= 10000",
        needs=DELAYED,
        grid=True,
    )
    delay_layers: str = network(
        "all",
        "layers with delays: all, or their numbers from 1, the readout's being the last, as in 1+3",
        needs=DELAYED,
        grid=True,
    )

    def delayed(self) -> tuple[int, ...]:
        """The numbers, from 1, of the layers with delays; ValueError if they are none."""
        return self._numbers("delay_layers", self.nb_layers)

    def with_recurrence(self) -> tuple[int, ...]:
        """The numbers, from 1, of the recurrent layers; ValueError if they are none."""
        return self._numbers("recurrent_layers", self.nb_layers - 1)

    def _numbers(self, option: str, count: int) -> tuple[int, ...]:
        numbers, text = range(1, count + 1), getattr(self, option)
        if text == "all":
            return tuple(numbers)
        found = [number.strip() for number in text.split(JOINT)]
        if len({*found}) < len(found) or not {*found} <= {str(number) for number in numbers}:
            example = JOINT.join(map(str, sorted({1, count})))
            raise ValueError(
                f"--{option} {text} is neither all nor numbers of the {count} layers joined by "
                f"{JOINT}, as in {example}"
            )
        return tuple(map(int, found))
