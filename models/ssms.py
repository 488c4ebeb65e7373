# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""State-space networks: residual blocks, the mean over time, and a linear head.

A block mixes the steps of a sequence. ``BLOCKS`` names those there are, and ``ResidualLayer`` is
what is around each of them. The names of the parameters, and the order in which they are drawn, are
those of the published comparison with SiLIF (Fabre et al. 2025), whose checkpoints load.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.linear import Dropout, Linear, make_norm, normalize
from models.mamba import Mamba
from models.network import (
    Activity,
    LayerOutput,
    Network,
    append_flipped,
    events,
    input_rates,
    join_directions,
    named,
)
from models.s4d import S4D, SpikingS4D
from models.surrogate import surrogate as find_surrogate
from parsers.model_config import ModelConfig
from parsers.options import near

BLOCKS: dict[str, type[nn.Module]] = {"S4D": S4D, "SpikingS4D": SpikingS4D, "Mamba": Mamba}
UNUSED = ".out_norm."  # norms that published layers own, and never use


def transposed(x: Tensor) -> bool:
    """Whether ``x`` [B, T, H] lies in memory as [B, H, T]."""
    return not x.is_contiguous() and x.mT.is_contiguous()


class ResidualLayer(nn.Module):
    """flip? -> encoder? -> x + dropout(block(norm(x))) -> unflip?: [B, T, F] -> [B, T, H] or 2H.

    Args:
        input_size, hidden_size: features in, channels H.
        block: a class of ``BLOCKS``. ``block(size, dropout=, options=)`` maps [B, T, H] and a state
            (None: zero) to its output, its activations (spikes of a block with ``spikes``), both
            [B, T, H], and the state after the last step; with a state, the first of which is
            ``initial_state(x)``, it goes on step by step. ``key`` is the name under which the layer
            has it, ``update_operations`` and ``fan_out`` are counted by ``analysis.operations``.
        dropout: probability of dropping a value in training, within the block and behind it.
        normalization: "batchnorm", "layernorm" or "none", of the block's input.
        use_bias: whether the encoder, which is there where F is not H, has a bias.
        bidirectional: also run on the time-reversed input; outputs 2H features.
        options: what blocks look for among the options of a run, by its name.
        backend: of the block's recurrence, if any; "naive" also for PyTorch's own operations where
            a CPU has faster ones of ours.
    """

    recurrent, delay = False, None  # as `SpikingLayer` may have
    ranges: ClassVar[dict] = {}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        block: type[nn.Module],
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        options: dict | None = None,
        backend: str = "auto",
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.encoder = None
        if input_size != hidden_size:
            self.encoder = Linear(input_size, hidden_size, use_bias, backend=backend)
        self.key = block.key
        self.backend = backend
        options = (options or {}) | {"backend": backend}
        self.add_module(block.key, block(hidden_size, dropout=dropout, options=options))
        self.norm = make_norm(normalization, hidden_size)
        self.drop = Dropout(dropout, backend=backend)

    @property
    def block(self) -> nn.Module:
        """What mixes the steps."""
        return getattr(self, self.key)

    @property
    def operation(self) -> str:
        """The recurrence of ``models.dynamics`` that the block runs, if any."""
        return getattr(self.block, "operation", "")

    @property
    def groups(self) -> dict:
        """The parameters of the block that are trained in another way."""
        return {f"{self.key}.{name}": group for name, group in self.block.groups.items()}

    @property
    def output_size(self) -> int:
        """Features that the next layer sees."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def encode(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., H]."""
        return x if self.encoder is None else self.encoder(x)

    def normalized(self, x: Tensor) -> Tensor:
        """``x`` [B, T, H] as the block takes it, in the same order of memory."""
        if isinstance(self.norm, nn.BatchNorm1d) and transposed(x):
            return self.norm(x.mT).mT
        return normalize(self.norm, x)

    def dropped(self, x: Tensor) -> Tensor:
        """Dropout, whose random numbers are drawn in the order of memory."""
        return self.drop(x.mT).mT if transposed(x) else self.drop(x)

    def macs(self, steps: int) -> int:
        """Multiply-accumulates of the matrices in a clip of ``steps`` steps, without spikes."""
        weights = self.hidden_size * self.block.fan_out
        weights += 0 if self.encoder is None else self.encoder.weight.numel()
        return steps * (1 + self.bidirectional) * weights

    def update_operations(self) -> tuple[int, int]:
        """(ACs, MACs) of a channel at each step besides matrices: see ``analysis.operations``."""
        ac, mac = self.block.update_operations
        if isinstance(self.norm, nn.LayerNorm):
            ac, mac = ac + 2, mac + 3
        biases = (self.norm is not None and not isinstance(self.norm, nn.LayerNorm)) + (
            self.encoder is not None and self.encoder.bias is not None
        )
        return ac + biases + 1, mac  # what the block adds to its input

    def forward(self, x: Tensor, state: Any = None) -> LayerOutput:
        """Run the layer; with a ``state`` step by step, from there on."""
        if self.bidirectional:
            x = append_flipped(x)
        x = self.encode(x)
        mixed, activations, state = self.block(self.normalized(x), state)
        x = x + self.dropped(mixed)
        joined = join_directions(x) if self.bidirectional else x
        return LayerOutput(joined, activations, state)


