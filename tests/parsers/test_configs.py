# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

from pathlib import Path

import pytest
import torch
import yaml

from parsers.load import REPOSITORY, load_plan
from parsers.model_config import SNN_TYPES, SSM_TYPES
from parsers.training_config import SPIKING_DATASETS
from training.build import build_model, build_optimizer, build_scheduler, check_options
from training.metrics import count_parameters

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
FIVE_SEEDS = (13, 42, 73, 190, 268)
TEN_SEEDS = (9, 15, 17, 25, 27, 29, 33, 42, 73, 268)
FOLDERS = {"shd": "SHD", "ssc": "SSC", "sc": "GSC"}
REFERENCES = {
    "ssc_silif_4ms": "ref_SSC_SiLIF",
    "ssc_csilif_4ms": "ref_SSC_CSiLIF",
    "ssc_cadlif_4ms": "ref_SSC_CadLIF",
    "ssc_rf": "ref_SSC_RF",
}
DEFAULTS = {
    "nb_layers": 3,
    "nb_hiddens": 512,
    "normalization": "batchnorm",
    "use_bias": False,
    "bidirectional": False,
    "dt_min": 0.01,
    "dt_max": 0.5,
    "nb_epochs": 100,
    "scheduler_patience": 10,
    "scheduler_factor": 0.7,
    "use_regularizers": False,
    "use_augm": False,
    "shd_validation": "auto",
}
SHD = {"dataset_name": "shd", "batch_size": 128, "nb_steps": 250, "max_time": 1.0, "spatial_bin": 5}
SSC_4MS = {"dataset_name": "ssc", "batch_size": 256, "nb_steps": 300, "max_time": 1.2}
SSC_10MS = {"dataset_name": "ssc", "batch_size": 256, "nb_steps": 100, "max_time": 1.0}
SC = {"dataset_name": "sc", "batch_size": 32, "scheduler_patience": 5}


def network(data, model_type, lr, pdrop, **others):
    return {**DEFAULTS, **data, "model_type": model_type, "lr": lr, "pdrop": pdrop, **others}


DCLS = {"model_type": "LIFNode", "nb_hiddens": 256, "delay": "axonal", "lr": 0.001}
DCLS |= {"scheduler": "onecycle", "max_lr": 0.005, "weight_decay": 1e-5, "batch_size": 256}
DCLS |= {"delay_lr_factor": 100, "delay_scheduler": "cosine"}
DELREC = {"model_type": "LIFNode", "nb_hiddens": 256, "recurrent_delay": "axonal", "use_bias": True}
DELREC |= {"scheduler": "onecycle", "weight_decay": 1e-5, "recurrent_sigma": 10}
SEADLIF = {"model_type": "SEadLIF", "batch_size": 256, "pdrop": 0.15, "max_grad_norm": 1.5}

