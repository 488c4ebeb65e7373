# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The streams that a GPU works on beside its default one."""

from functools import cache

import torch


@cache
def stream_for(work: str, device: torch.device) -> torch.cuda.Stream:
    """The stream of a GPU for a kind of work, always the same.

    PyTorch hands out 32 of them in turn. If every run of a sweep took new ones, that on which steps
    are captured would become that on which batches are fetched; and what libraries and the
    allocator keep by stream would pile up.
    """
    return torch.cuda.Stream(device)
