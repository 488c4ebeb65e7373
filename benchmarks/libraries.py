# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""LIF layers and networks of this project and of other libraries, each at its fastest on a CPU.

All neurons have the decay alpha = ``DECAY`` and the threshold 1, which do not learn, start from 0,
and spike where u > 1 (some where u >= 1). They differ in the reset:

    u_t = alpha (u_{t-1} - s_{t-1}) + (1 - alpha) I_t     Sprache, SpikingJelly, Sinabs, Norse
    u_t = alpha u_{t-1} - s_{t-1} + (1 - alpha) I_t       snnTorch, where s passes no gradient, and
                                                          spyx, which gives s_t one step later

The factor 1 - alpha is part of the neuron or, in the last two, of what the library is given: the
currents, or the weights. The surrogate derivative is 1 / (1 + (pi x)^2), ATan; Norse has none such,
but 1 / (1 + |x|)^2. The readout is the library's own leaky integrator of the same decay, and the
class scores are the mean of its potentials over the steps.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.snns import SNN, LIFLayer
from models.surrogate import surrogate

DECAY = 0.9
TAU = 1 / (1 - DECAY)  # steps, of Euler's rule
COMPILED_STEPS = 5  # that torch.compile makes one function of; all of a clip would take minutes
LEARNING_RATE = 1e-6  # so that firing rates stay
Neurons = Callable[[Tensor], Tensor]  # what the currents of all steps become


class Batch(NamedTuple):
    """What a network learns from."""

    x: Tensor  # [B, T, F] spikes
    y: Tensor  # [B] classes


class LayerPass(Protocol):
    """Forward and backward pass of one layer of neurons."""

    def __call__(self) -> tuple:
        """Spikes, and the gradient of the currents, both [B, T, H] or, time first, [T, B, H]."""


class Network(Protocol):
    """A network that learns from one batch."""

    def step(self) -> object:
        """Forward and backward pass and a step of Adam; the loss before it."""

    def rates(self) -> list[float]:
        """Firing rate of each hidden layer: spikes per neuron and step."""


class Library(NamedTuple):
    """What makes layers and networks of one library.

    ``layer`` takes currents and the gradient of the spikes, both [B, T, H], and ``network`` the
    weights [out, in] of all layers, and the batch. One without ``layer`` has whole networks only.
    """

    layer: Callable[[Tensor, Tensor], LayerPass] | None
    network: Callable[[list[Tensor], Batch], Network]
    time_first: bool = False  # the axes that are fastest, and in which a layer pass answers


class Way(NamedTuple):
    """One row of the benchmark."""

    package: str | None  # that it needs; None: this project
    mode: str  # the settings, in words
    load: Callable[[], Library]

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


# Libraries on PyTorch: neurons and integrator, both made for one layer, and the same shell


def torch_library(
    neurons: Callable[[], Neurons],
    integrator: Callable[[], Neurons],
    *,
    time_first: bool = False,
    gain: float = 1.0,
) -> Library:
    """A library whose modules take all steps at once; ``gain`` is what its neurons leave out."""

    def layer(I: Tensor, gradient: Tensor) -> LayerPass:
        I, gradient = ((x.transpose(0, 1) if time_first else x).contiguous() for x in (I, gradient))
        return torch_pass(neurons(), (gain * I).requires_grad_(), gradient)

    def network(weights: list[Tensor], batch: Batch) -> Network:
        x = batch.x.transpose(0, 1).contiguous() if time_first else batch.x
        made = [neurons() for _ in weights[1:]]
        scaled = [gain * W for W in weights]
        return TorchNetwork(scaled, made, integrator(), Batch(x, batch.y), 0 if time_first else 1)

    return Library(layer, network, time_first)


def torch_pass(neurons: Neurons, I: Tensor, gradient: Tensor) -> LayerPass:
    """Forward and backward pass of ``neurons`` on ``I``."""

    def run() -> tuple[Tensor, Tensor]:
        I.grad = None
        spikes = neurons(I)
        spikes.backward(gradient)
        return spikes.detach(), I.grad

    return run


