"""A Slurm with two nodes on this machine, for tests: Debian's slurm-wlm and munge, as root, all in one folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NODES = ("neg1", "neg2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")

CONFIGURATION = """\
ClusterName=neglora
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=3000
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=0
ReturnToService=2
MpiDefault=none
KillWait=15
SlurmdTimeout=300
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why Slurm cannot be started here, for `pytest.skip`; None where it can."""
    missing = [program for program in PROGRAMS if _program(program) is None]
    if missing:
        return f"missing: {', '.join(missing)} (Debian's packages slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "slurmd needs root"


@dataclass(frozen=True)
class Slurm:
    """Attributes:
    folder: of configuration, logs and state.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, **changes: str) -> str:
        """The output of one of Slurm's commands; `changes` are to its environment."""
        done = subprocess.run(
            command, env=self.environment | changes, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number: int) -> dict[str, str]:
        """What Slurm says about a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", str(number))))

    def wait(self, number: int, seconds: float = 300) -> dict[str, str]:
        """Until a job has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            told = self.job(number)
            if told["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
                return told
            time.sleep(0.5)
        raise AssertionError(f"job {number} has not ended after {seconds:g} s: {self.job(number)}")


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start munged, the controller and two nodes; at the end, end them and all jobs."""
    names = {"folder": folder, "host": socket.gethostname(), "nodes": NODES, "ports": _free_ports(3)}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**names))
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    here = Slurm(folder)
    files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    # --force: the folder is below one that everybody may write to.
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", node] for node in NODES),
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            daemons.append(_start(here, command))
            if command[0] == "munged":
                _until(lambda: (folder / "munge.socket").exists(), "munged did not start")
        _until(lambda: _idle(here) == len(NODES), f"Slurm's nodes did not come up; see {folder}")
        yield here
    finally:
        if len(daemons) == len(commands):
            subprocess.run(["scancel", "--user=root"], env=here.environment, timeout=60, check=True)
            _until(lambda: not here.run("squeue", "--noheader").strip(), "jobs are left")
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


def _start(here: Slurm, command: Sequence[str]) -> subprocess.Popen[bytes]:
    program = _program(command[0])
    assert program is not None
    with (here.folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            [program, *command[1:]], env=here.environment, stdout=log, stderr=log, start_new_session=True
        )


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _idle(here: Slurm) -> int:
    done = subprocess.run(
        ["sinfo", "--noheader", "-N", "-o", "%T"], env=here.environment, capture_output=True, text=True
    )
    return done.stdout.split().count("idle")


def _until(holds: Callable[[], object], otherwise: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
