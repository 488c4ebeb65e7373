# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every shipped config names a network that can be built, of the published size."""

from pathlib import Path

import pytest
import torch

from parsers.load import load_plan
from training.build import build_model
from training.metrics import count_parameters

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
INPUTS = {"shd": (140, 20), "ssc": (140, 35), "sc": (40, 35), "demo": (140, 20)}
PUBLISHED_PARAMETERS = {
    "ssc_silif_4ms": 359_017,
    "ssc_silif_10ms": 359_017,
    "ssc_csilif_4ms": 357_993,
    "ssc_csilif_10ms": 357_993,
    "ssc_cadlif_4ms": 357_993,
    "ssc_rf": 355_945,
    "shd_csilif": 350_268,
    "shd_csilif_128": 38_460,
    "sc_silif": 307_817,
    "sc_silif_1024": 1_139_817,
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_its_network(path):
    point = load_plan(["--config", str(path)]).points[0]
    features, classes = INPUTS[point.training.dataset_name]
    model = build_model(point, features, classes)
    parameters = count_parameters(model)
    assert parameters == PUBLISHED_PARAMETERS.get(path.stem, parameters)
    model.eval()
    scores = model(torch.ones(2, 5, features))[0]
    assert scores.shape == (2, classes)
    assert scores.isfinite().all()


def test_all_published_sizes_belong_to_a_config():
    assert set(PUBLISHED_PARAMETERS) <= {path.stem for path in CONFIGS}
