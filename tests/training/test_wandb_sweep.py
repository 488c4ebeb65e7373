# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Sweeps by the real wandb client, with a stand-in server on this machine."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import wandb
import yaml
from resumption import wait_until
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

import main
from parsers.load import REPOSITORY
from training.tracking import wandb_sweep

QUICK = "import wandb.wandb_agent as agent; agent.Agent.POLL_INTERVAL = 0.05"
GRID = {"seed": [1, 2, 3], "nb_epochs": 1}


@pytest.fixture
def train(train, no_login):
    """Plain PyTorch, so that no process of these tests compiles anything."""
    return functools.partial(train, backend="naive", new_exp_folder="out")


class LocalAgent:
    """`wandb agent` with every job in this process, which has imported everything already.

    ``before`` is called with the number of each job, from 1; the agent fails when it says so.
    """

    server = None
    before = staticmethod(lambda number: False)

    def __init__(self, command, stdin, env, start_new_session):
        self.returncode = 0
        self.stdin = io.BytesIO()
        count = int(command[command.index("--count") + 1]) if "--count" in command else 99
        sweep = command[-1].split("/")[-1]
        agent = self.server.add_agent(sweep)
        for number in range(1, count + 1):
            if self.before(number):
                self.returncode = 1
                return
            (job,) = self.server.next_command(agent, {})
            if job["type"] == "exit":
                return
            self.work(job, self.server.sweeps[sweep]["config"]["command"], env, sweep)

    @staticmethod
    def work(job, command, env, sweep):
        path = f"{env['WANDB_DIR']}/wandb/sweep-{sweep}/config-{job['run_id']}.yaml"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            yaml.safe_dump(job["args"], file)
        flags = [*command[4:-1], *create_sweep_command_args(job)["args"]]
        of_a_job = {"WANDB_RUN_ID": job["run_id"], "WANDB_SWEEP_ID": sweep}
        with pytest.MonkeyPatch.context() as patched:
            for name, value in {**env, **of_a_job, "WANDB_SWEEP_PARAM_PATH": path}.items():
                patched.setenv(name, value)
            wandb.teardown()
            main.main(flags)
            wandb.teardown()

    def poll(self):
        return self.returncode

    wait = poll


@pytest.fixture
def local_agent(wandb_server, monkeypatch):
    monkeypatch.setattr(wandb_sweep, "Popen", LocalAgent)
    monkeypatch.setattr(LocalAgent, "server", wandb_server)
    return LocalAgent


def curves(server):
    """Epochs that arrived, by seed."""
    return {
        run["config"]["seed"]: [row["epoch"] for row in run["history"] if "valid acc" in row]
        for run in server.runs.values()
        if run["config"]
    }


def table_in(folder, pattern="sweep_summary.json"):
    (path,) = folder.glob(pattern)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_killed_and_interrupted_sweep_of_processes_resumes(
    train, tmp_path, wandb_server, monkeypatch, capfd
):
    """The real agent and real processes: kill -9 and Ctrl-C save the run, and --resume ends it."""
    grid = {"use_regularizers": True, "seed": [1, 2], "nb_epochs": 60}

    def preempted():
        return wandb_server.runs.get("sweep0run0", {}).get("preempted")

    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(REPOSITORY))
        program = [sys.executable, "-m", "main"]
        patched.setattr(main, "main", lambda argv: subprocess.Popen([*program, *argv]))
        program = train(**grid)
    wait_until(lambda: list(tmp_path.glob("out/*/checkpoints/last.pth")))
    program.kill()
    program.wait()
    wait_until(preempted)

    (log,) = tmp_path.glob("out/*/log/exp.log")

    def interrupt():
        wait_until(lambda: "Resuming after" in log.read_text())
        os.kill(os.getpid(), signal.SIGINT)

    quick = (sys.executable, "-c", QUICK + wandb_sweep.WANDB, *wandb_sweep.AGENT[3:])
    monkeypatch.setattr(wandb_sweep, "AGENT", quick)
    capfd.readouterr()
    threading.Thread(target=interrupt, daemon=True).start()
    assert train(resume="auto", **grid) == 128 + signal.SIGINT
    assert "--resume auto" in capfd.readouterr().err
    assert preempted()
    assert len(curves(wandb_server)[1]) < 60
    assert train(resume="auto", **grid) == 0
    assert "Resuming after" in capfd.readouterr().out
    assert curves(wandb_server) == {seed: list(range(1, 61)) for seed in (1, 2)}
    assert len(wandb_server.sweeps) == 1
    for run in wandb_server.runs.values():
        assert (run["sweep"], run["project"], run["exit"]) == ("sweep0", "SiLIF_SHD_runs", 0)
        assert run["config"]["use_regularizers"] is True
    (group,) = table_in(tmp_path / "out")["groups"]
    assert (group["seeds"], group["runs"]) == ([1, 2], "2 of 2")


