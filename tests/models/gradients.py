# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether a network of any kind can learn."""

import re

import torch

# Batchnorm subtracts the mean, and with it this bias: its gradient is 0 but for rounding.
BIAS_OF_W = re.compile(r"W\w?\.bias$")


def check_gradients(net, output, normalization):
    """Every parameter gets a finite gradient of ``output``, which is not 0 throughout."""
    (output * torch.rand(output.shape)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not (normalization == "batchnorm" and BIAS_OF_W.search(name)):
            assert parameter.grad.any(), name
