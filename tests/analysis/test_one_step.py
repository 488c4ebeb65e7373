# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One step with explicit states does what the network does, and so does C code written from it."""

import subprocess
import sys

import pytest
import torch

from analysis.deploy import c_program
from analysis.deploy.c_source import identifier
from analysis.deploy.one_step import INT16, OneStep, check_steps
from analysis.deploy.weights import pack, unpack
from models.anns import ANN
from models.linear import set_weight_bits
from models.snns import LAYERS
from tests.analysis.small_networks import MORE_PARTS, PARTS, B, F, T, clips, network
from tests.own_neuron import own_recurrence
from training.errors import ExperimentError

NEURONS = {name: {"neuron": name} for name in LAYERS}
ALL = NEURONS | PARTS | MORE_PARTS
COMPILER = c_program.compiler()
FACTS = {"network": "of */ tests", "classes": ['"a"', "b c", "\\", "é?"]}
compiled = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


def same(found, expected):
    """Spikes to the last, scores up to rounding."""
    for theirs, ours in zip(found[1], expected[1], strict=True):
        assert 0.01 < ours.mean() < 0.99
        assert theirs.equal(ours)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
@torch.no_grad()
def test_steps_are_those_of_the_network(options, bits):
    model = network(**options | {"init_state": "rand"})
    steps, x = OneStep(model, bits), clips()
    set_weight_bits(model, bits)
    torch.manual_seed(1)
    activity = model.activity(x)
    torch.manual_seed(1)
    same(steps.run(x), (activity.output, [layer.spikes for layer in activity.layers]))
    assert model.snn[0].W.weight.dtype == torch.float32


@torch.no_grad()
def test_scores_are_those_of_a_clip_that_ends_there():
    for name in ("mean", "max", "late", "counts", "axonal delays"):
        model, x = network(**PARTS[name]), clips()
        steps = OneStep(model)
        for length in (1, 6, T):
            ours = model(x[:, :length])[0]
            torch.testing.assert_close(steps.run(x[:, :length])[0], ours, rtol=1e-4, atol=1e-5)


IN_C = [(None, None, name) for name in NEURONS | PARTS]
IN_C += [(8, 11, name) for name in ("SiLIF", "ResonateFire", "EFadLIF", "BRF")]
IN_C += [(4, None, name) for name in ("recurrent", "axonal delays", "synaptic delays", "counts")]


@pytest.mark.parametrize(("bits", "fraction_bits", "name"), IN_C)
@compiled
def test_c_code_spikes_as_the_step(name, bits, fraction_bits, tmp_path):
    steps = OneStep(network(**ALL[name]), bits, fraction_bits)
    ending = ".h" if fraction_bits else ".c"
    path = tmp_path / f"3 net-é{ending}"
    c_program.write_source(path, steps, FACTS)
    assert sorted(tmp_path.iterdir()) == sorted(c_program.paths_of(path))
    program = c_program.Program(path, steps, COMPILER, tmp_path)
    x = clips()
    same(program.run(x), steps.run(x))


@compiled
def test_one_program_can_include_two_networks(tmp_path):
    for name, neuron in (("first", "SiLIF"), ("second", "BRF")):
        c_program.write_source(tmp_path / f"{name}.h", OneStep(network(neuron), 4, 11), FACTS)
    both = tmp_path / "both.c"
    both.write_text(
        '#include "second.h"\n#include "first.h"\n#include "first.h"\n'
        "int main(void) { first_state state; first_reset(&state); return first_class(&state); }\n"
    )
    command = [*COMPILER, *c_program.FLAGS, both, "-o", tmp_path / "both", "-lm"]
    assert subprocess.run([*command]).returncode == 0
    assert subprocess.run([tmp_path / "both"]).returncode == 0


def test_what_does_not_compile_is_told_in_one_line(tmp_path):
    path, steps = tmp_path / "net.c", OneStep(network("LIF"))
    c_program.write_source(path, steps, FACTS)
    with pytest.raises(ExperimentError, match=r"false does not compile .*net.c: it does not say"):
        c_program.Program(path, steps, ["false"], tmp_path)


def test_the_compiler_is_the_one_that_cc_names(monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -c 'x y'")
    assert c_program.compiler() == [sys.executable, "-c", "x y"]
    monkeypatch.setenv("CC", "no-such-compiler")
    assert c_program.compiler() is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda monkeypatch: network("LIF", bidirectional=True), "bidirectional network"),
        (lambda monkeypatch: ANN((B, T, F), [5, 4], "GRU"), "only networks of spiking neurons"),
        (lambda monkeypatch: of_own_neurons(monkeypatch), "ALIFLayer .* recurrence of its own"),
    ],
)
def test_what_has_no_steps_is_refused(model, reason, monkeypatch):
    with pytest.raises(ExperimentError, match=reason):
        check_steps(model(monkeypatch))


def of_own_neurons(monkeypatch):
    monkeypatch.setitem(LAYERS, "ALIF", own_recurrence(monkeypatch))
    return network("ALIF")


@pytest.mark.parametrize("name", MORE_PARTS)
def test_what_c_does_not_have_is_refused(name, tmp_path):
    steps = OneStep(network(**MORE_PARTS[name]))
    with pytest.raises(ExperimentError, match=r"not exported to C"):
        c_program.write_source(tmp_path / "net.c", steps, FACTS)
    assert not any(tmp_path.iterdir())


def test_states_in_fixed_point_are_rounded_to_even_and_cut_off():
    steps = OneStep(network("SiLIF"), fraction_bits=8)
    u, *rest = steps.initial(1)
    values = torch.tensor([[0.5, 1.5, -2.5, 2.0**15, -1e9, 3.2]]) / 2**8
    held = steps.held([values, *(value.float() for value in rest)])[0]
    assert held.dtype == u.dtype == torch.int16
    assert held.tolist() == [[0, 2, -2, INT16.max, round(max(-1e9 / 2**8, INT16.min)), 3]]
    assert steps.taken([held, *rest])[0].tolist() == [[x / 2**8 for x in held[0].tolist()]]


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_packed_numbers_come_back(bits):
    most = 2 ** (bits - 1) - 1
    whole = torch.randint(-most, most + 1, (5, 7)).float()
    packed = pack(whole, bits)
    assert packed.nbytes == (5 * 7 if bits == 8 else 5 * 4)
    assert unpack(packed, 7).equal(whole)


def test_names_in_c():
    assert [identifier(x) for x in ("my-net", "3", "Größe", "_")] == [
        *("my_net", "network_3", "gr__e", "network__"),
    ]