PUBLISHED = {
    "shd_adlif": network(SHD, "adLIF", 0.05, 0.25),
    "shd_cadlif": network(SHD, "CadLIF", 0.005, 0.25),
    "shd_silif": network(SHD, "SiLIF", 0.001, 0.25, scheduler_patience=5),
    "shd_csilif": network(SHD, "CSiLIF", 0.005, 0.1, scheduler_factor=0.9),
    "shd_csilif_128": network(SHD, "CSiLIF", 0.005, 0.1, scheduler_factor=0.9, nb_hiddens=128),
    "ssc_silif_4ms": network(SSC_4MS, "SiLIF", 0.01, 0.5),
    "ssc_csilif_4ms": network(SSC_4MS, "CSiLIF", 0.01, 0.5, dt_max=5.0),
    "ssc_cadlif_4ms": network(SSC_4MS, "CadLIF", 0.01, 0.5),
    "ssc_rf": network(SSC_4MS, "ResonateFire", 0.01, 0.25),
    "ssc_silif_10ms": network(SSC_10MS, "SiLIF", 0.01, 0.5),
    "ssc_csilif_10ms": network(SSC_10MS, "CSiLIF", 0.005, 0.5, dt_max=5.0),
    "shd_lif_axonal": DCLS | {"tau": 1.005, "pdrop": 0.4, "max_delay_ms": 250, "nb_epochs": 150},
    "ssc_lif_axonal": DCLS
    | {"dataset_name": "ssc", "nb_layers": 4, "nb_hiddens": 512, "tau": 1.5, "pdrop": 0.25}
    | {"max_delay_ms": 300, "batch_size": 128, "nb_epochs": 60},
    "shd_lif_delrec": DELREC
    | {"reset": "hard", "recurrent_delay_init": "uniform", "recurrent_dropout": 0.2}
    | {"optimizer": "adamw", "lr": 0.005, "max_lr": 0.005, "delay_lr_factor": 10, "nb_epochs": 150},
    "ssc_lif_delrec": DELREC
    | {"reset": "soft", "recurrent_delay_init": "normal", "recurrent_dropout": 0.3}
    | {"optimizer": "adam", "lr": 0.001, "max_lr": 0.001, "delay_lr_factor": 50, "nb_epochs": 100}
    | {"nb_steps": 250, "max_time": 1.4, "delay_scheduler": "onecycle", "normalization": "none"},
    "shd_seadlif": SEADLIF | {"nb_hiddens": 360, "lr": 0.01, "nb_epochs": 300},
    "ssc_seadlif": SEADLIF | {"nb_hiddens": 720, "lr": 0.006, "nb_epochs": 40, "readout": "mean"},
    "shd_brf": {"nb_layers": 2, "nb_hiddens": 128, "spatial_bin": 1, "nb_steps": 250, "lr": 0.075}
    | {"scheduler": "linear", "batch_size": 32, "nb_epochs": 20, "loss": "nll_steps"},
    "sc_silif": network(SC, "SiLIF", 0.001, 0.5),
    "sc_silif_1024": network(SC, "SiLIF", 0.001, 0.5, nb_hiddens=1024),
    "sc_s4d": network(
        SC, "S4D", 0.005, 0.2, nb_layers=7, nb_hiddens=128, dt_min=0.001, dt_max=0.1, s4_opt=True
    ),
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_carries_its_licence(path):
    plan = load_plan(["--config", path.name])
    assert plan.config_file == path
    assert set(plan.axes) == (set() if plan.search else {"seed"})
    training, data = plan.points[0].training, FOLDERS.get(path.stem.split("_")[0])
    assert training.data_folder == (data and REPOSITORY / "data" / data)
    if path.stem in REFERENCES:
        model = REPOSITORY / "reference_models" / REFERENCES[path.stem]
        assert training.load_exp_folder == model
    assert path.read_text().startswith("# SPDX-FileCopyrightText: 2026 The Sprache authors\n")


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_published_values(name, published):
    plan = load_plan([f"--config={name}.yaml"])
    values = plan.points[0].to_dict()
    assert {key: values[key] for key in published} == published
    assert plan.axes == {"seed": TEN_SEEDS if "shd_csilif" in name else FIVE_SEEDS}


PARAMETERS = {  # as published
    "ssc_lif_axonal": 618_636,
    "shd_lif_delrec": 173_844,
    "ssc_lif_delrec": 374_819,
    "shd_seadlif": 450_020,
    "ssc_seadlif": 1_688_435,
    "shd_brf": 108_820,
    "sc_s4d": 310_691 - 1_536,  # that nothing uses
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_describes_a_network_that_can_be_trained(path):
    config = load_plan(["--config", path.name, "--debug"]).points[0]
    options = config.training
    spikes = options.dataset_name in SPIKING_DATASETS
    features = 700 // options.spatial_bin if spikes else 40
    with torch.device("meta"):
        model = build_model(config, features, 20 if "shd" in path.stem else 35)
        optimizer = build_optimizer(model, options)
    build_scheduler(optimizer, options, model)
    check_options(config, torch.device("cpu"))
    written = yaml.safe_load(path.read_text()).keys()
    assert not written & config.without_effect().keys()
    if path.stem in PARAMETERS:
        assert count_parameters(model) == PARAMETERS[path.stem]


def test_every_neuron_and_state_space_model_has_an_shd_config():
    names = [path.name for path in CONFIGS if path.stem.startswith("shd_")]
    models = {load_plan([f"--config={name}"]).points[0].model.model_type for name in names}
    assert models == {*SNN_TYPES, *SSM_TYPES}


@pytest.mark.parametrize("where", [".", "configs", "/"])
def test_shipped_configs_are_found_from_any_folder(where, monkeypatch):
    expected = load_plan(["--config", str(REPOSITORY / "configs" / "ssc_silif_4ms.yaml")])
    monkeypatch.chdir(Path(REPOSITORY, where))
    assert load_plan(["--config", "ssc_silif_4ms.yaml"]) == expected
    assert load_plan(["--config", "ssc_silif_4ms"]) == expected
