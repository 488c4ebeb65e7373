# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A grid on a real SLURM of one node: interrupted tasks resume, and the table comes at the end."""

import functools
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from resumption import SMALL, last_weights, wait_until

from tests.command_line import arguments
from training.record import checkpoint
from training.search.folder import searched_in
from training.search.study import Trials

REPO = Path(__file__).resolve().parents[2]
SUBMIT = REPO / "scripts" / "slurm_sweep.sh"
OPTIONS = {**SMALL, "batch_size": 8, "nb_epochs": 10, "checkpoint_minutes": 60}
MODEST = ["--gres=none", "--cpus-per-task=1", "--mem=300M"]


PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,defer_batch=0
KillWait=30
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """What keeps SLURM from being started here; None if nothing does."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"SLURM is not installed (no {missing[0]})"
    return None if os.geteuid() == 0 else "SLURM can be started by root only"


@pytest.fixture
def slurm():
    """The environment of a SLURM that runs for this test, in a folder with a short name."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    try:
        with slurm_node(folder) as environment:
            yield {**environment, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    finally:
        for path in sorted([*folder.glob("*.log"), *folder.glob("*.out")]):
            print(f"{path.name}: {path.read_text(errors='replace')[-3000:]}")  # if the test fails
        shutil.rmtree(folder)


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd, and end them; the environment for sbatch and the like."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, config, socket_file = (folder / n for n in ("munge.key", "slurm.conf", "munge.socket"))
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    host, ports = platform.node().split(".")[0], free_ports(2)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 64
    text = CONFIG.format(folder=folder, host=host, ports=ports, cpus=os.cpu_count(), memory=memory)
    config.write_text(text)
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    with ExitStack() as daemons:

        def start(*command):
            """Start a daemon in the foreground of a process of ours, and see to its end."""
            output = daemons.enter_context((folder / f"{command[0]}.out").open("w"))
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],  # none outlives tests that are killed
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            daemons.callback(end, process)

        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        start("munged", "--foreground", "--force", f"--socket={socket_file}", *files)
        wait_until(socket_file.exists, 60)
        for name in ("slurmctld", "slurmd"):
            start(name, "-D", "-f", str(config))
        answer = functools.partial(subprocess.run, env=environment, capture_output=True)
        state = ["sinfo", "--noheader", "--format=%T"]
        wait_until(lambda: answer(state).stdout.strip() == b"idle", 120)
        try:
            yield environment
        finally:  # what a failed test left in the queue would outlive the daemons
            answer(["scancel", "--user=root"])
            wait_until(lambda: not answer(["squeue", "--noheader"]).stdout.strip(), 60)


