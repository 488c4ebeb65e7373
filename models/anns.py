# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking comparisons: MLP, RNN, Li-GRU and GRU in the shell of the spiking layers.

The order in which parameters are created is the order in which random numbers are drawn, so a seed
gives the weights that the published code starts from.
"""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.dynamics import gru, ligru, rnn
from models.linear import Dropout, Linear, make_norm, normalize
from models.network import (
    Network,
    ParameterGroup,
    append_flipped,
    in_full,
    join_directions,
    named,
)
from models.readouts import ANNReadoutLayer, find_readout


class ANNLayer(nn.Module):
    """Shell of all non-spiking layers: flip? -> W.. -> norm.. -> recurrence -> unflip? -> dropout.

    ``gates`` names what is computed per neuron: "" the candidate (W, V, norm), "z" the update gate
    (Wz, Vz, normz), "r" the reset gate (Wr, Vr, normr).
    """

    groups: ClassVar[dict[str, ParameterGroup]] = {}  # of the parameters trained in another way
    gates: tuple[str, ...] = ("",)
    has_recurrent_weights = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        backend: str = "auto",
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        recurrent = []
        for gate in self.gates:
            self.add_module(f"W{gate}", Linear(input_size, hidden_size, use_bias, backend=backend))
            if self.has_recurrent_weights:
                recurrent.append(nn.Linear(hidden_size, hidden_size, bias=False))
                self.add_module(f"V{gate}", recurrent[-1])
        for linear in recurrent:
            nn.init.orthogonal_(linear.weight)
        for gate in self.gates:
            self.add_module(f"norm{gate}", make_norm(normalization, hidden_size))
        self.drop = Dropout(dropout, backend=backend)

    @property
    def output_size(self) -> int:
        """Features that the next layer sees."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def macs(self, steps: int) -> int:
        """Multiply-accumulates of a clip of ``steps`` steps: every weight at each; no gates."""
        weights = sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Linear))
        return steps * (1 + self.bidirectional) * weights

    def recurrence(self, *currents: Tensor) -> Tensor:
        """Outputs [B, T, H] of the currents of the gates, each [B, T, H]."""
        raise TypeError(f"{type(self).__name__} does not say which recurrence it runs")

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, F] -> [B, T, H], or [B, T, 2H] in both directions."""
        if self.bidirectional:
            x = append_flipped(x)
        currents = [
            in_full(normalize(getattr(self, f"norm{gate}"), getattr(self, f"W{gate}")(x)))
            for gate in self.gates
        ]
        y = self.recurrence(*currents)
        return self.drop(join_directions(y) if self.bidirectional else y)


class MLPLayer(ANNLayer):
    """y = sigmoid(W x), each time step by itself."""

    has_recurrent_weights = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.bidirectional:
            raise ValueError("MLP has no memory, so bidirectional=True means nothing for it")

    def recurrence(self, current):
        return torch.sigmoid(current)


class RNNLayer(ANNLayer):
    """y = sigmoid(W x + V y)."""

    def recurrence(self, current):
        return rnn(current, self.V.weight)


class LiGRULayer(ANNLayer):
    """Light gated recurrent unit (Ravanelli et al. 2018)."""

    gates = ("", "z")

    def recurrence(self, current, update):
        return ligru(current, update, self.V.weight, self.Vz.weight)


class GRULayer(ANNLayer):
    """Gated recurrent unit (Cho et al. 2014)."""

    gates = ("", "z", "r")

    def recurrence(self, current, update, reset):
        return gru(current, update, reset, self.V.weight, self.Vz.weight, self.Vr.weight)


LAYERS: dict[str, type[ANNLayer]] = {
    "MLP": MLPLayer,
    "RNN": RNNLayer,
    "LiGRU": LiGRULayer,
    "GRU": GRULayer,
}


class ANN(Network):
    """A stack of non-spiking layers of one type, and a readout.

    Args:
        input_shape: (B, T, F) or (B, T, F, K) of a batch; B and T may be None.
        layer_sizes: units of each layer, the last being the classes if there is a readout.
        ann_type: a name of ``LAYERS`` in any case.
        dropout, normalization, use_bias, bidirectional, device: as for spiking networks.
        use_readout_layer: end in an ``ANNReadoutLayer``; otherwise the last layer's outputs.
        readout: a name of ``models.readouts.READOUTS`` that is not of spikes.
        backend: "naive" for PyTorch's own operations where the CPU has faster ones of ours; a
            recurrence is plain PyTorch under every back end.

    Raises:
        ValueError: unknown type, normalisation or readout, a readout of spikes, impossible sizes,
            or a bidirectional MLP.
    """

    is_snn = False  # no spikes, hence no firing rates and no synaptic operations

    def __init__(
        self,
        input_shape: tuple,
        layer_sizes: list[int],
        ann_type: str = "MLP",
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        use_readout_layer: bool = True,
        backend: str = "auto",
        *,
        readout: str = "softmax_sum",
        device: torch.device | str | None = None,
    ):
        super().__init__(input_shape, layer_sizes, use_readout_layer)
        ann_type = named("ann_type", ann_type, LAYERS)
        if find_readout(readout).of_spikes:
            raise ValueError(f"readout '{readout}' is for spiking networks, not for {ann_type}")
        self.ann_type = ann_type
        common = {"normalization": normalization, "use_bias": use_bias, "backend": backend}
        hidden = partial(LAYERS[ann_type], dropout=dropout, bidirectional=bidirectional, **common)
        last = partial(ANNReadoutLayer, readout=readout, **common)
        self.ann = self.stack([hidden] * len(self.hidden_sizes), last, device)

    def macs(self, steps: int) -> int:
        return sum(layer.macs(steps) for layer in self.ann)

    def forward(self, x: Tensor) -> tuple[Tensor, None, None]:
        """Run on ``x`` [B, T, F] or [B, T, F, K]: (output, None, None)."""
        x = self.as_input(x)
        for layer in self.ann:
            x = layer(x)
        return x, None, None
