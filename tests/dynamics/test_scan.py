# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The selective scan: the specification, and the compiled CPU kernels against it."""

import importlib

import pytest
import torch

from tests.dynamics.cases import (
    assert_like_naive,
    largest_error,
    outputs_and_gradients,
    run_scan,
    scan_inputs,
    upstream,
)

SHAPES = [(1, 1, 1, 1), (2, 24, 7, 5), (3, 61, 20, 16), (1, 25, 64, 1), (2, 2, 1, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_specification_against_scalar_loops(shape):
    inputs = scan_inputs(*shape, dtype=torch.float64)
    y, state = run_scan("naive", **inputs)
    x, delta, A, B, C, D, h = (z.tolist() for z in inputs.values())
    for row, step, channel in torch.cartesian_prod(*(torch.arange(n) for n in shape[:3])).tolist():
        states, u = h[row][channel], x[row][step][channel]
        dt = torch.tensor(delta[row][step][channel], dtype=torch.float64)
        for n, a in enumerate(A[channel]):
            decay = torch.exp(dt * a).item()
            states[n] = decay * states[n] + dt.item() * B[row][step][n] * u
        expected = sum(c * s for c, s in zip(C[row][step], states, strict=True)) + D[channel] * u
        assert y[row, step, channel].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(state, torch.tensor(h, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["naive", "cpu"])
@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "state"])
def test_shapes_that_do_not_fit_are_refused(backend, name):
    inputs = scan_inputs(2, 5, 4, 3)
    key = "h" if name == "state" else name
    inputs[key] = inputs[key][:1]
    with pytest.raises(ValueError, match=rf"^{name} of a selective scan is \[1, .*\], not \["):
        run_scan(backend, **inputs)


def scan_adjoint(inputs, g_y, g):
    """Gradients of every input; that of the state goes back in time, see README.md."""
    x, delta, A, B, C, D, h = inputs.values()
    states = [h]
    for t in range(x.shape[1]):
        now = {name: inputs[name][:, t : t + 1] for name in ("x", "delta", "B", "C")}
        states.append(run_scan("naive", **inputs | now | {"h": states[-1]})[1])
    found = {name: torch.zeros_like(z) for name, z in inputs.items()}
    found |= {"x": D * g_y, "D": (g_y * x).sum((0, 1))}
    for t in reversed(range(x.shape[1])):
        found["C"][:, t] = (g_y[:, t, :, None] * states[t + 1]).sum(1)
        g = g + g_y[:, t, :, None] * C[:, t, None]
        of_input = (g * B[:, t, None]).sum(2)
        found["B"][:, t] = (g * (delta * x)[:, t, :, None]).sum(1)
        g = g * torch.exp(delta[:, t, :, None] * A)
        of_exponent = g * states[t]
        found["x"][:, t] += delta[:, t] * of_input
        found["delta"][:, t] = x[:, t] * of_input + (of_exponent * A).sum(2)
        found["A"] += (of_exponent * delta[:, t, :, None]).sum(0)
    return found | {"h": g}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint(shape):
    inputs = scan_inputs(*shape, dtype=torch.float64)
    outputs, expected = outputs_and_gradients(run_scan, "naive", inputs)
    found = scan_adjoint(inputs, *upstream(outputs))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_two_pieces_with_the_state_carried_over_equal_one_run():
    inputs = scan_inputs(2, 30, 5, 3, dtype=torch.float64)
    whole, end = run_scan("naive", **inputs)
    pieces, state = [], inputs["h"]
    for part in (slice(0, 11), slice(11, 30)):
        now = {name: inputs[name][:, part] for name in ("x", "delta", "B", "C")}
        y, state = run_scan("naive", **inputs | now | {"h": state})
        pieces.append(y)
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    assert torch.equal(state, end)


def test_as_the_published_package_computes_it():
    published = pytest.importorskip("mamba_ssm.ops.selective_scan_interface")
    inputs = scan_inputs(2, 40, 16, 8) | {"h": torch.zeros(2, 16, 8)}
    x, delta, A, B, C, D, _ = (z.mT if z.ndim == 3 else z for z in inputs.values())
    y, end = published.selective_scan_ref(x, delta, A, B, C, D, return_last_state=True)
    found, state = run_scan("naive", **inputs)
    assert largest_error(found, y.mT) < 1e-5
    assert largest_error(state, end) < 1e-5


class TestOnCPU:
    @pytest.fixture(autouse=True, params=[1, 3])
    def threads(self, request, monkeypatch):
        support = pytest.importorskip("models.dynamics.numba_support")
        monkeypatch.setattr(support, "_WORTH_A_THREAD", 1)
        before = torch.get_num_threads()
        torch.set_num_threads(request.param)
        yield
        torch.set_num_threads(before)

    @pytest.mark.parametrize("shape", [*SHAPES, (5, 300, 64, 64)])
    def test_outputs_and_gradients_are_those_in_double_precision(self, shape):
        inputs = scan_inputs(*shape, dtype=torch.float64)
        outputs, expected = outputs_and_gradients(run_scan, "naive", inputs)
        single = {name: x.float() for name, x in inputs.items()}
        found, gradients = outputs_and_gradients(run_scan, "cpu", single)
        for ours, reference in zip(found, outputs, strict=True):
            assert largest_error(ours.double(), reference) < 1e-5
        for name, gradient in expected.items():
            assert largest_error(gradients[name].double(), gradient) < 1e-5, name

    def test_slow_and_fast_decays(self):
        inputs = scan_inputs(2, 300, 8, 16, dtype=torch.float64)
        for scale in (1e-5, 1e3):  # nothing is forgotten, and everything
            scaled = inputs | {"A": inputs["A"] * scale}
            expected, _ = outputs_and_gradients(run_scan, "naive", scaled)
            found = run_scan("cpu", **{name: x.float() for name, x in scaled.items()})
            for ours, reference in zip(found, expected, strict=True):
                assert largest_error(ours.double(), reference) < 1e-5

    @pytest.mark.parametrize("name", ["x", "delta", "A", "B", "C", "h"])
    def test_what_is_not_a_number_is_seen(self, name):
        inputs = scan_inputs(1, 3, 2, 2)
        inputs[name].view(-1)[0] = float("nan")
        assert run_scan("cpu", **inputs)[0].isnan().any()

    def test_inputs_need_not_be_dense_and_some_need_no_gradient(self):
        inputs = scan_inputs(3, 30, 8, 4)
        dense = inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)
        assert_like_naive(run_scan, "cpu", inputs | {"x": dense}, exact=False)
        A = inputs["A"].clone().requires_grad_()
        assert run_scan("cpu", **inputs | {"A": A})[0].requires_grad
        with torch.no_grad():
            assert run_scan("cpu", **inputs | {"A": A})[0].grad_fn is None

    def test_the_states_of_all_steps_are_never_kept(self):
        """[B, T, D, N] would be 24 times what is."""
        scan, (B, T, D, N) = importlib.import_module("models.dynamics.cpu_scan"), (2, 48, 8, 4)
        *_, kept = scan.SCAN.forward(*(x for x in _without_skip(scan_inputs(B, T, D, N))), True)
        assert kept.shape == (B, T // 24, N, D)

    def test_graphs_hold_it_as_one_operator(self):
        inputs = tuple(_without_skip(scan_inputs(2, 9, 4, 3)))

        class Scan(torch.nn.Module):
            def forward(self, x, delta, A, B, C, h):
                return tuple(run_scan("auto", x=x, delta=delta, A=A, B=B, C=C, h=h))

        program = torch.export.export(Scan(), inputs)
        assert sum("cpu_scan" in str(node.target) for node in program.graph.nodes) == 1
        for found, expected in zip(program.module()(*inputs), Scan()(*inputs), strict=True):
            assert torch.equal(found, expected)


def _without_skip(inputs):
    return [x for name, x in inputs.items() if name != "D"]
