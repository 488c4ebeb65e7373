# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a lack of memory says."""

import pytest
import torch

from training.terminal.stopping import exit_status

CUDA = (
    "CUDA out of memory. Tried to allocate 12.50 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.02 GiB is free.\nIncluding non-PyTorch memory ..."
)


def out_of(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (torch.OutOfMemoryError(CUDA), "(12.50 GiB more were needed)"),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes."
            ),
            "(400 bytes more were needed)",
        ),
        (MemoryError("Unable to allocate 9.1 GiB for an array"), "9.1 GiB for an array"),
        (MemoryError(), "does not say"),
    ],
)
def test_a_lack_of_memory_names_its_causes_and_size(error, amount, capsys):
    assert exit_status("main.py", out_of(error)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert amount in line
    for name in ("batch_size", "nb_steps", "nb_hiddens"):
        assert name in line


def test_other_errors_are_ours():
    with pytest.raises(RuntimeError, match="mat1"):
        exit_status("main.py", out_of(RuntimeError("mat1 and mat2 shapes")))
