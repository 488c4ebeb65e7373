# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small networks as after a training, and clips for them, for the tests of what is exported."""

import torch

from models.snns import SNN

B, T, F = 3, 25, 7


def network(neuron, **options):
    """A network whose norms have statistics and whose neurons fire, from zero states."""
    torch.manual_seed(0)
    options = {"threshold": 0.02, "init_state": "zero", "use_bias": True} | options
    model = SNN((B, T, F), [6, 5, 4], neuron, **options).train()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.momentum = 1.0
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.uniform_(norm.bias, 0.0, 0.2)
    model(clips())
    return model.eval()


def clips(dtype=torch.float32):
    """Counts [B, T, F], the next ones of torch's generator."""
    return torch.poisson(torch.full((B, T, F), 1.5, dtype=dtype))


# Options of networks that have every part of a step between them.
PARTS = {
    "recurrent": {"neuron": "CSiLIF", "recurrent": "dense"},
    "axonal delays": {"neuron": "SiLIF", "delay": "axonal", "delay_taps": 9},
    "dendritic delays": {"neuron": "LIF", "delay": "dendritic", "delay_taps": 9},
    "synaptic delays": {"neuron": "SiLIF", "delay": "synaptic", "delay_taps": 9},
    "no norm": {"neuron": "LIF", "normalization": "none", "use_bias": False},
    "thresholds": {"neuron": "BRF", "learn_threshold": True},
    "soft reset": {"neuron": "LIFNode", "extra_features": {"reset": "soft"}},
    "mean": {"neuron": "LIF+CSiLIF", "readout": "mean", "readout_start": 5},
    "max": {"neuron": "SiLIF", "readout": "max"},
    "last": {"neuron": "SiLIF", "readout": "last"},
    "counts": {"neuron": "RadLIF+SiLIF", "readout": "spike_count"},
    "late": {"neuron": "LIF", "readout_start": T + 5, "readout_gain": 3.0},
}
# What C code does not have.
MORE_PARTS = {
    "layernorm": {"neuron": "RadLIF", "normalization": "layernorm", "readout_gain": 3.0},
    "recurrent delays": {"neuron": "RLIF", "recurrent_delay": "axonal"},
}
