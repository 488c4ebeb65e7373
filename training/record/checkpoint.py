# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Reading and writing checkpoints."""

import os
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from training.errors import CheckpointError

BEST = Path("checkpoints") / "best_model.pth"
LAST = Path("checkpoints") / "last.pth"


def find_weights(folder: Path) -> Path:
    """The best weights of a run, or the last ones where no best were saved.

    Raises CheckpointError if there are none.
    """
    for path in (folder / BEST, folder / LAST):
        if os.path.lexists(path):  # a best_model.pth that is no file is told when it is read
            return path
    raise CheckpointError(
        f"no checkpoint at {folder / BEST}, and no {LAST.name} beside it: this is no run, or its "
        "first epoch has not ended"
    )


def read(path: Path) -> dict:
    """The content of a checkpoint on the CPU; only tensors and plain containers are accepted.

    Raises CheckpointError for a missing, damaged or unsafe file.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load raises a dozen types for damaged or unsafe files, and pages of text with some.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        if "weights_only" in str(error).lower() or "unsupported" in reason.lower():
            reason = "it holds more than tensors, which could run code when read"
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason[:150]}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state_dict")
    return content


def check_sums(path: Path) -> None:
    """OSError if a part of the archive is not as it was written, by the sums it carries."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise OSError("it claims to hold more than its size")  # a zip bomb
            damaged = archive.testzip()
        if damaged is not None:
            raise OSError(f"its part {damaged} is damaged")


def read_weights(path: Path) -> dict:
    """The weights in a checkpoint: a plain state_dict, or that of a whole training state.

    Raises CheckpointError if there are none, or as `read`.
    """
    content = read(path)
    weights = content.get("model", content)
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path} holds no state_dict")
    return weights


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into ``model``, strictly.

    Raises CheckpointError if the file is unreadable or does not fit, naming the first difference.
    """
    weights = read_weights(path)
    difference = first_difference(model.state_dict(), weights)
    if difference:
        raise CheckpointError(
            f"{path} does not fit this model ({difference}): give the model options it was "
            "trained with"
        )
    model.load_state_dict(weights, strict=True)


def first_difference(expected: dict, given: dict) -> str | None:
    """What keeps ``given`` from being loaded as ``expected``, in words; None if nothing does."""
    if not isinstance(given, dict):
        return "it holds no state_dict"
    for name, tensor in expected.items():
        if name not in given:
            return f"'{name}' is missing"
        if not isinstance(given[name], torch.Tensor):
            return f"'{name}' is not a tensor"
        if given[name].shape != tensor.shape:
            return f"'{name}' is {list(given[name].shape)} instead of {list(tensor.shape)}"
    unknown = [name for name in given if name not in expected]
    return f"'{unknown[0]}' is not in the model" if unknown else None