def test_a_grid_becomes_a_sweep_and_one_table(train, tmp_path, wandb_server, local_agent, capsys):
    grid = {"seed": 2, "lr": [0.01, 0.02], "nb_epochs": 1, "sweep_name": "scan"}
    assert train(**grid) == 0
    ((name, sweep),) = wandb_server.sweeps.items()
    config = sweep["config"]
    assert config["metric"] == {"name": "valid acc", "goal": "maximize"}
    assert config["parameters"] == {"lr": {"values": [0.01, 0.02]}}
    assert (config["program"], config["name"]) == ("main.py", "scan")
    assert sweep["project"] == "SiLIF_SHD_runs"
    assert len(wandb_server.runs) == 2
    said = capsys.readouterr().out
    assert "test acc (%)" in said
    assert f"Sweep ID: lab/SiLIF_SHD_runs/{name}" in said
    assert f"{wandb_server.url}/lab/SiLIF_SHD_runs/sweeps/{name}" in said
    assert [group["runs"] for group in table_in(tmp_path / "out")["groups"]] == ["1 of 1"] * 2
    assert (tmp_path / "out" / "shd_20steps_SiLIF_3lay16_lr0_02_drop0_1_seed2").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_sweep_is_made_for_others_and_joined(train, tmp_path, wandb_server, local_agent, capsys):
    assert train(**GRID, only_createsweep=True) == 0
    assert "Sweep ID: lab/SiLIF_SHD_runs/sweep0" in capsys.readouterr().out
    assert not wandb_server.runs
    assert list(tmp_path.iterdir()) == []
    wandb_server.next_command(wandb_server.add_agent("sweep0"), {})  # another takes seed 1
    assert main.main(["--sweep_id", "lab/SiLIF_SHD_runs/sweep0", "--new_exp_folder", "mine"]) == 0
    assert curves(wandb_server) == {2: [1], 3: [1]}
    (group,) = table_in(tmp_path / "mine", "sweep_summary_*.json")["groups"]
    assert group["seeds"] == [2, 3]
    assert not (tmp_path / "out").exists()
    assert train(**GRID, sweep_id="sweep0") == 0
    assert "no run for this machine" in capsys.readouterr().out
    wandb_server.sweeps["sweep0"]["left"] = [{"seed": "none"}]
    assert train(**GRID, sweep_id="sweep0") == 1
    assert "--seed" in capsys.readouterr().err


def test_a_sweep_that_is_lost_is_trained_here(train, tmp_path, wandb_server, local_agent, capsys):
    """And the resumed grid, in the same sweep, has nothing left to do."""

    def lose(number):
        if number == 2:
            wandb_server.die()
        return number == 2

    local_agent.before = staticmethod(lose)
    assert train(**GRID) == 0
    (group,) = table_in(tmp_path / "out")["groups"]
    assert (group["seeds"], group["runs"]) == ([1, 2, 3], "3 of 3")
    assert "the rest of the grid is trained here" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*"))) == 2
    (rest,) = (tmp_path / "out").glob("*_seed3")
    noted = json.loads((rest / "wandb_run.json").read_text())
    assert noted["id"] not in wandb_server.sweeps["sweep0"]["given"]
    assert noted["project"] == "SiLIF_SHD_runs"
    assert train(**GRID, resume="auto") == 0
    assert capsys.readouterr().out.count("Already finished") == 3


def test_runs_of_other_agents_are_left_to_them(train, tmp_path, wandb_server, local_agent, capsys):
    def take(number):
        if number == 1:
            wandb_server.next_command(wandb_server.add_agent("sweep0"), {})

    local_agent.before = staticmethod(take)
    assert train(**GRID) == 0
    assert "1 of 3 runs were left to other agents" in capsys.readouterr().out
    (group,) = table_in(tmp_path / "out")["groups"]
    assert group["seeds"] == [2, 3]


@pytest.mark.parametrize(
    ("flags", "mode", "missing"),
    [
        ({"sweep_id": "abc"}, "", "no login"),
        ({"only_createsweep": True}, "", "no login"),
        (
            {"only_createsweep": True, "tracking": "none"},
            "",
            "--tracking or WANDB_MODE turns it off",
        ),
        ({"only_createsweep": True}, "offline", "--tracking or WANDB_MODE turns it off"),
    ],
)
def test_a_sweep_needs_a_login_and_tracking(train, capsys, monkeypatch, flags, mode, missing):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert train(**flags) == 2
    told = capsys.readouterr()
    assert f"needs a wandb server and a login: {missing}" in told.err
    assert "logging offline" not in told.out + told.err


def test_a_sweep_that_cannot_be_joined(train, wandb_server, capsys):
    assert train(sweep_id="nowhere") == 2
    assert "no such sweep" in capsys.readouterr().err
    assert train(**GRID, only_createsweep=True) == 0
    assert train(**GRID, lr=0.5, sweep_id="sweep0") == 2
    assert "was made with lr 0.01, not 0.5" in capsys.readouterr().err


