# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Sweeps by the real wandb client and its agents, with a stand-in server on this machine."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from wandb.agents.pyagent import Agent as WandbAgent

from parsers.load import load_plan
from training.experiment import Experiment
from training.tracking import agent as wandb_agent
from training.tracking.sweep import describe

REPO = Path(__file__).resolve().parents[2]
SEEDS = [1, 2, 3, 4, 5]


@pytest.fixture(autouse=True)
def quick_agents(no_login, monkeypatch):
    monkeypatch.setattr(WandbAgent, "HEARTBEAT_SLEEP_SECONDS", 0.05)
    monkeypatch.setattr(wandb_agent, "PATIENCE", 1.0)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "2")


@pytest.fixture
def train(train):
    """Plain PyTorch, so that no process of these tests compiles anything."""
    return functools.partial(train, backend="naive")


def curves(server):
    """Epochs that arrived, by seed."""
    return {
        run["config"]["seed"]: [row["epoch"] for row in run["history"] if "valid acc" in row]
        for run in server.runs.values()
    }


def test_the_command_names_no_value_of_the_grid():
    """A flag that is given twice is refused, and the agent adds those of the grid."""
    for seeds in (["3"], ["3", "4"]):
        sweep = describe(load_plan(["--dataset_name", "demo", "--seed", *seeds]))
        assert sweep["parameters"] == {"seed": {"values": [int(x) for x in seeds]}}
        assert sweep["command"][3:] == ["--dataset_name=demo", "${args}"]


def test_five_seeds_end_in_five_runs_and_one_table(train, tmp_path, wandb_server, capsys):
    assert train(new_exp_folder="out", seed=SEEDS, sweep_name="five") == 0
    assert curves(wandb_server) == {seed: [1, 2] for seed in SEEDS}
    ((name, sweep),) = wandb_server.sweeps.items()
    assert sweep["config"]["metric"] == {"name": "valid acc", "goal": "maximize"}
    assert sweep["config"]["parameters"] == {"seed": {"values": SEEDS}}
    assert (sweep["config"]["program"], sweep["config"]["name"]) == ("main.py", "five")
    assert sweep["project"] == "SiLIF_SHD_runs"
    for run in wandb_server.runs.values():
        assert (run["sweep"], run["project"], run["exit"]) == (name, "SiLIF_SHD_runs", 0)
        assert run["config"]["nb_hiddens"] == 16
    table = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert table["groups"][0]["seeds"] == SEEDS
    said = capsys.readouterr().out
    assert "test acc (%)" in said
    assert f"Sweep ID: lab/SiLIF_SHD_runs/{name}" in said
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert {f"shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_seed{seed}" for seed in SEEDS} <= folders
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_an_axis_of_the_config_is_an_axis_of_the_sweep(train, tmp_path, wandb_server):
    assert train(new_exp_folder="out", seed=[1, 2], dt_max=[0.3, 0.5], nb_epochs=1) == 0
    (sweep,) = wandb_server.sweeps.values()
    assert sweep["config"]["parameters"] == {
        "dt_max": {"values": [0.3, 0.5]},
        "seed": {"values": [1, 2]},
    }
    assert (tmp_path / "out" / "shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_dt_max0_3_seed2").is_dir()
    table = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert [group["runs"] for group in table["groups"]] == ["2 of 2", "2 of 2"]


def test_a_sweep_can_be_made_for_others(train, tmp_path, wandb_server, capsys):
    assert train(new_exp_folder="out", seed=SEEDS, only_createsweep=True) == 0
    assert "Sweep ID: lab/SiLIF_SHD_runs/sweep0" in capsys.readouterr().out
    assert len(wandb_server.sweeps["sweep0"]["left"]) == 5
    assert not wandb_server.runs
    assert list(tmp_path.iterdir()) == []


def environment(**more):
    """That of another process, which does not talk to the wandb service of this one."""
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return kept | {"PYTHONPATH": str(REPO)} | more