class TorchNetwork(nn.Module):
    """Weights without biases, each for all steps at once, between the neurons of a library."""

    def __init__(
        self,
        weights: list[Tensor],
        neurons: list[Neurons],
        integrator: Neurons,
        batch: Batch,
        time: int,
    ):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(W.clone()) for W in weights)
        self.neurons, self.integrator = neurons, integrator
        self.batch, self.time = batch, time
        self.optimizer = torch.optim.Adam(self.weights, LEARNING_RATE, fused=True)

    def hidden(self, x: Tensor) -> Iterator[Tensor]:
        """Spikes of each hidden layer."""
        for W, neurons in zip(self.weights, self.neurons, strict=False):
            x = neurons(functional.linear(x, W))
            yield x

    def forward(self, x: Tensor) -> Tensor:
        *_, x = self.hidden(x)
        return self.integrator(functional.linear(x, self.weights[-1])).mean(dim=self.time)

    def step(self) -> Tensor:
        """See ``Network``."""
        return learn(self, self.optimizer, self(self.batch.x), self.batch.y)

    @torch.compiler.set_stance("force_eager")  # nothing is compiled once more for this
    @torch.no_grad()
    def rates(self) -> list[float]:
        """See ``Network``."""
        return [spikes.mean().item() for spikes in self.hidden(self.batch.x)]


def learn(net: nn.Module, optimizer: torch.optim.Optimizer, scores: Tensor, y: Tensor) -> Tensor:
    """Backward pass and step of ``net``, which made ``scores`` [B, C]; the loss."""
    loss = functional.cross_entropy(scores, y)
    net.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def steps_of(step: Callable, *, output: int = 0) -> Callable:
    """Several calls of ``step``, which takes an input and a state and gives two things, the second
    being the next state; ``output`` says which of them is what the neurons pass on."""

    def run(I: Tensor, state: object) -> tuple[Tensor, object]:
        outputs = []
        for I_t in I:
            found = step(I_t, state)
            state = found[1]
            outputs.append(found[output])
        return torch.stack(outputs), state

    return run


def over_time(steps: Callable, start: Callable[[Tensor], object]) -> Neurons:
    """Neurons that are computed by ``steps`` from the state that ``start`` makes of an input."""

    def run(I: Tensor) -> Tensor:
        state, outputs = start(I[0]), []
        for part in I.split(COMPILED_STEPS):
            found, state = steps(part, state)
            outputs.append(found)
        return torch.cat(outputs)

    return run


def zeros(I: Tensor) -> Tensor:
    """Potentials before the first step. They take a gradient, as all later ones do, so that nothing
    is compiled twice."""
    return torch.zeros_like(I, requires_grad=True)


def spikingjelly() -> Library:
    """Multi-step neurons, which on a CPU are one operator with a backward pass of its own."""
    from spikingjelly.activation_based import functional as states
    from spikingjelly.activation_based import neuron
    from spikingjelly.activation_based.surrogate import ATan

    def neurons() -> Neurons:
        made = neuron.LIFNode(TAU, v_reset=None, surrogate_function=ATan(), step_mode="m")

        def run(I: Tensor) -> Tensor:
            states.reset_net(made)
            return made(I)

        return run

    def integrator() -> Neurons:
        made = neuron.NonSpikingLIFNode(TAU)
        return lambda I: torch.stack(made(I))

    return torch_library(neurons, integrator, time_first=True)


