# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Networks of shipped configs, and what would spoil a training, reported in time."""

import contextlib
import types
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from datasets.audio_set import AudioSet
from datasets.frames import FrameSet
from datasets.interface import Data
from models.snns import SNN
from parsers.load import Config, load_plan
from training import build
from training.build import build_model
from training.errors import ExperimentError
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
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def recordings(lengths):
    clips = len(lengths)
    train = AudioSet(
        features=torch.zeros(1, 40),
        lengths=torch.tensor(lengths),
        labels=torch.zeros(clips, dtype=torch.int64),
        files=[f"up/{i}.wav" for i in range(clips)],
        sample_rate=16000,
    )
    return Data(train=train, nb_features=40, classes=["no", "yes"], validation="")


def test_delays_follow_from_the_time_step_of_the_data():
    options = {"delay": "axonal", "delay_layers": "1+3", "max_delay_ms": 300, "nb_steps": 100}
    config = Config.from_dict({"dataset_name": "shd", "max_time": 1.4} | options)
    layers = build_model(config, 140, 20).snn
    assert [getattr(layer.delay, "taps", None) for layer in layers] == [21, None, 21]
    config = Config.from_dict({"dataset_name": "sc"} | options)
    assert build_model(config, 40, 35).snn[0].delay.taps == 31
    config = Config.from_dict({"dataset_name": "shd"} | options | {"max_delay_ms": 19})
    with pytest.raises(ExperimentError, match="19 ms are less than two time steps of 10 ms"):
        build.check_options(config, CPU)


def test_weights_and_running_means_as_published_with_delays():
    config = {"dataset_name": "shd", "bn_momentum": 0.1, "weight_init": "kaiming"}
    model = build_model(Config.from_dict(config), 140, 20)
    assert {layer.norm.momentum for layer in model.snn} == {0.1}
    for layer in model.snn:
        bound = (6 / layer.W.in_features) ** 0.5
        assert 0.95 * bound < layer.W.weight.abs().max() <= bound


def test_clips_that_fit_no_memory_are_refused(monkeypatch):
    config = Config.from_dict({"dataset_name": "sc", "nb_hiddens": 500, "batch_size": 128})
    data = recordings([98] * 99 + [50_000])
    monkeypatch.setattr(build, "_memory", lambda: 24e9)
    with pytest.raises(ExperimentError) as error:  # 4 B * 100 clips * 50,000 * (40 + 3 * 1000)
        build.check_batches(config, data, CPU)
    assert str(error.value) == (
        "a training step on 100 clips of 50,000 time steps needs more than 61 GB, where a "
        "program here may use 24 GB: choose a smaller --batch_size or --nb_hiddens, or leave out "
        "up/99.wav, the longest clip"
    )
    build.check_batches(config, data, GPU)  # CUDA says so itself
    build.check_batches(config, recordings([98] * 100), CPU)
    monkeypatch.setattr(build, "_memory", lambda: 1e9)
    counts, labels = torch.empty(1, 10_000, 140).expand(1000, -1, -1), torch.zeros(1000)
    spikes = Data(train=FrameSet(counts, labels, 1e-4), nb_features=140, classes=[], validation="")
    long = Config.from_dict({"dataset_name": "shd", "nb_steps": 10_000})
    with pytest.raises(
        ExperimentError, match=r"on 128 clips of 10,000 .*: choose a smaller --batc"
    ):
        build.check_batches(long, spikes, CPU)


def test_the_memory_of_this_machine_is_known():
    assert 1e8 < build._memory() < 1e15


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        (["0::/job/step"], {"job/memory.max": "3000", "job/step/memory.max": "max"}, [3000]),
        (["0::/"], {"memory.max": "5000"}, [5000]),
        (["0::/"], {}, []),
        (["0::/../elsewhere"], {}, []),
        (
            ["4:cpu,memory:/slurm/job_7", "0::/"],
            {"memory/slurm/job_7/memory.limit_in_bytes": "7000"},
            [7000],
        ),
        (["4:memory:/not/seen/from/here"], {"memory/memory.limit_in_bytes": "9000"}, [9000]),
        (["1:cpu:/a"], {"memory.max": "1"}, []),
    ],
)
def test_limits_of_batch_systems_and_containers(groups, files, limits, tmp_path):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("".join(f"{group}\n" for group in groups))
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert list(build._limits_of_groups(tmp_path)) == limits
    assert list(build._limits_of_groups(tmp_path / "no linux")) == []


def spiking_by(spike):
    """A network of which the hidden layers make spikes by ``spike`` of the potential."""
    net = SNN((None, None, 8), [16, 16, 3], "SiLIF", threshold=0.3)

    def dynamics(self, current, state, fold=None):
        return spike(current), state

    for layer in net.hidden_layers:
        layer.dynamics = types.MethodType(dynamics, layer)
    return net


def with_an_unused_parameter():
    net = SNN((None, None, 8), [16, 3], "LIF")
    net.snn[0].unused = torch.nn.Parameter(torch.ones(16))
    return net


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: spiking_by(lambda u: (u > 0.3).float()), r"'snn\.0\.\w+' and 15 more cannot .*"),
        (with_an_unused_parameter, r"'snn\.0\.unused' cannot .*the neuron does not use it.*"),
        (lambda: SNN((None, None, 8), [16, 16, 3], "RadLIF", bidirectional=True), None),
    ],
)
def test_parameters_that_cannot_learn_are_refused(network, message):
    net = network()
    functional.cross_entropy(net(torch.rand(4, 10, 8))[0], torch.tensor([0, 1, 2, 0])).backward()
    refused = pytest.raises(ExperimentError, match=message) if message else contextlib.nullcontext()
    with refused:
        build.refuse_unreached(net)


def epochs(*pairs):
    return [
        {"split": split, "accuracy": accuracy, "samples": samples}
        for pair in pairs
        for split, accuracy, samples in zip(("train", "valid"), pair, (200, 24), strict=True)
    ]


@pytest.mark.parametrize(
    ("pairs", "statistics", "said"),
    [
        ([(0.5, 0.2), (0.8, 0.1), (0.9, 0.22)], "running", "--bn_statistics recalibrated"),
        ([(0.5, 0.2), (0.8, 0.1), (0.9, 0.22)], "recalibrated", "other speakers"),
        ([(0.2, 0.6), (0.5, 0.2), (0.8, 0.1), (0.9, 0.2)], "running", "chance (20.0%)"),
        ([(0.32, 0.1), (0.4, 0.1), (0.4, 0.07)], "running", "chance (7.0%)"),
        ([(0.5, 0.2), (0.8, 0.1)], "running", None),  # too early to tell
        ([(0.5, 0.2), (0.8, 0.1), (0.9, 0.2), (0.9, 0.2)], "running", None),  # said before
        ([(0.2, 0.2), (0.2, 0.1), (0.2, 0.2)], "running", None),  # training learns nothing either
        ([(0.5, 0.2), (0.8, 0.1), (0.9, 0.6)], "running", None),
    ],
)
def test_validation_that_stays_at_chance_is_explained(pairs, statistics, said, monkeypatch):
    lines = []
    monkeypatch.setattr(build.log, "warning", lambda text, *values: lines.append(text % values))
    build.warn_of_chance(epochs(*pairs), torch.arange(24) % 6, statistics)
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


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