def sprache(*flags, cwd):
    """The program in a process of its own."""
    code = (
        "import sys, wandb.agents.pyagent as p; p.Agent.HEARTBEAT_SLEEP_SECONDS = 0.05; "
        "import main; sys.exit(main.main())"
    )
    command = [sys.executable, "-c", code, *map(str, flags)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_agents_share_a_sweep(train, tmp_path, wandb_server, capsys):
    assert train(new_exp_folder="out", seed=SEEDS, only_createsweep=True) == 0
    other = sprache("--sweep_id", "sweep0", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not wandb_server.agents and other.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert train(new_exp_folder="out", seed=SEEDS, sweep_id="lab/SiLIF_SHD_runs/sweep0") == 0
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 0, said
    assert curves(wandb_server) == {seed: [1, 2] for seed in SEEDS}
    agents = {given["agent"] for given in wandb_server.sweeps["sweep0"]["given"].values()}
    assert len(agents) == 2
    tables = list((tmp_path / "out").glob("sweep_summary_*.json"))
    runs = [run for table in tables for run in json.loads(table.read_text())["runs"]]
    assert sorted(run["values"]["seed"] for run in runs) == SEEDS


def test_the_agent_of_the_command_line_makes_the_same_runs(train, tmp_path, wandb_server):
    options = {"seed": [1, 2], "use_regularizers": [True, False], "nb_epochs": 1}
    assert train(new_exp_folder="out", only_createsweep=True, **options) == 0
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # for the python it calls
    agent = subprocess.run(
        [sys.executable, "-m", "wandb", "agent", "--count", "1", "lab/SiLIF_SHD_runs/sweep0"],
        cwd=REPO,
        env=environment(PATH=search, WANDB_DIR=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert agent.returncode == 0, agent.stderr
    (run,) = wandb_server.runs.values()
    assert run["sweep"] == "sweep0"
    assert (run["config"]["use_regularizers"], run["config"]["seed"]) == (True, 1)
    assert [row["epoch"] for row in run["history"] if "valid acc" in row] == [1]
    name = "shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_use_regularizersTrue_seed1"
    assert (tmp_path / "out" / name / "summary.json").exists()


def test_a_server_that_dies_in_a_sweep_loses_no_run(
    train, tmp_path, wandb_server, monkeypatch, capsys
):
    validate = Experiment.validate

    def die(self, label):
        if self.options.seed == 2 and label.startswith("epoch 1/"):
            wandb_server.die()
        return validate(self, label)

    monkeypatch.setattr(Experiment, "validate", die)
    assert train(new_exp_folder="out", seed=[1, 2, 3]) == 0
    table = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert table["groups"][0]["seeds"] == [1, 2, 3]
    assert table["groups"][0]["runs"] == "3 of 3"
    assert "the rest of the grid is trained here" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*"))) == 1
    (rest,) = (tmp_path / "out").glob("*_seed3")
    noted = json.loads((rest / "wandb_run.json").read_text())
    assert noted["id"] not in wandb_server.sweeps["sweep0"]["given"]
    assert noted["project"] == "SiLIF_SHD_runs"


def test_a_stop_from_the_page_saves_the_run_and_the_next_goes_on(
    train, tmp_path, wandb_server, monkeypatch
):
    validate = Experiment.validate

    def stop(self, label):
        if self.options.seed == 2 and label.startswith("epoch 1/"):
            (run,) = [
                n
                for n, g in wandb_server.sweeps["sweep0"]["given"].items()
                if g["point"]["seed"] == 2
            ]
            wandb_server.stopping.append(run)
            while self.stop.signum is None:
                time.sleep(0.01)
        return validate(self, label)

    monkeypatch.setattr(Experiment, "validate", stop)
    assert train(new_exp_folder="out", seed=[1, 2, 3]) == 1
    table = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert table["groups"][0]["runs"] == "2 of 3"
    (stopped,) = [run for run in table["runs"] if "error" in run]
    assert "page of the sweep" in stopped["error"]
    assert (Path(stopped["folder"]) / "checkpoints" / "last.pth").exists()


def test_ctrl_c_saves_the_run_and_resume_ends_the_sweep(
    train, tmp_path, wandb_server, monkeypatch, capsys
):
    step = Experiment.train_step

    def interrupt(self, *args):
        step(self, *args)
        if self.options.seed == 2 and self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Experiment, "train_step", interrupt)
        assert train(new_exp_folder="out", seed=[1, 2, 3]) == 128 + signal.SIGINT
    assert "--resume auto" in capsys.readouterr().err
    assert wandb_server.runs["sweep0run1"]["preempted"]
    assert train(new_exp_folder="out", seed=[1, 2, 3], resume="auto") == 0
    assert "Run sweep0run1 of the sweep" in capsys.readouterr().out
    assert len(wandb_server.sweeps) == 1
    assert curves(wandb_server) == {seed: [1, 2] for seed in (1, 2, 3)}
    table = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert table["groups"][0]["seeds"] == [1, 2, 3]


@pytest.mark.parametrize("flags", [{"sweep_id": "abc"}, {"only_createsweep": True}])
def test_a_sweep_needs_a_login(train, no_login, capsys, flags):
    assert train(new_exp_folder="out", **flags) == 2
    told = capsys.readouterr()
    assert "needs a wandb server and a login: no login" in told.err
    assert "offline" not in told.out + told.err


@pytest.mark.parametrize(
    ("tracking", "mode"),
    [("none", ""), ("offline", ""), ("auto", "offline"), ("wandb", "disabled")],
)
def test_a_sweep_needs_tracking(train, wandb_server, capsys, monkeypatch, tracking, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert train(new_exp_folder="out", only_createsweep=True, tracking=tracking) == 2
    assert "--tracking or WANDB_MODE turns it off" in capsys.readouterr().err
    assert not wandb_server.sweeps


def test_a_sweep_that_is_not_there(train, wandb_server, capsys):
    assert train(new_exp_folder="out", sweep_id="nowhere") == 2
    assert "no such sweep" in capsys.readouterr().err


def test_other_options_than_the_sweeps_are_refused(train, wandb_server, capsys):
    assert train(new_exp_folder="out", seed=SEEDS, only_createsweep=True) == 0
    assert train(new_exp_folder="out", seed=SEEDS, lr=0.5, sweep_id="sweep0") == 2
    assert "was made with lr 0.01, not 0.5" in capsys.readouterr().err


def test_one_run_is_no_sweep(train, wandb_server):
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    assert not wandb_server.sweeps
    assert len(wandb_server.runs) == 1


def test_a_grid_goes_offline_without_a_login(train, tmp_path, no_login, capsys, monkeypatch):
    for call in ("sweep", "agent", "Api"):  # each would wait for a server
        monkeypatch.setattr(wandb, call, lambda *_, call=call, **__: pytest.fail(f"wandb.{call}"))
    begin = time.monotonic()
    assert train(new_exp_folder="out", seed=[1, 2], nb_epochs=1) == 0
    assert time.monotonic() - begin < 40  # a server that is asked in vain takes 20 s a call
    assert capsys.readouterr().out.count("no login") == 1
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*"))) == 2