def snntorch() -> Library:
    """``Leaky``, compiled by PyTorch."""
    from snntorch import Leaky
    from snntorch.surrogate import atan

    neuron = Leaky(beta=DECAY, spike_grad=atan())
    steps = torch.compile(steps_of(neuron))

    def start(I: Tensor) -> Tensor:
        neuron.mem = zeros(I)  # it keeps its potential: another one would be compiled for anew
        return neuron.mem

    integrating = steps_of(Leaky(beta=DECAY, reset_mechanism="none"), output=1)
    return torch_library(
        lambda: over_time(steps, start),
        lambda: over_time(integrating, zeros),
        time_first=True,
        gain=1 - DECAY,
    )


def norse() -> Library:
    """``LIFBoxCell``, which has no synaptic current, compiled by PyTorch."""
    from norse.torch import LIBoxCell, LIBoxParameters, LIBoxState, LIFBoxCell
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract

    rate = torch.tensor(1 - DECAY)  # per step of 1 s
    options = LIFBoxParameters(tau_mem_inv=rate, reset_method=reset_subtract)
    steps = torch.compile(steps_of(LIFBoxCell(options, dt=1.0)))
    integrating = steps_of(LIBoxCell(LIBoxParameters(tau_mem_inv=rate), dt=1.0))
    return torch_library(
        lambda: over_time(steps, lambda I: LIFBoxFeedForwardState(zeros(I))),
        lambda: over_time(integrating, lambda I: LIBoxState(zeros(I))),
        time_first=True,
    )


def sinabs() -> Library:
    """``LIF`` in plain PyTorch."""
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.layers import LIF, ExpLeak

    tau = -1 / math.log(DECAY)

    def derivative(u: Tensor, threshold: Tensor) -> Tensor:
        return 1 / (1 + (math.pi * (u - threshold)) ** 2)

    def fresh(made: nn.Module) -> Neurons:
        made.requires_grad_(False)

        def run(I: Tensor) -> Tensor:
            made.reset_states()
            return made(I)

        return run

    def neurons() -> Neurons:
        kinds = {"spike_fn": SingleSpike, "reset_fn": MembraneSubtract()}
        return fresh(LIF(tau, surrogate_grad_fn=derivative, **kinds))

    return torch_library(neurons, lambda: fresh(ExpLeak(tau, norm_input=True)))