def test_a_grid_goes_offline_without_a_login(train, tmp_path, capsys, monkeypatch):
    for call in ("sweep", "Api"):  # each would wait 20 s for a server
        monkeypatch.setattr(wandb, call, lambda *_, call=call, **__: pytest.fail(f"wandb.{call}"))
    assert train(seed=[1, 2], nb_epochs=1) == 0
    assert capsys.readouterr().out.count("no login") == 1
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*"))) == 2


SEARCH = """\
method: random
run_cap: 3
early_terminate: {type: hyperband, min_iter: 2}
enqueue: [{lr: 0.01}]
parameters:
  lr: {distribution: log_uniform_values, min: 0.01, max: 0.03}
  pdrop: {values: [0.1, 0.2]}
  seed: {value: 4}
"""


@pytest.fixture
def search(train, tmp_path):
    """Make the search above, or another, in the folder out."""

    def call(text=SEARCH, **options):
        (tmp_path / "search.yaml").write_text(text)
        return train(config=tmp_path / "search.yaml", seed=4, **{"nb_epochs": 1, **options})

    return call


def test_a_search_becomes_a_sweep_and_one_table(
    search, tmp_path, wandb_server, local_agent, capsys
):
    """And goes on in the same sweep where it was lost."""
    local_agent.before = staticmethod(lambda number: number == 3)
    assert search() == 1
    (sweep,) = wandb_server.sweeps.values()
    layout = {**sweep["config"]}
    assert (layout["method"], layout["run_cap"]) == ("random", 3)
    assert layout["metric"] == {"name": "valid acc", "goal": "maximize"}
    assert layout["early_terminate"] == {"type": "hyperband", "min_iter": 2}
    assert layout["parameters"] == {
        "lr": {"distribution": "log_uniform_values", "min": 0.01, "max": 0.03},
        "pdrop": {"distribution": "categorical", "values": [0.1, 0.2]},
        "seed": {"values": [4]},
    }
    assert "enqueue" not in layout
    said = capsys.readouterr().out
    assert "enqueue is left out" in said
    assert "is lost; the same command again goes on with it" in said
    local_agent.before = staticmethod(lambda number: False)
    assert search() == 0
    assert len(wandb_server.sweeps) == 1
    trials = table_in(tmp_path / "out")["trials"]
    rates = sorted(trial["values"]["lr"] for trial in trials)
    assert rates == pytest.approx([0.01, 0.02, 0.03])
    assert {trial["state"] for trial in trials} == {"complete"}
    assert len(curves(wandb_server)) == 1  # one seed
    assert "best: trial" in capsys.readouterr().out
    assert (tmp_path / "out" / "best.yaml").exists()
    assert (tmp_path / "out" / "parallel.png").exists()
    assert not (tmp_path / "out" / "journal.log").exists()


def test_a_search_is_made_for_others_and_joined(search, tmp_path, wandb_server, local_agent):
    assert search(only_createsweep=True) == 0
    (name,) = wandb_server.sweeps
    wandb_server.next_command(wandb_server.add_agent(name), {})  # another takes a trial
    assert main.main(["--sweep_id", f"lab/SiLIF_SHD_runs/{name}", "--new_exp_folder", "mine"]) == 0
    assert [trial["number"] for trial in table_in(tmp_path / "mine")["trials"]] in ([1, 2], [2, 1])


def test_what_the_server_cannot_search_is_refused(search, wandb_server, capsys):
    text = SEARCH.replace("type: hyperband", "type: median")
    for flags in ({}, {"only_createsweep": True}):
        assert search(text, **flags) == 2
        assert "knows hyperband, and no median" in capsys.readouterr().err
    assert not wandb_server.sweeps


def test_a_search_is_made_here_where_the_server_refuses_it(
    search, tmp_path, wandb_server, monkeypatch, capsys
):
    def refuse(*_, **__):
        raise ValueError("no more sweeps")

    monkeypatch.setattr(wandb, "sweep", refuse)
    assert search() == 0
    assert "wandb made no sweep (no more sweeps)" in capsys.readouterr().out
    assert (tmp_path / "out" / "journal.log").exists()
    assert len(table_in(tmp_path / "out")["trials"]) == 3


def test_a_run_that_the_server_stops_is_not_given_out_again(train, wandb_server, monkeypatch):
    """As early_terminate does; a run that is preempted is given to the next agent."""
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep0")
    monkeypatch.setenv("WANDB_RUN_ID", "sweep0run0")
    wandb_server.run("sweep0run0")["stopped"] = True
    assert train(nb_epochs=3000) == 128 + signal.SIGINT  # by wandb
    assert not wandb_server.runs["sweep0run0"].get("preempted")
