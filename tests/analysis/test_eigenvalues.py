# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Eigenvalues against NumPy, against the formulas, and against what the layers do."""

import cmath
import math

import numpy as np
import pytest
import torch

from analysis.eigenvalues import (
    double_precision,
    exact_eigenvalues,
    has_published_matrix,
    published_eigenvalues,
    step_matrices,
    timing,
)
from models.dynamics import AdaptiveState, ResonateState
from models.snns import LAYERS, ResonateLayer

SIZE = 24
ADAPTING = ("adLIF", "RadLIF", "CadLIF", "SiLIF")
known_recurrence = [n for n in LAYERS if n != "BRF"]
PUBLISHED = ("CadLIF", "CSiLIF", "SiLIF", "ResonateFire")


def layer_of(neuron: str):
    torch.manual_seed(5)
    return LAYERS[neuron](3, SIZE).requires_grad_(False)


@pytest.mark.parametrize("neuron", known_recurrence)
def test_recurrent_weights_and_delays_have_no_part_in_eigenvalues(neuron):
    plain = layer_of(neuron)
    delayed = LAYERS[neuron](3, SIZE, recurrent="dense", recurrent_delay="axonal")
    delayed.load_state_dict(plain.state_dict(), strict=False)
    np.testing.assert_array_equal(exact_eigenvalues(delayed), exact_eigenvalues(plain))


@pytest.mark.parametrize("neuron", ADAPTING)
def test_the_step_matrix_is_the_derived_one(neuron):
    layer = double_precision(layer_of(neuron))
    alpha, beta, a, _ = layer.coefficients()
    rows = [[alpha - (1 - alpha) * a, -(1 - alpha) * beta], [a, beta]]
    expected = torch.stack([torch.stack(row, -1) for row in rows], -2)
    matrices = step_matrices(layer)
    torch.testing.assert_close(matrices, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(torch.linalg.det(matrices), alpha * beta)


def test_brf_starts_inside_the_border_of_stability():
    """Its eigenvalues are 1 + d (p - |b| + i omega); without b their absolute value is 1."""
    layer = double_precision(layer_of("BRF"))
    omega, damping = (x.numpy() for x in layer.coefficients())
    found = exact_eigenvalues(layer)
    found = np.where(found.imag > 0, found, 0).sum(axis=1)
    np.testing.assert_allclose(found, 1 + 0.01 * (damping + 1j * omega), rtol=1e-9)
    layer.b.zero_()
    np.testing.assert_allclose(np.abs(exact_eigenvalues(layer)), 1, rtol=1e-9)


@pytest.mark.parametrize("neuron", known_recurrence)
def test_a_layer_without_input_moves_by_its_eigenvalues(neuron):
    """A state that never reaches the threshold, 40 steps on, by the layer and by diagonalising."""
    layer = double_precision(layer_of(neuron))
    steps, size = 40, 1e-9
    current = torch.zeros(1, steps, SIZE, dtype=torch.float64)
    u = torch.full((1, SIZE), size, dtype=torch.float64)
    zero = torch.zeros_like(u)
    values = exact_eigenvalues(layer)
    if not isinstance(layer, ResonateLayer):
        state = AdaptiveState(u, zero, zero)
        first = layer.dynamics(current[:, :1], state)[1].u[0].numpy()
        # u_n = c1 z1^n + c2 z2^n goes through its first two values.
        one, two = values[:, 0], values[:, 1] if values.shape[1] == 2 else 0
        share = (first - two * size) / (one - two)
        expected = share * one**steps + (size - share) * two**steps
    else:
        state = ResonateState(torch.complex(u, 2 * u), zero)
        expected = size * (1 + 2j) * values[:, 0] ** steps
    spikes, after = layer.dynamics(current, state)
    assert not spikes.any()
    np.testing.assert_allclose(after.u[0].numpy(), expected, rtol=1e-7, atol=1e-25)


def test_parameters_are_clamped_in_the_exact_view_only():
    layer = layer_of("CadLIF")
    layer.alpha.fill_(0.9)
    layer.beta.fill_(0.999)
    layer.a.fill_(0.5)
    exact, published = exact_eigenvalues(layer), published_eigenvalues(layer)
    np.testing.assert_allclose(np.prod(exact, axis=1), 0.9 * 0.99, rtol=1e-6)
    membrane, adaptation = -math.log(np.float32(0.9)), -math.log(np.float32(0.999))
    system = [[-membrane, -membrane], [0.5 * adaptation, -adaptation]]
    wanted = np.exp(np.linalg.eigvals(system).astype(complex))
    np.testing.assert_allclose(np.sort_complex(published[0]), np.sort_complex(wanted), rtol=1e-9)


def test_published_matrix_of_silif():
    layer = layer_of("SiLIF")
    alpha, beta = (x.double() for x in layer.coefficients()[:2])
    for i, found in enumerate(published_eigenvalues(layer)):
        a = layer.a[i].item()
        matrix = [[alpha[i], alpha[i] - 1], [(1 - beta[i]) * a, beta[i]]]
        wanted = np.linalg.eigvals(np.array(matrix, float)).astype(complex)
        np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(wanted), atol=1e-6)