def spyx() -> Library:
    """Layers scanned over time by JAX, and the whole pass or step compiled by XLA for the CPU."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import optax
    from flax import nnx
    from jax import numpy as jnp
    from spyx import axn
    from spyx.nn import LI, LIF, run

    def neurons(kind: type, size: int, **options) -> Callable:
        made = kind((size,), beta=DECAY, rngs=nnx.Rngs(0), **options)
        return lambda I: run(made, I)[0]

    def spiking(size: int) -> Callable:
        derivative = axn.custom(lambda x: 1 / (1 + (jnp.pi * x) ** 2))
        return neurons(LIF, size, activation=derivative)

    def handed(x: Tensor) -> jax.Array:
        return jnp.asarray(x.contiguous().numpy())

    def layer(I: Tensor, gradient: Tensor) -> LayerPass:
        given = handed((1 - DECAY) * I.transpose(0, 1)), handed(gradient.transpose(0, 1))
        made = spiking(I.shape[2])

        @jax.jit
        def both(I, gradient):
            spikes, pull = jax.vjp(made, I)
            return spikes, pull(gradient)[0]

        return lambda: jax.block_until_ready(both(*given))

    class SpyxNetwork:
        """See ``Network``."""

        def __init__(self, weights: list[Tensor], batch: Batch):
            self.weights = [handed((1 - DECAY) * W.T) for W in weights]
            self.given = handed(batch.x.transpose(0, 1)), handed(batch.y)
            layers = [spiking(W.shape[0]) for W in weights[:-1]]
            integrate = neurons(LI, weights[-1].shape[0])
            adam = optax.adam(LEARNING_RATE)
            self.moments = adam.init(self.weights)

            def hidden(weights, x):
                for W, made in zip(weights, layers, strict=False):
                    x = made(x @ W)
                    yield x

            def loss(weights, x, y):
                *_, x = hidden(weights, x)
                scores = integrate(x @ weights[-1]).mean(axis=0)
                return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

            def step(weights, moments, x, y):
                found, gradients = jax.value_and_grad(loss)(weights, x, y)
                changes, moments = adam.update(gradients, moments)
                return optax.apply_updates(weights, changes), moments, found

            # Without the old values being given away, new memory would be taken at every step.
            self.compiled = jax.jit(step, donate_argnums=(0, 1))
            self.hidden = hidden

        def step(self) -> jax.Array:
            found = self.compiled(self.weights, self.moments, *self.given)
            self.weights, self.moments, loss = jax.block_until_ready(found)
            return loss

        def rates(self) -> list[float]:
            found = self.hidden(self.weights, self.given[0])
            return [float(spikes.mean()) for spikes in found]

    return Library(layer, SpyxNetwork, time_first=True)


# This project: all of a network, as its users have it


class OurNetwork:
    """``SNN`` without normalisation and dropout, with the decays of the others."""

    def __init__(self, weights: list[Tensor], batch: Batch, options: dict):
        self.batch = batch
        sizes = [len(W) for W in weights]
        given = {"normalization": "none", "init_state": "zero", "readout": "mean"}
        given["readout_decay"] = DECAY
        self.net = SNN((None, None, batch.x.shape[2]), sizes, "LIF", **given, **options)
        for layer, W in zip(self.net.layers, weights, strict=True):
            layer.W.weight.data.copy_(W)
        for layer in self.net.hidden_layers:
            fix_decay(layer)
        learning = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(learning, LEARNING_RATE, fused=True)

    def step(self) -> Tensor:
        """See ``Network``."""
        return learn(self.net, self.optimizer, self.net(self.batch.x)[0], self.batch.y)

    @torch.no_grad()
    def rates(self) -> list[float]:
        """See ``Network``."""
        found = self.net(self.batch.x)[1][self.batch.x.shape[2] :]
        return [rate.mean().item() for rate in found.split(self.net.hidden_sizes)]


def fix_decay(layer: LIFLayer) -> LIFLayer:
    """``layer`` with the decay of the others, which does not learn."""
    layer.alpha.data.fill_(DECAY)
    layer.alpha.requires_grad_(False)
    return layer


def ours(kind: str, backend: str) -> Library:
    """The compiled back end, or plain PyTorch, with the surrogate ``kind``."""

    def layer(I: Tensor, gradient: Tensor) -> LayerPass:
        options = {"init_state": "zero", "backend": backend, "surrogate": surrogate(kind)}
        made = fix_decay(LIFLayer(1, I.shape[2], **options))
        state = made.initial_state(I)
        currents = I.clone().requires_grad_()
        return torch_pass(lambda I: made.dynamics(I, state)[0], currents, gradient)

    def network(weights: list[Tensor], batch: Batch) -> Network:
        return OurNetwork(weights, batch, {"backend": backend, "surrogate": kind})

    return Library(layer, network)


WAYS = {
    "plain PyTorch": Way(None, "backend naive, ATan", lambda: ours("atan", "naive")),
    "Sprache": Way(None, "backend auto, boxcar, the default", lambda: ours("boxcar", "auto")),
    "Sprache, ATan": Way(None, "backend auto, ATan", lambda: ours("atan", "auto")),
    "SpikingJelly": Way(
        "spikingjelly",
        "LIFNode, step_mode m, which on a CPU is a registered operator",
        spikingjelly,
    ),
    "snnTorch": Way("snntorch", "Leaky, five steps at a time compiled by torch.compile", snntorch),
    "Norse": Way(
        "norse", "LIFBoxCell, five steps at a time compiled by torch.compile; SuperSpike", norse
    ),
    "Sinabs": Way("sinabs", "LIF in plain PyTorch", sinabs),
    "spyx": Way("spyx", "LIF scanned, all of it compiled by jax.jit", spyx),
}
