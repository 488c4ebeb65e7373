# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files for other programs: what they hold, that they run, and what the command says of them."""

import json
import re
import subprocess
import sys
from functools import partial

import pytest
import torch

from analysis.deploy import c_program, graphs
from analysis.deploy.one_step import OneStep, run_steps
from analysis.export import main
from models.linear import set_weight_bits
from models.snns import SNN
from tests.analysis.small_networks import MORE_PARTS, PARTS, clips, network

FACTS = {"network": "of a test", "classes": ["zero", "eins"]}
# Networks with every recurrence and kind of state between them, and bits of weights and states.
EXPORTED = [
    ({"neuron": "CSiLIF"}, None, None),
    ({"neuron": "BRF+RadLIF"}, 4, 11),
    (PARTS["synaptic delays"], 8, None),
    (MORE_PARTS["recurrent delays"], None, None),
]
# What another program does with a .pt2 file: nothing of this project is imported.
LOAD = """
import json, sys, torch
facts = {"sprache.json": ""}
program = torch.export.load(sys.argv[1], extra_files=facts).module()
given = torch.load(sys.argv[2], weights_only=True)
scores = []
for x in (given["x"], given["x"][:1]):
    states = [state[: len(x)] for state in given["states"]]
    for frame in x.unbind(dim=1):
        result, *states = program(frame, *states)
    scores.append(result)
torch.save(scores, sys.argv[3])
ours = ("models", "analysis", "training", "parsers", "datasets", "main")
assert not [name for name in sys.modules if name.partition(".")[0] in ours]
print(facts["sprache.json"])
"""


@pytest.fixture
def export(tmp_path, capsys):
    """Run the command; (exit status, what was printed)."""

    def call(folder, name, *flags):
        status = main([str(folder), str(tmp_path / name), *flags])
        said = capsys.readouterr()
        assert said.err.count("\n") == (status != 0)
        return status, said.err or said.out

    return call


def differing(said):
    """Spikes that differ, by layer."""
    found = re.findall(r"layer \d: ([\d,]+) spikes differ", said)
    return [int(number.replace(",", "")) for number in found]


@pytest.mark.optional
@pytest.mark.parametrize(("options", "bits", "fraction_bits"), EXPORTED)
@torch.no_grad()
def test_onnx_runtime_spikes_as_the_network(options, bits, fraction_bits, tmp_path):
    import onnx

    model = network(**options)
    steps, x = OneStep(model, bits, fraction_bits), clips()
    graphs.write_onnx(tmp_path / "net.onnx", steps, FACTS)
    held = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(held)
    assert {entry.key: entry.value for entry in held.metadata_props} == {
        "network": "of a test",
        "classes": '["zero", "eins"]',
    }
    names = [state.name for state in steps.states]
    assert [given.name for given in held.graph.input] == ["frame", *names]
    assert [y.name for y in held.graph.output] == ["scores", *(f"next_{name}" for name in names)]
    batches = {y.type.tensor_type.shape.dim[0].dim_param for y in held.graph.input}
    assert batches == {"batch"}
    set_weight_bits(model, bits)
    for rows in (x, x[:1]):
        scores, spikes = run_steps(graphs.load_onnx(tmp_path / "net.onnx"), steps, rows)
        ours = steps.run(rows) if fraction_bits else None
        if ours is None:
            activity = model.activity(rows)
            ours = activity.output, [layer.spikes for layer in activity.layers]
        torch.testing.assert_close(scores, ours[0], rtol=1e-4, atol=1e-5)
        assert all(a.equal(b) for a, b in zip(spikes, ours[1], strict=True))


@pytest.mark.optional
def test_onnx_files_hold_packed_weights(tmp_path):
    import onnx

    sizes = {}
    for bits in (8, 4):
        steps = OneStep(SNN((None, None, 140), [128, 4], "LIF").eval(), bits)
        graphs.write_onnx(tmp_path / f"{bits}.onnx", steps, FACTS)
        held = onnx.load(tmp_path / f"{bits}.onnx").graph.initializer
        sizes[bits] = {w.data_type: tuple(w.dims) for w in held if len(w.dims) == 2}
    assert sizes[8][onnx.TensorProto.INT8] == (128, 140)
    assert sizes[4][onnx.TensorProto.UINT8] == (128, 70)


