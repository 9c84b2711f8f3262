"""`deploy/slurm/study.sbatch`, run by a real Slurm with two nodes on this machine."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from study.ledger import read_ledger
from tests.deploy.slurm_here import Slurm, slurm, why_not

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SPACE = {
    "study": "tiny",
    "datasets": ["digits"],
    "models": ["tinyvit_nano"],
    "replicates": {"forget": [3], "seeds": [0]},
    "search": {"sampler": "tpe", "trials": 24, "seed": 0, "batch": 2},
    "training": {"epochs": 2},
    "methods": {"neggrad": {"lr": {"log": [1e-5, 1e-3]}}},
}
#: Those of the space, and Retrain.
TRIALS = 25


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := why_not():
        pytest.skip(reason)
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a user has on the login node: the project, and a home."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    (tmp_path / "home").mkdir()
    return folder


def submit(here: Slurm, project: Path, *options: str, nodes: int = 1, **environment: str) -> int:
    """The number of the job that runs `tiny.yaml`; options are those of `neglora run`."""
    command = ["sbatch", "--parsable", f"--nodes={nodes}", "--cpus-per-task=1", "--gpus-per-node=0", "--mem=3000"]
    command += [f"--chdir={project}", "deploy/slurm/study.sbatch", "tiny.yaml", "--storage", "runs", *options]
    shared = {
        "HOME": str(project.parent / "home"),
        "NEGLORA_BIN": str(Path(sys.executable).parent),
        "NEGLORA_TMP": str(temporary(project)),
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
        "CI": "1",
    }
    here_in_project = Slurm(here.folder)
    done = here_in_project.run("bash", "-c", f'cd {project} && exec "$@"', "submit", *command, **(shared | environment))
    return int(done)


def temporary(project: Path) -> Path:
    """A folder for Ray's own files, which this test alone uses; its path is short, for sockets."""
    folder = Path(f"/tmp/h-{project.stat().st_ino}")
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def tokens(project: Path) -> list[Path]:
    return list((project.parent / "home" / ".neglora" / "tokens").glob("*"))


def output(project: Path, job: int) -> str:
    path = project / f"slurm-{job}.out"
    return path.read_text() if path.exists() else ""


def lines(project: Path) -> int:
    ledger = project / "runs" / "tiny" / "ledger.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def until(holds: Callable[[], bool], otherwise: Callable[[], str], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


def left(project: Path) -> list[str]:
    """Command lines of processes that a job left: Ray's name the temporary folder, or inherit it."""
    marked = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"NEGLORA_TMP={temporary(project)}".encode() in (process / "environ").read_bytes():
                marked.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended meanwhile
    return marked


def nothing_is_left(project: Path) -> None:
    # Slurm calls a job ended a moment before its last processes are gone.
    until(lambda: not left(project), lambda: "\n".join(left(project)), 30)
    assert list(temporary(project).iterdir()) == []
    assert tokens(project) == []
    temporary(project).rmdir()


def asked_trials_are_there_once(project: Path) -> None:
    study = project / "runs" / "tiny"
    records = read_ledger(study)
    assert lines(project) == len(records) == TRIALS == len({record.trial for record in records})
    assert {record.status for record in records} == {"ok"}
    assert (study / "report.html").exists()
    assert (project / "reports" / "tiny.html").exists()


def test_two_nodes_run_a_study_beside_another_job_and_nobody_sees_the_token(here, project):
    job = submit(here, project, nodes=2)
    wrong = submit(here, project, "--workers", "0")
    until(lambda: len(tokens(project)) == 2, lambda: output(project, job))
    secrets = []
    for path in tokens(project):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        until(lambda path=path: len(path.read_text()) == 64, lambda: output(project, job))
        secrets.append(path.read_text())
    assert len(set(secrets)) == 2

    told = here.wait(wrong)
    assert told["ExitCode"] == "2:0", output(project, wrong)
    assert "--workers" in output(project, wrong)
    assert "Traceback" not in output(project, wrong)

    told = here.wait(job)
    assert (told["JobState"], told["ExitCode"]) == ("COMPLETED", "0:0"), output(project, job)
    asked_trials_are_there_once(project)
    said = output(project, job)
    assert "starting Ray on 2 node(s)" in said
    assert "not all" not in said
    assert re.search(r"ssh -L 8265:127\.0\.0\.1:\d+ neg1", said)
    for node in ("neg1", "neg2"):
        assert "Ray runtime started" in (project / f"slurm-{job}.nodes" / f"{node}.log").read_text()
    searched = [path for path in project.rglob("*") if path.is_file() and not path.is_relative_to(project / "deploy")]
    searched += list(here.folder.glob("*.log"))
    assert len(searched) > 8
    for secret in secrets:
        assert [path for path in searched if secret.encode() in path.read_bytes()] == []
    nothing_is_left(project)


def test_a_study_goes_on_after_its_time_limit_and_after_a_cancelled_job(here, project):
    job = submit(here, project, "--fresh", NEGLORA_REQUEUE="1")
    until(lambda: lines(project) >= 1, lambda: output(project, job))
    # What --signal=B:USR1@120 does before the limit.
    here.run("scancel", "--signal=USR1", "--batch", str(job))
    until(lambda: here.job(job)["Restarts"] == "1", lambda: output(project, job))
    assert "goes back into the queue" in output(project, job)
    kept = lines(project)
    assert 1 <= kept < TRIALS

    # Slurm waits two minutes before it starts a requeued job, unless it is told so once the job is back in the queue.
    # A node that has just ended a job refuses to start it again in the same second: "credential revoked".
    until(lambda: here.job(job)["Reason"] == "BeginTime", lambda: str(here.job(job)))
    here.run("scontrol", "update", f"JobId={job}", "StartTime=now+5")
    until(lambda: lines(project) > kept, lambda: output(project, job) + str(here.job(job)))
    here.run("scancel", str(job))
    assert here.wait(job)["JobState"] == "CANCELLED"
    kept = lines(project)
    assert kept < TRIALS, "the job was too quick to be cancelled half way"
    assert len(read_ledger(project / "runs" / "tiny")) == kept
    nothing_is_left(project)

    job = submit(here, project)
    assert here.wait(job)["JobState"] == "COMPLETED", output(project, job)
    asked_trials_are_there_once(project)
    assert [path.name for path in (project / "runs").iterdir() if path.name.startswith("tiny.")] == []
    nothing_is_left(project)


def test_a_space_is_needed_and_the_project_s_folder(here, project):
    (project / "deploy").unlink()
    (project / "study.sbatch").write_bytes((ROOT / "deploy" / "slurm" / "study.sbatch").read_bytes())
    command = ["sbatch", "--parsable", "--gpus-per-node=0", "--cpus-per-task=1", "--nodes=1", f"--chdir={project}"]
    script = str(project / "study.sbatch")
    environment = {"HOME": str(project.parent / "home"), "NEGLORA_BIN": os.path.dirname(sys.executable)}
    enter = ("bash", "-c", f'cd {project} && exec "$@"', "submit")
    for arguments, expected in ([], "expected a search space"), (["tiny.yaml"], "submit from the project's folder"):
        job = int(here.run(*enter, *command, script, *arguments, **environment))
        assert here.wait(job)["ExitCode"] == "2:0"
        assert expected in output(project, job)
