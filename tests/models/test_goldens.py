# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All models against recorded numbers: our own cases, and those of the original implementation."""

import pytest
import torch

from models.anns import LAYERS as ANN_LAYERS
from models.snns import LAYERS as SNN_LAYERS
from tests.goldens import make as goldens

OWN = goldens.HERE
OWN_NAMES = sorted(path.stem for path in OWN.glob("*.json"))
ORIGINAL_NAMES = (
    *("LIF", "RLIF", "adLIF", "RadLIF", "CadLIF", "ResonateFire", "SiLIF", "CSiLIF"),
    *("MLP", "RNN", "LiGRU", "GRU", "LIF_bidirectional", "adLIF_layernorm"),
)
BACKENDS = ("naive", "auto")


@pytest.fixture(autouse=True)
def one_thread():
    """The goldens were computed on one thread; sums over several round in another order, which
    shows in gradients that are 0 but for rounding (a bias in front of a batchnorm)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", OWN_NAMES)
def test_own_goldens(name):
    golden = goldens.read(OWN / f"{name}.json")
    expected, found = (goldens.check(golden, backend=backend) for backend in BACKENDS)
    if golden["kind"] == "ann":
        return
    # Compiled kernels give the bits of plain PyTorch, but for firing rates, gradients and, on some
    # processors, products in evaluation, which are summed in another order.
    for field in ("train_out", "loss", "sop"):
        assert torch.equal(found[field], expected[field]), field
    for field in ("firing_rates", "eval_out"):
        torch.testing.assert_close(found[field], expected[field], rtol=1e-6, atol=1e-7)
    largest = max(gradient.abs().max() for gradient in expected["grads"].values())
    for parameter, gradient in expected["grads"].items():
        if ".W." in parameter or ".norm." in parameter:
            error = (found["grads"][parameter] - gradient).abs().max()
            assert error <= 1e-6 * largest, parameter


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ORIGINAL_NAMES)
def test_original_implementation(original_goldens, name, backend):
    golden = torch.load(original_goldens / f"{name}.pt", weights_only=True)
    goldens.check(golden, backend=backend)


def test_every_model_has_a_golden():
    models = {goldens.read(OWN / f"{name}.json")["model"] for name in OWN_NAMES}
    assert models == {*SNN_LAYERS, *ANN_LAYERS}


def test_goldens_survive_the_file_exactly(tmp_path):
    golden = goldens.read(OWN / "SiLIF.json")
    golden["train_out"] = torch.tensor([0.1, 1 / 3, -1e-30, 16777217.0, 0.0]) * torch.pi
    goldens.write(golden, tmp_path / "again.json")
    again = goldens.read(tmp_path / "again.json")
    for field in ("x", "y", "train_out", "loss"):
        assert torch.equal(again[field], golden[field])
        assert again[field].dtype == golden[field].dtype


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("train_out", None),
        ("adam_losses", None),
        ("init", "snn.0.alpha"),
        ("grads", "snn.0.W.weight"),
    ],
)
def test_the_check_notices_a_change(field, name):
    golden = goldens.read(OWN / "SiLIF.json")
    changed = golden[field] if name is None else golden[field][name]
    changed.view(-1)[0] += 1e-2
    with pytest.raises(AssertionError, match=name or field):
        goldens.check(golden)
