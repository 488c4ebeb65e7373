# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How far a readout without time gets on the demo data.

    python -m datasets.demo.readout

A linear classifier sees only the mean activity of each channel over the clip. What a network
reaches above it comes from the order of the sounds.
"""

import gzip
import io
import sys
from pathlib import Path

import h5py
import numpy as np
import scipy.optimize
import scipy.special

from datasets.clip_files import Clip
from datasets.cochlea import CHANNELS
from parsers.program import Parser, run_command

PROGRAM = "datasets.demo.readout"
FOLDER = Path(__file__).resolve().parent
NB_CLASSES = 20


def read_clips(path: Path) -> list[Clip]:
    """All clips of a gzipped file in the SHD layout, read in memory."""
    with h5py.File(io.BytesIO(gzip.decompress(path.read_bytes())), "r") as file:
        names = ("spikes/times", "spikes/units", "labels", "extra/speaker")
        times, units, labels, speakers = (file[name][:] for name in names)
    return [
        Clip(*row) for row in zip(times, units, labels.tolist(), speakers.tolist(), strict=True)
    ]


def mean_activity(clips: list[Clip], spatial_bin: int = 1) -> np.ndarray:
    """Events of each channel over the whole clip, float64 [N, 700 // spatial_bin]."""
    counts = np.stack([np.bincount(clip.units, minlength=CHANNELS) for clip in clips])
    return counts.reshape(len(clips), -1, spatial_bin).sum(axis=2).astype(np.float64)


def fit_logistic(features: np.ndarray, labels: np.ndarray, decay: float) -> np.ndarray:
    """Weights [F + 1, C] of a multinomial logistic regression, the last row the bias.

    Minimises the mean cross-entropy plus ``decay / 2`` times the squared weights (not the bias).
    """
    inputs = np.column_stack([features, np.ones(len(features))])
    targets = np.eye(NB_CLASSES)[labels]

    def loss_and_gradient(flat):
        weights = flat.reshape(-1, NB_CLASSES)
        log_p = scipy.special.log_softmax(inputs @ weights, axis=1)
        shrink = decay * weights
        shrink[-1] = 0
        loss = -np.mean(np.sum(targets * log_p, axis=1)) + np.sum(shrink * weights) / 2
        gradient = inputs.T @ (np.exp(log_p) - targets) / len(inputs) + shrink
        return loss, gradient.ravel()

    start = np.zeros(inputs.shape[1] * NB_CLASSES)
    options = {"maxiter": 150}
    result = scipy.optimize.minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options
    )
    return result.x.reshape(-1, NB_CLASSES)


def linear_readout_accuracies(
    train: list[Clip],
    test: list[Clip],
    spatial_bin: int = 5,
    decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1),
) -> dict[tuple[str, float], float]:
    """Test accuracy for raw and logarithmic counts and each strength of regularisation.

    The best of these is chosen on the test clips themselves: an upper bound in the readout's
    favour. Features are standardised on the training clips.
    """
    labels = np.array([clip.label for clip in train])
    expected = np.array([clip.label for clip in test])
    accuracies = {}
    for name, scale in (("counts", np.asarray), ("log counts", np.log1p)):
        fitted, held_out = (scale(mean_activity(clips, spatial_bin)) for clips in (train, test))
        mean, spread = fitted.mean(axis=0), fitted.std(axis=0) + 1e-9
        fitted, held_out = (fitted - mean) / spread, (held_out - mean) / spread
        for decay in decays:
            weights = fit_logistic(fitted, labels, decay)
            predicted = (held_out @ weights[:-1] + weights[-1]).argmax(axis=1)
            accuracies[name, decay] = float(np.mean(predicted == expected))
    return accuracies


def command(argv: list[str] | None) -> None:
    """Fit and print; there is nothing to choose."""
    Parser(PROGRAM, description=__doc__.split("\n")[0]).parse_args(argv)
    train, test = (read_clips(FOLDER / f"demo_{name}.h5.gz") for name in ("train", "test"))
    for spatial_bin in (5, 1):
        accuracies = linear_readout_accuracies(train, test, spatial_bin)
        for (features, decay), accuracy in accuracies.items():
            print(f"{CHANNELS // spatial_bin} channels, {features}, decay {decay}: {accuracy:.1%}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status (2: something the user can mend)."""
    return run_command(PROGRAM, lambda: command(argv))


if __name__ == "__main__":
    sys.exit(main())