class MeanReadout(nn.Module):
    """Linear head with a bias and the mean over time, in the other order, which is the same."""

    delay = None
    ranges: ClassVar[dict] = {}

    def __init__(self, input_size: int, hidden_size: int, *, backend: str = "auto"):
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = Linear(input_size, hidden_size, backend=backend)

    def macs(self, steps: int) -> int:
        """Multiply-accumulates of a clip of any number of ``steps``."""
        return self.linear.weight.numel()

    def scores(self, steps: Tensor) -> Tensor:
        """Class scores [B, C] of those of all steps [B, T, C]."""
        return steps.mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, F] -> class scores [B, C]."""
        return self.linear(x.mean(dim=1))


class SSM(Network):
    """A stack of residual state-space layers, the mean over time, and a linear head.

    Args:
        input_shape, layer_sizes: as for ``models.snns.SNN``.
        ssm_type: a name of ``BLOCKS`` in any case.
        dropout, normalization, use_bias, bidirectional, backend: see ``ResidualLayer``.
        use_readout_layer: end in a ``MeanReadout``; otherwise the last layer's outputs.
        extra_features: options of single blocks, such as state_size, dt_min and dt_max.
        threshold, surrogate, surrogate_width: of blocks that spike, as for ``SNN``.
        device: where the parameters are made.

    Raises:
        ValueError: unknown type, normalisation or surrogate, or impossible sizes.
        TypeError: an extra feature that no block asks for.
    """

    def __init__(
        self,
        input_shape: tuple,
        layer_sizes: list[int],
        ssm_type: str = "S4D",
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        use_readout_layer: bool = True,
        extra_features: dict | None = None,
        *,
        threshold: float = 1.0,
        surrogate: str = "boxcar",
        surrogate_width: float | None = None,
        backend: str = "auto",
        device: torch.device | str | None = None,
    ):
        super().__init__(input_shape, layer_sizes, use_readout_layer)
        ssm_type = named("ssm_type", ssm_type, BLOCKS)
        self.ssm_type = self.neuron_type = ssm_type
        block, known = BLOCKS[ssm_type], {field.name for field in fields(ModelConfig)}
        for name in extra_features or {}:
            if name not in known:
                raise TypeError(f"no block asks for '{name}' of extra_features{near(name, known)}")
        self.counts_spikes = self.keep_potentials = False  # the head has neither
        self.is_snn = block.spikes  # whether it reports firing rates and synaptic operations
        self.dropout = dropout
        spiking = {
            "threshold": threshold,
            "surrogate": find_surrogate(surrogate, surrogate_width),
        }
        hidden = partial(
            ResidualLayer,
            block=block,
            dropout=dropout,
            normalization=normalization,
            use_bias=use_bias,
            bidirectional=bidirectional,
            options=(extra_features or {}) | spiking,
            backend=backend,
        )
        last = partial(MeanReadout, backend=backend)
        self.snn = self.stack([hidden] * len(self.hidden_sizes), last, device)

    def own_weights(self, weights: dict) -> dict:
        return {name: value for name, value in weights.items() if UNUSED not in str(name)}

    def load_state_dict(self, state_dict: dict, *args, **kwargs):
        """Also of published checkpoints."""
        return super().load_state_dict(self.own_weights(state_dict), *args, **kwargs)

    @property
    def hidden_layers(self) -> list[ResidualLayer]:
        """The layers before the readout, in order."""
        return list(self.snn)[: len(self.hidden_sizes)]

    def nb_state_variables(self) -> int:
        return sum(
            layer.block.states_per_neuron * layer.output_size for layer in self.hidden_layers
        )

    def macs(self, steps: int) -> int:
        """Of the recurrence, whatever computes it here: states, matrices of real numbers, head.

        Those whose inputs are events or spikes are synaptic operations in a network that spikes.
        """
        total = sum(layer.macs(steps) for layer in self.snn)
        for number, layer in enumerate(self.hidden_layers):
            each = layer.hidden_size * layer.update_operations()[1]
            if self.is_snn:
                each -= layer.hidden_size * layer.block.fan_out
                each -= layer.encoder.weight.numel() if layer.encoder and number == 0 else 0
            total += steps * (1 + layer.bidirectional) * each
        return total

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Run on ``x`` [B, T, F] or [B, T, F, K]: (output, None, None), or as ``SNN`` does if it
        spikes."""
        if self.is_snn:
            activity = self.activity(x)
            return activity.output, activity.firing_rates, activity.sop
        x = self.as_input(x)
        for layer in self.hidden_layers:
            x = layer(x).output
        return (self.snn[-1](x) if self.use_readout_layer else x), None, None

    def activity(self, x: Tensor) -> Activity:
        """As ``forward``, with every layer's spikes.

        Synaptic operations are those of events, in the first encoder, and of spikes, each of which
        reaches the 2 H rows of the matrix behind it; ``macs`` counts what takes real numbers.
        """
        x = self.as_input(x)
        rates, layers = [input_rates(x)], []
        sop = torch.zeros((), dtype=torch.int64, device=x.device)  # of the whole batch
        first = self.snn[0].encoder
        if first is not None:
            sop = torch.add(sop, events(x), alpha=first.out_features)
        for layer in self.hidden_layers:
            result = layer(x)
            layers.append(result)
            x, spikes = result.output, result.spikes
            sop = torch.add(sop, events(spikes), alpha=layer.block.fan_out)
            fired = join_directions(spikes) if layer.bidirectional else spikes
            rates.append(fired.mean(dim=(0, 1)))
        clips = x.shape[0]
        x = self.snn[-1](x) if self.use_readout_layer else x
        return Activity(x, torch.cat(rates), sop / clips, torch.zeros_like(sop) / clips, layers)

    # Streaming: one step at a time

    def initial_state(self, batch_size: int) -> tuple:
        """The state before the first step of ``batch_size`` clips, for ``step``."""
        if any(layer.bidirectional for layer in self.hidden_layers):
            raise ValueError("a bidirectional network hears clips from their end: it has no steps")
        weight = next(self.parameters())
        return tuple(
            layer.block.initial_state(weight.new_empty(batch_size, 1, layer.hidden_size))
            for layer in self.hidden_layers
        )

    def step(self, x: Tensor, state: Sequence) -> tuple[Tensor, tuple]:
        """Scores [B, C] of one step ``x`` [B, F] in evaluation mode, and the state after it.

        The mean of the scores of all steps are the class scores of ``forward``.
        """
        x, after = self.as_input(x[:, None]), []
        for layer, before in zip(self.hidden_layers, state, strict=True):
            result = layer(x, before)
            after.append(result.state)
            x = result.output
        return (self.snn[-1](x) if self.use_readout_layer else x[:, 0]), tuple(after)