@torch.no_grad()
def test_torch_loads_a_program_without_this_project(tmp_path):
    steps, x = OneStep(network("CSiLIF", delay="axonal", delay_taps=5), 4, 11), clips()
    graphs.write_torch(tmp_path / "net.pt2", steps, FACTS)
    torch.save({"x": x, "states": steps.initial(len(x))}, tmp_path / "given.pt")
    (tmp_path / "load.py").write_text(LOAD)
    command = [sys.executable, "load.py", "net.pt2", "given.pt", "scores.pt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == FACTS
    for scores, rows in zip(torch.load(tmp_path / "scores.pt"), (x, x[:1]), strict=True):
        assert scores.equal(steps.run(rows)[0])
    loaded = partial(run_steps, graphs.load_torch(tmp_path / "net.pt2"), steps)
    assert all(a.equal(b) for a, b in zip(loaded(x)[1], steps.run(x)[1], strict=True))


@pytest.mark.optional
def test_the_command_writes_onnx_and_measures_it(make_run, export, tmp_path):
    status, said = export(make_run(model_type="SiLIF"), "net.onnx", "--weight_bits", "8")
    assert status == 0
    assert differing(said) == [0, 0]
    assert "weights: 8 bits, a factor for each neuron" in said
    assert "on 23 test clips" in said
    assert "the network in double precision differs in" in said
    assert "starts from zero states" in said


def test_the_command_writes_a_program_and_measures_it(make_run, export, tmp_path):
    run = make_run(model_type="SiLIF")
    status, said = export(run, "net.pt2", "--clips", "3")
    assert status == 0
    assert differing(said) == [0, 0]
    assert "on 3 test clips" in said
    before = (tmp_path / "net.pt2").read_bytes()
    status, line = export(run, "net.pt2")
    assert (status, "exists already" in line) == (2, True)
    assert (tmp_path / "net.pt2").read_bytes() == before


@pytest.mark.skipif(c_program.compiler() is None, reason="needs a C compiler")
def test_the_command_writes_c_and_measures_it(make_run, export, tmp_path, monkeypatch):
    run = make_run(model_type="SiLIF")
    status, said = export(run, "net.c")
    assert status == 0
    assert differing(said) == [0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"net.c", "net.h"}
    status, line = export(run, "net.h", "--fraction_bits", "11")
    assert (status, "net.h exists already" in line) == (2, True)
    status, said = export(run, "net.h", "--fraction_bits", "11", "--overwrite")
    assert status == 0
    assert "compared with the same step in PyTorch" in said
    assert differing(said) == [0, 0]
    monkeypatch.setenv("CC", "no-such-compiler")
    status, said = export(run, "net.h", "--overwrite")
    assert status == 0
    assert "the code was not compared" in said


def test_a_network_trained_with_few_bits_is_exported_with_them(make_run, export, tmp_path):
    run = make_run(model_type="SiLIF", weight_bits=4)
    status, said = export(run, "net.c")
    assert status == 0
    assert "weights: 4 bits" in said
    assert "uint8_t net_layer1_weight" in (tmp_path / "net.c").read_text()
    assert differing(said) in ([], [0, 0])


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ({"model_type": "GRU"}, "net.c", "only networks of spiking neurons"),
        ({"model_type": "CSiLIF", "bidirectional": True}, "net.pt2", "runs forward in time"),
        ({"model_type": "RadLIF", "normalization": "layernorm"}, "net.h", "layer normalisation"),
        ({"model_type": "SiLIF"}, "net.txt", "must end in one of"),
    ],
)
def test_what_cannot_be_exported_is_refused(make_run, export, tmp_path, options, name, reason):
    status, line = export(make_run(**options), name)
    assert status == 2
    assert reason in line
    assert not any(tmp_path.iterdir())
