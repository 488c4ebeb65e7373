# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How far a readout without time gets on the demo data.

    python -m datasets.demo.readout

A linear classifier sees only the mean activity of each channel over the clip. What a network
reaches above it comes from the order of the sounds.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.special

from datasets.binning import NB_UNITS, read_annotations, read_clips
from datasets.files import unpacked
from parsers.program import Parser, program

PROGRAM = "datasets.demo.readout"
FOLDER = Path(__file__).resolve().parent
NB_CLASSES = 20


def read_mean_activity(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Events of each channel over the whole of each clip, float64 [N, 700], and the labels [N]."""
    path = unpacked(FOLDER / f"demo_{split}.h5.gz")
    units = [unit for _, _, chunk in read_clips(path) for unit in chunk]
    counts = np.stack([np.bincount(unit, minlength=NB_UNITS) for unit in units])
    return counts.astype(np.float64), read_annotations(path, NB_CLASSES).labels


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
    spatial_bin: int, decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
) -> dict[tuple[str, float], float]:
    """Test accuracy for raw and logarithmic counts and each strength of regularisation.

    ``spatial_bin`` channels count as one.

    The best of these is chosen on the test clips themselves: an upper bound in the readout's
    favour. Features are standardised on the training clips.
    """
    (train, labels), (test, expected) = read_mean_activity("train"), read_mean_activity("test")
    accuracies = {}
    for name, scale in (("counts", np.asarray), ("log counts", np.log1p)):
        fitted, held_out = (
            scale(counts.reshape(len(counts), -1, spatial_bin).sum(axis=2))
            for counts in (train, test)
        )
        mean, spread = fitted.mean(axis=0), fitted.std(axis=0) + 1e-9
        fitted, held_out = (fitted - mean) / spread, (held_out - mean) / spread
        for decay in decays:
            weights = fit_logistic(fitted, labels, decay)
            predicted = (held_out @ weights[:-1] + weights[-1]).argmax(axis=1)
            accuracies[name, decay] = float(np.mean(predicted == expected))
    return accuracies


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Fit and print; there is nothing to choose."""
    Parser(PROGRAM, description=__doc__.split("\n")[0]).parse_args(argv)
    for spatial_bin in (5, 1):
        for (features, decay), accuracy in linear_readout_accuracies(spatial_bin).items():
            print(f"{NB_UNITS // spatial_bin} channels, {features}, decay {decay}: {accuracy:.1%}")


if __name__ == "__main__":
    sys.exit(main())