def end(process: subprocess.Popen) -> None:
    """End a daemon, by force if it takes its time."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens to at the moment."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """Commands of SLURM in the test's folder."""

    def __init__(self, environment, folder):
        self.environment, self.folder = environment, folder

    def __call__(self, *command):
        words = [str(part) for part in command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(words, env=self.environment, cwd=self.folder, **pipes)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def state(self, job):
        """State and reason of a job in the queue, '' of one that is over."""
        jobs = self("squeue", "--noheader", "--array", "--format=%i %T %r").splitlines()
        return next((line.partition(" ")[2] for line in jobs if line.split()[0] == job), "")

    def start_now(self, task):
        """Start a task that was queued again, which would wait two minutes."""
        # A node that killed a task launches it again with credentials of a later second only.
        second = int(time.time())
        wait_until(lambda: int(time.time()) > second)
        self("scontrol", "update", f"JobId={task}", "StartTime=now")


def write_config(folder, grid, spikes_folder):
    path = folder / "tiny.yaml"
    lines = [f"{name}: {value}\n" for name, value in grid.items()]
    path.write_text("".join([*lines, f"data_folder: {spikes_folder}\n"]))
    return path


def jobs_of(said):
    """The numbers of the array job and of the last job."""
    return said.split()[2].rstrip(":"), said.split("then job ")[1].split()[0]


@pytest.mark.slow
def test_an_array_with_interruptions(slurm, spikes_folder, train, tmp_path):
    grid = {**OPTIONS, "seed": [1, 2, 3]}
    config = write_config(tmp_path, grid, spikes_folder)
    cluster = Cluster(slurm, tmp_path)
    said = cluster("bash", SUBMIT, *MODEST, config, "--new_exp_folder", "out")
    assert "3 runs" in said
    array, table = jobs_of(said)

    out = tmp_path / "out"
    for seed in (1, 2):
        wait_until(lambda: list(out.glob(f"*_seed{seed}/checkpoints/last.pth")))  # noqa: B023
        if seed == 1:  # as some time before the job's time is up
            cluster("scancel", "--signal=USR1", "--batch", f"{array}_1")
        else:
            cluster("scontrol", "requeue", f"{array}_2")
    for task in (f"{array}_1", f"{array}_2"):
        wait_until(lambda: cluster.state(task).startswith("PENDING"))  # noqa: B023
        assert "stopping after this step" in log_of(out, task[-1])
    assert cluster.state(table) == "PENDING Dependency"
    cluster.start_now(f"{array}_1")
    cluster.start_now(f"{array}_2")
    wait_until(lambda: not cluster("squeue", "--noheader"))

    shown = (tmp_path / "slurm_logs" / f"sprache-table_{table}.log").read_text()
    (row,) = [line for line in shown.splitlines() if line.startswith("SHD")]
    assert row.split()[:4] == ["SHD", "SiLIF", "16", "53"]
    assert "not counted" not in shown
    assert "Resuming after" not in log_of(out, 3)
    for task in (1, 2):
        assert "Resuming after" in log_of(out, task)
        text = (tmp_path / "slurm_logs" / f"sprache_{array}_{task}.log").read_text()
        assert f"task {array}_{task} on" in text
        assert ", start 1, " in text

    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train(**grid, new_exp_folder="whole") == 0
    finally:
        torch.set_num_threads(torch_threads)
    for folder in (tmp_path / "whole").glob("*_seed*"):
        ours, others = last_weights(folder), last_weights(out / folder.name)
        assert all(torch.equal(ours[name], others[name]) for name in ours)


SEARCH = """\
method: bayes
run_cap: 3
early_terminate: {{type: hyperband, min_iter: 2, eta: 2}}
enqueue: [{{lr: 0.02}}]
parameters:
  lr: {{distribution: log_uniform_values, min: 0.001, max: 0.1}}
  pdrop: {{min: 0.1, max: 0.5}}
  data_folder: {{value: {data}}}
"""


@pytest.mark.slow
def test_tasks_share_the_journal_of_a_search(slurm, spikes_folder, tmp_path):
    """Two at a time, one is requeued and resumes its trial; the table has every trial once."""
    config, out = tmp_path / "search.yaml", tmp_path / "out"
    config.write_text(SEARCH.format(data=spikes_folder))
    cluster = Cluster(slurm, tmp_path)
    options = arguments(**{**OPTIONS, "nb_epochs": 6, "seed": 5}, new_exp_folder=out)
    said = cluster("bash", SUBMIT, *MODEST, "--array=1-3%2", config, *options)
    array, table = jobs_of(said)

    first = out / "trial_0001_seed5"
    wait_until((first / checkpoint.LAST).exists)
    cluster("scontrol", "requeue", f"{array}_1")
    wait_until(lambda: cluster.state(f"{array}_1").startswith("PENDING"))
    cluster.start_now(f"{array}_1")
    wait_until(lambda: not cluster("squeue", "--noheader"))

    assert "Resuming after" in (first / "log" / "exp.log").read_text()
    records = Trials(out, searched_in(out).search).records()
    assert [record.number for record in records] == [1, 2, 3]
    assert all(record.state in ("complete", "pruned") for record in records)
    assert records[0].values["lr"] == 0.02
    shown = (tmp_path / "slurm_logs" / f"sprache-table_{table}.log").read_text()
    assert len([line for line in shown.splitlines() if " SHD " in line]) == 3
    assert "best: trial" in shown
    assert (out / "parallel.png").exists()
    assert (out / "best.yaml").exists()


@pytest.mark.slow
def test_agents_of_a_wandb_sweep(wandb_server, slurm, spikes_folder, train, tmp_path):
    grid = {**OPTIONS, "seed": [1, 2]}
    assert train(new_exp_folder="out", only_createsweep=True, **grid) == 0
    config = write_config(tmp_path, grid, spikes_folder)
    logs_folder = tmp_path / "slurm_logs"
    cluster = Cluster({**slurm, "LOGS": str(logs_folder), "WANDB_DIR": str(tmp_path)}, REPO)
    sweep = "--wandb=lab/SiLIF_SHD_runs/sweep0"
    said = cluster("bash", SUBMIT, *MODEST, sweep, config, f"--new_exp_folder={tmp_path / 'out'}")
    array, table = jobs_of(said)
    task = f"{array}_1"
    note = logs_folder / f"task_{task}.folder"
    wait_until(note.exists)
    wait_until((Path(note.read_text().strip()) / checkpoint.LAST).exists)
    cluster("scancel", "--signal=USR1", "--batch", task)
    wait_until(lambda: cluster.state(task).startswith("PENDING"))
    cluster.start_now(task)
    wait_until(lambda: not cluster("squeue", "--noheader"))
    shown = (logs_folder / f"sprache-table_{table}.log").read_text()
    assert [line[:3] for line in shown.splitlines()].count("SHD") == 1
    assert "not counted" not in shown
    curves = {
        run["config"]["seed"]: [line["epoch"] for line in run["history"] if "valid acc" in line]
        for run in wandb_server.runs.values()
    }
    assert curves == {seed: list(range(1, 11)) for seed in (1, 2)}


def log_of(out, seed):
    (folder,) = out.glob(f"*_seed{seed}")
    return (folder / "log" / "exp.log").read_text()


@pytest.mark.parametrize(
    ("argv", "status", "named"),
    [
        ([], 2, "usage: "),
        (["--help"], 0, "usage: "),
        (["--wandb"], 2, "--wandb needs"),
        (["-p", "gpu", "demo.yaml"], 2, "in one word, such as --partition=gpu"),
        (["--time", "1:00", "demo.yaml"], 2, "got --time"),
        (["demo.yaml"], 2, "no sbatch"),
    ],
)
def test_mistakes_are_refused_before_anything_is_submitted(tmp_path, argv, status, named):
    programs = tmp_path / "programs"  # without those of SLURM
    programs.mkdir()
    for name in ("bash", "cat", "dirname"):
        (programs / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("bash"), SUBMIT, *argv],
        env={**os.environ, "PATH": str(programs)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert named in (done.stdout if status == 0 else done.stderr)
    assert list(tmp_path.iterdir()) == [programs]
