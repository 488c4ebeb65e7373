# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A real SLURM of one node, for as long as a test needs it."""

import functools
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from resumption import wait_until

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


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd; gives the environment for sbatch and the like.

    ``folder`` should have a short path (sockets) and holds the logs. All daemons are ended.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host, ports = platform.node().split(".")[0], free_ports(2)
    config = folder / "slurm.conf"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 64
    text = CONFIG.format(folder=folder, host=host, ports=ports, cpus=os.cpu_count(), memory=memory)
    config.write_text(text)
    environment = {
        **os.environ,
        "PATH": os.environ["PATH"] + os.pathsep + "/usr/sbin",
        "SLURM_CONF": str(config),
    }
    with ExitStack() as daemons:
        start_munge(folder, environment, daemons)
        for name in ("slurmctld", "slurmd"):
            daemon(daemons, folder, environment, [name, "-D", "-f", str(config)])
        state = ["sinfo", "--noheader", "--format=%T"]
        answer = functools.partial(subprocess.run, state, env=environment, capture_output=True)
        wait_until(lambda: answer().stdout.strip() == b"idle", 120)
        daemons.callback(end_jobs, environment)
        yield environment


def start_munge(folder: Path, environment: dict, daemons: ExitStack) -> None:
    """Start the daemon that signs what the others say to one another."""
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    names = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    files = [f"--{option}={folder}/munge.{suffix}" for option, suffix in names.items()]
    socket_file = folder / "munge.socket"
    daemon(
        daemons,
        folder,
        environment,
        ["munged", "--foreground", "--force", f"--socket={socket_file}", *files],
    )
    wait_until(socket_file.exists, 60)


def daemon(daemons: ExitStack, folder: Path, environment: dict, command: list[str]) -> None:
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


def end_jobs(environment: dict) -> None:
    """Cancel what a failed test left in the queue; a job would outlive the daemons."""
    subprocess.run(["scancel", "--user=root"], env=environment, check=False)
    jobs = ["squeue", "--noheader"]
    wait_until(lambda: not subprocess.check_output(jobs, env=environment).strip(), 60)


def end(process: subprocess.Popen) -> None:
    """End a daemon, by force if it takes its time."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def logs(folder: Path) -> str:
    """What the daemons say, for a test that fails."""
    return "\n".join(
        f"{path.name}: {path.read_text(errors='replace')[-3000:]}"
        for path in sorted([*folder.glob("*.log"), *folder.glob("*.out")])
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens to at the moment."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
