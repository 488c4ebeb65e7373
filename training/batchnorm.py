# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Batch-normalisation statistics of the weights as they are, instead of as they were."""

import torch
from torch import nn

RECALIBRATION_BATCHES = 20


@torch.no_grad()
def recalibrate(model: nn.Module, frames, batch_size: int, seed: int) -> None:
    """Replace running means and variances by those of the present weights (Wu & Johnson 2021).

    The running averages look back over 1 / momentum = 20 steps, in which the weights have moved;
    on small data sets that is an epoch. Here the statistics are averaged over up to
    ``RECALIBRATION_BATCHES`` batches of training clips, the same ones in every epoch, with dropout
    off as in evaluation. Training normalises by the batch, and the global random stream is left
    as it was, so a training step does not change; the learning rate may, as it follows validation.

    Args:
        model: in any mode; left in evaluation mode.
        frames: the training split.
        batch_size: clips in a batch.
        seed: chooses the clips and their initial states.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    if not norms:
        return
    device = next(model.parameters()).device
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches
        norm.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        clips = torch.randperm(len(frames))[: RECALIBRATION_BATCHES * batch_size]
        for indices in clips.split(batch_size):
            # A smaller last batch would weigh as much as a full one.
            if len(indices) == min(batch_size, len(clips)):
                model(frames.batch(indices)[0])
    for norm, (momentum, count) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.num_batches_tracked.copy_(count)
    model.eval()
