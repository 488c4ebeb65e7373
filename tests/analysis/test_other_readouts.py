# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Networks with other readouts and mixed layers are analysed, or refused in one line."""

import importlib.util
import json

import pytest
from test_neurobench import bench  # noqa: F401

from analysis.nir_graph import check_exportable
from analysis.report import page
from analysis.report.__main__ import main
from models.snns import SNN
from training.errors import ExperimentError

RUNS = {
    "spikes": {"model_type": "RadLIF+SiLIF", "readout": "spike_count"},
    "potentials": {"model_type": "CSiLIF+RadLIF", "readout": "last", "loss": "last_potential"},
    "no spikes": {"model_type": "RNN", "readout": "mean"},
}


@pytest.mark.parametrize("case", RUNS)
def test_reports(case, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "as_png", lambda figure: b"no picture")
    folder = make_run(**RUNS[case])
    assert main([str(folder), "--output", str(tmp_path / "page")]) == 0
    together = json.loads((tmp_path / "page" / "report.json").read_text())["operations"][-1]
    test = json.loads((folder / "summary.json").read_text())["test"]
    if case != "no spikes":
        for name in ("sop", "recurrent_sop"):
            assert together[name] == pytest.approx(test[name], rel=1e-5)


def test_exports_are_of_the_published_readout_and_one_recurrence():
    for options, message in (
        ({"readout": "spike_count"}, "only networks with --readout softmax_sum"),
        ({"readout": "last"}, "only networks with --readout softmax_sum"),
        ({"neuron_type": "LIF+CSiLIF"}, r"LIF\+CSiLIF cannot be exported: its potential is"),
    ):
        with pytest.raises(ExperimentError, match=message):
            check_exportable(SNN((None, None, 5), [4, 4, 3], **options))


@pytest.mark.skipif(
    importlib.util.find_spec("neurobench") is None, reason="needs requirements-analysis.txt"
)
def test_neurobench_does_not_take_output_spikes_for_hidden_ones(make_run, bench):  # noqa: F811
    status, _, said = bench(make_run(**RUNS["spikes"]))
    assert status == 2
    assert "counts the spikes of its output neurons" in said
