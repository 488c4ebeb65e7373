# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The recipes of networks with delays against programs of their own, in double precision."""

import math

import pytest
import torch
from torch.nn import functional

from parsers.load import load_plan
from training.build import build_model, build_optimizer, build_scheduler
from training.steps import Steps

SIGMA, PEAK_SHARE, TAPS = 2.0, 25, 9
SMALL = ["--debug", "--nb_hiddens", "8", "--pdrop", "0", "--max_delay_ms", "80"]
UNDROPPED = ["--recurrent_dropout", "0", "--recurrent_delay_mean", "5"]
RECIPES = {  # options; time constant, hard reset, tau of the readout, kind of delays
    "shd_lif_axonal": (SMALL, 1.005, True, "axonal"),
    "ssc_lif_axonal": ([*SMALL, "--delay", "dendritic"], 1.5, True, "dendritic"),
    "synaptic": ([*SMALL, "--delay", "synaptic"], 1.5, True, "synaptic"),
    "shd_lif_delrec": (SMALL[:-2] + UNDROPPED + ["--recurrent_delay_width", "3"], 1.05, True, ""),
    "ssc_lif_delrec": (SMALL[:-2] + UNDROPPED + ["--recurrent_delay_width", "3"], 2.0, False, ""),
}


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, hard):
        ctx.save_for_backward(x)
        ctx.hard = hard
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        atan, triangle = 2.5 / (1 + (math.pi / 2 * 5 * x) ** 2), (1 - x.abs()).clamp(min=0)
        return gradient * (atan if ctx.hard else triangle), None


def delayed(x, W, P, kind, training):
    """Currents through W, with delays."""
    T, middle = x.shape[1], TAPS // 2
    k = torch.arange(TAPS).double() - middle
    g = torch.exp(-0.5 * ((k - P[..., None]) / (SIGMA + 0.27)) ** 2)
    g = g / (g.sum(-1, keepdim=True) + 1e-7)
    if not training:
        g = (k == P.detach().round()[..., None]).double()
    x = functional.pad(x, (0, 0, TAPS - 1, 0))
    parts = [x[:, i : i + T] for i in range(TAPS)]
    if kind == "axonal":
        return sum(part * g[:, i] for i, part in enumerate(parts)) @ W.T
    if kind == "dendritic":
        return sum((part @ W.T) * g[:, i] for i, part in enumerate(parts))
    return sum(part @ (W * g[..., i]).T for i, part in enumerate(parts))


def network(p, x, tau, hard, kind, training=True, norms=None):
    """Scores [B, C] and the spikes of every hidden layer; ``norms``: running means and variances"""
    spikes, last = [], max(int(name.split(".")[1]) for name in p)
    for number in range(last + 1):
        of = {n.split(".", 2)[2]: q for n, q in p.items() if n.startswith(f"snn.{number}.")}
        W, P = of["W.weight"], of.get("delay.P")
        current = x @ W.T if P is None else delayed(x, W, P, kind, training)
        current = current + of.get("W.bias", 0)
        if number == last:
            break
        if "norm.weight" in of:
            mean, variance = current.mean((0, 1)), current.var((0, 1), correction=0)
            mean, variance = (mean, variance) if training else norms[number]
            scaled = (current - mean) / torch.sqrt(variance + 1e-5)
            current = scaled * of["norm.weight"] + of["norm.bias"]
        if "V.weight" in of:  # from, to
            d, half = of["recurrent_delay.d"], torch.tensor(1 + SIGMA).double()
            d = d if training else d.detach().round()
            if "recurrent_delay.p" in of:
                half = 1 + 2 * SIGMA * torch.sigmoid(of["recurrent_delay.p"])
            k = torch.arange(1, x.shape[1]).double()[:, None]
            h = (half - (k - 1 - d).abs()).clamp(min=0) / half**2
        v, steps = 0, []
        for t in range(x.shape[1]):
            received = current[:, t]
            if "V.weight" in of and t > 0:
                past = torch.stack(steps[::-1], dim=1)
                received = received + (past * h[:t]).sum(1) @ of["V.weight"]
            v = (1 - 1 / tau) * v + received
            s = Fire.apply(v - 1, hard)
            v = v * (1 - s.detach()) if hard else v - s
            steps.append(s)
        x = torch.stack(steps, dim=1)
        spikes.append(x)
    if not hard:
        return current.sum(1), spikes
    u, scores = 0, 0
    for t in range(x.shape[1]):
        u = (1 - 1 / tau) * u + current[:, t]
        scores = scores + torch.softmax(u, 1)
    return scores, spikes


