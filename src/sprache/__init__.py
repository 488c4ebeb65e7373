# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking neural networks for speech, in PyTorch.

Networks are ``nn.Module``: ``SNN``, and for comparison ``ANN`` and ``SSM``. Their parts are in
``sprache.layers``, the recurrences of the neurons in ``sprache.dynamics``. ``load`` opens a trained
network, ``load_data`` gives data as a training sees them, and ``run`` does what the command line
does.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in parsers/start.py, where torch is not there

if not Path(__file__).with_name("models").is_dir():
    from sprache import _checkout

    _checkout.install()

from sprache import dynamics, layers
from sprache.models.anns import ANN
from sprache.models.network import Activity, Network, NetworkState
from sprache.models.snns import SNN
from sprache.models.ssms import SSM
from sprache.parsers.options import UserError

if TYPE_CHECKING:
    from sprache.datasets.interface import Data

__all__ = [
    "ANN",
    "SNN",
    "SSM",
    "Activity",
    "Network",
    "NetworkState",
    "UserError",
    "dynamics",
    "layers",
    "load",
    "load_data",
    "run",
]

# What reads data, and what trains, takes seconds to import: only where it is called.


def load(run: str | Path) -> Network:
    """The trained network of a run, on the CPU and in evaluation mode.

    Args:
        run: folder of a run, the name of a reference model, such as ``"demo_SiLIF"``, a zip
            archive of a run, or its address with its checksum,
            ``"https://HOST/RUN.zip#sha256=HEX"``.

    Returns:
        An ``SNN``, ``ANN`` or ``SSM``. Its ``classes`` are the names of its outputs, in order:
        numbers where the run does not record any.

    Raises:
        UserError: no such folder, or no network in it that this version can build; in one line.
    """
    from sprache.analysis.trained import open_model

    return open_model(run, spiking=False).network()


def load_data(splits: Collection[str] = ("train", "valid", "test"), **options: Any) -> "Data":
    """Data as a training with these ``options`` sees them, without augmentation.

    Args:
        splits: those to read; the others are None.
        options: of ``python main.py --help`` by their names, such as ``dataset_name="demo"`` or
            ``data_folder="my_words"``; those left out have their defaults.

    Returns:
        ``nb_features``, ``classes``, and the splits. ``data.train.batch(indices)`` are the clips
        at ``indices`` [B] int64, as x [B, T, F] float32 and y [B] int64; ``data.train.labels``
        [N] are the labels of all, and ``len(data.train)`` is N.

    Raises:
        UserError: an unknown option, or files that are missing or damaged; in one line.
    """
    from sprache.parsers.load import Config
    from sprache.training.data import loading

    return loading.load_data(Config.from_dict(options).training, splits)


def run(argv: Sequence[str]) -> int:
    """Do what ``python main.py`` does with the arguments ``argv``: train, resume or evaluate.

    Returns the exit status: 0, or 2 after one line about something the user can mend. Installed,
    the program itself is ``python -m sprache``.
    """
    from sprache.main import main

    return main(list(argv))