def test_published_eigenvalues_of_the_complex_neurons():
    silif, fire = layer_of("CSiLIF"), layer_of("ResonateFire")
    step = math.exp(silif.log_dt[3])
    wanted = cmath.exp(step * complex(-math.exp(silif.log_log_alpha[3]), silif.alpha_img[3]))
    assert published_eigenvalues(silif)[3] == pytest.approx([wanted, wanted.conjugate()])
    rate = complex(fire.alpha_real[7], fire.alpha_im[7])
    wanted = cmath.exp(0.004 * rate)
    assert published_eigenvalues(fire)[7] == pytest.approx([wanted, wanted.conjugate()])
    assert exact_eigenvalues(fire)[7, 0] == pytest.approx(1 + 0.004 * rate)


@pytest.mark.parametrize("neuron", LAYERS)
def test_which_neurons_have_a_published_matrix(neuron):
    layer = layer_of(neuron)
    assert has_published_matrix(layer) == (neuron in PUBLISHED)
    if neuron not in PUBLISHED:
        with pytest.raises(ValueError, match=f"no matrix for {neuron}Layer"):
            published_eigenvalues(layer)


def test_a_decay_without_logarithm_has_no_published_eigenvalue():
    layer = layer_of("CadLIF")
    layer.alpha[2] = -0.1
    values = published_eigenvalues(layer)
    assert np.isnan(values[2]).all()
    assert np.isfinite(np.delete(values, 2, axis=0)).all()
    assert timing(values, 0.004).undefined == 1
    assert np.isfinite(exact_eigenvalues(layer)).all()
    assert (layer.alpha.dtype, layer.backend) == (torch.float32, "auto")  # as it was


def test_time_constants_and_frequencies():
    """A pair that turns at 10 Hz and decays in 50 ms, and a neuron of two real decays."""
    step = 0.002
    z = cmath.exp(step * complex(-1 / 0.05, 2 * math.pi * 10))
    real = [math.exp(-step / 0.02), math.exp(-step / 0.2)]
    figures = timing(np.array([[z, z.conjugate()], real]), step)
    assert figures.oscillatory == 0.5
    assert figures.frequencies == pytest.approx([10])
    assert sorted(figures.time_constants) == pytest.approx([0.02, 0.05, 0.2])
    assert figures.spectral_radius == pytest.approx(real[1])
    assert figures.undefined == 0
    outside = timing(np.array([[1.1 + 0j, 0.5], [0.9, 0.8]]), step)
    assert outside.spectral_radius == pytest.approx(1.1)
    assert len(outside.time_constants) == 3  # an eigenvalue outside the circle has none