def near(found, expected, tolerance):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("backend", ["naive", "auto"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_five_steps_and_an_evaluation(recipe, backend):
    arguments, *rest = RECIPES[recipe]
    name = "ssc_lif_axonal" if recipe == "synaptic" else recipe
    config = load_plan([f"--config={name}.yaml", "--backend", backend, *arguments]).points[0]
    options = config.training
    torch.manual_seed(3)
    model = build_model(config, 6, 4)
    optimizer = build_optimizer(model, options)
    build_scheduler(optimizer, options, model)
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            value.mul_(3) if key.endswith("W.weight") and "ssc_lif_delrec" in recipe else None
            value.fill_(SIGMA) if key.endswith("sigma") else None
            value.fill_(0.4) if key.endswith("norm.bias") else None
    x, y = torch.poisson(torch.full((4, 25, 6), 0.6)), torch.tensor([0, 3, 1, 2])
    p = {n: q.detach().double().requires_grad_() for n, q in model.named_parameters()}
    learned = {n: q for n, q in p.items() if "delay" in n}
    decayed = {n: q for n, q in p.items() if n.split(".")[2] in ("W", "V")}
    others = [q for n, q in p.items() if n not in {**learned, **decayed}]
    adam = torch.optim.AdamW if "shd_lif_delrec" in recipe else torch.optim.Adam
    rates = {"lr": options.max_lr / PEAK_SHARE, "betas": (0.95, 0.999)}
    of_delays = {"lr": options.delay_lr_factor * options.lr, "betas": (0.9, 0.999)}
    if recipe == "ssc_lif_delrec":
        of_delays = {"lr": 0.05 / PEAK_SHARE, "betas": (0.95, 0.999)}
    groups = [{"params": decayed.values(), "weight_decay": 1e-5}, {"params": others}]
    groups = [group | {"params": list(group["params"])} for group in groups if group["params"]]
    theirs = [adam(groups, weight_decay=0, **rates)]
    theirs.append(adam(learned.values(), weight_decay=0, **of_delays))
    steps = Steps(model.train(), optimizer, options, 6)
    for _ in range(5):
        scores, spikes = network(p, x.double(), *rest)
        loss = functional.cross_entropy(scores, y)
        found = steps.forward(x)[1]
        assert all(map(torch.equal, [z.spikes.double() for z in found.layers], spikes))
        assert all(z.any() for z in spikes)
        meter = steps.new_meter()
        steps.train(x, y, meter)
        assert meter.result(1.0).loss == pytest.approx(loss.item(), rel=1e-5)
        for each in theirs:
            each.zero_grad()
        loss.backward()
        for key, q in model.named_parameters():
            before_norm = key.endswith("W.bias") and key.replace("W.bias", "norm.bias") in p
            assert before_norm or near(q.grad, p[key].grad, 1e-4), key
        for each in theirs:
            each.step()
        for key, q in learned.items():
            if key.endswith(".p"):
                continue
            low, high = (-(TAPS // 2), TAPS // 2) if rest[-1] else (0, None)
            q.data.clamp_(low, high)
    model.eval()
    norms = {
        i: (layer.norm.running_mean.double(), layer.norm.running_var.double())
        for i, layer in enumerate(model.hidden_layers)
        if layer.norm is not None
    }
    p = {n: q.detach().double() for n, q in model.named_parameters()}  # biases before norms differ
    with torch.no_grad():
        scores, spikes = network(p, x.double(), *rest, training=False, norms=norms)
        found = steps.forward(x)[1]
    assert all(map(torch.equal, [z.spikes.double() for z in found.layers], spikes))
    assert near(found.output, scores, 1e-5)
