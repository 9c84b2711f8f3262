"""Workers without a cluster: what they say and carry, and what keeps a node from working."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError, OutOfMemoryError

from neglora.setting import Setting
from neglora.trial import Task
from study.cluster import workers
from study.cluster.worker_log import log_here, show_title
from study.cluster.workers import Parcel, pack, unable, unpack

TASK = Task(
    "digits-tinyvit_nano-neglora-0007",
    {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"},
    {"rank": 4},
    Setting("digits", "tinyvit_nano"),
    ((3, 0), ({"random": 0.1}, 1)),
)


def test_a_task_travels_as_plain_data():
    assert unpack(pack(TASK)) == TASK


def test_a_parcel_hides_its_files_from_logs():
    assert repr({"adapters": Parcel({"a": b"x" * 10**6})}) == "{'adapters': Parcel of 1 files}"


def test_a_node_that_does_not_see_the_storage_is_told_with_how_to_mend_it(tmp_path):
    study = tmp_path / "shared" / "study"
    blind = replace(TASK, keep=str(study))
    reason = unable(str(tmp_path / "shared"), blind, "10.0.0.7")
    assert reason == (
        f"the node 10.0.0.7 does not see the study's folder {study}: mount the storage {tmp_path / 'shared'} there, "
        "or give --storage a URI that all nodes reach"
    )
    study.mkdir(parents=True)
    assert unable(str(tmp_path / "shared"), blind, "10.0.0.7") is None
    assert unable("s3://bucket/runs", blind, "10.0.0.7") is None


@pytest.mark.parametrize("error", [ActorDiedError(), OutOfMemoryError("killed"), GetTimeoutError("cut off")])
def test_a_worker_starts_alone_where_the_others_are_not_to_be_met(error, monkeypatch, caplog):
    waited = []

    def get(_, timeout):
        waited.append(timeout)
        raise error

    monkeypatch.setattr(workers.ray, "get", get)
    monkeypatch.setattr(workers.ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    monkeypatch.setattr(workers, "log_here", lambda: None)
    monkeypatch.setattr(workers.TrialWorker, "_warm_up", lambda _: None)
    worker = object.__new__(workers.TrialWorker)
    meeting = SimpleNamespace(arrive=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(workers.ray, "get_actor", {"rendezvous of a study": meeting}.__getitem__)
    worker.setup({"task": pack(TASK), "storage": "runs", "rendezvous": "rendezvous of a study"})
    assert worker.task == TASK
    assert waited == [2 * workers.START_TOGETHER_SECONDS]
    assert "does not wait for the others" in caplog.text


def test_lines_go_to_the_standard_error_once(capsys):
    names = ("neglora", "study")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names}
    try:
        for _ in range(2):
            log_here()
        logging.getLogger("study.cluster.workers").info("trial %s starts", TASK.trial)
        lines = capsys.readouterr().err.splitlines()
    finally:
        for name, (handlers, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(logging.NOTSET)
    assert len(lines) == 1
    assert lines[0].endswith(f"INFO trial {TASK.trial} starts")


def test_the_process_is_called_after_its_trial_for_as_long():
    from ray._raylet import getproctitle

    usual = getproctitle()
    with show_title(TASK.trial):
        assert getproctitle() == f"ray::neglora {TASK.trial}"
    assert getproctitle() == usual
