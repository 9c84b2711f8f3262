"""A trial that runs out of memory, with the error injected: tried again alone, then recorded."""

from __future__ import annotations

import fcntl
from dataclasses import replace

import pytest
import torch

from neglora import replicate
from neglora.kept import ADAPTERS, keep_adapters, kept_adapter
from neglora.session import Session
from neglora.trial import run_trial
from neglora.turns import Turns
from tests.neglora.tasks import neglora_task, without_clocks

MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.00 GiB of which 1.00 GiB is free."
)


@pytest.fixture(autouse=True)
def own_turns(tmp_path, monkeypatch):
    """Turns among the trials of this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def short(monkeypatch, times):
    """Let the first calls of the ascent run out of memory; returns a list that grows by the turn of each call."""
    usual, tries = replicate._unlearned, []

    def unlearn(*args):
        turns, held = Turns(torch.device("cpu")), []
        tries.append("alone" if not free(turns) else "together")
        turns.close()
        if len(tries) <= times:
            held.append(torch.zeros(10))
            raise torch.OutOfMemoryError(MESSAGE)
        return usual(*args)

    monkeypatch.setattr(replicate, "_unlearned", unlearn)
    return tries


def free(turns):
    """Whether another trial could start now."""
    try:
        fcntl.flock(turns._files[0], fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_it_is_tried_again_alone_and_gives_the_same_record(storage, setting, monkeypatch):
    session = Session(storage)
    plain = run_trial(session, neglora_task(setting))
    kept = next(iter(session._models.values()))
    tries = short(monkeypatch, times=1)
    again = run_trial(session, neglora_task(setting))
    assert tries == ["together", "alone"]
    assert without_clocks(again.metrics) == without_clocks(plain.metrics)
    assert not session.spent
    assert all(kept is not other for other in session._models.values()), "it was let go of"


def test_then_it_fails_with_what_it_lacked_and_later_trials_are_unharmed(storage, setting, monkeypatch):
    session, adapters = Session(storage), {}
    tries = short(monkeypatch, times=2)
    record = run_trial(session, neglora_task(setting), adapters)
    assert (record.status, record.replicates, record.metrics, adapters) == ("failed", [], {}, {})
    assert record.reason == (
        "out of memory, when it ran alone too: it asked cpu for 2.0 GiB; of its 79.0 GiB 1.0 GiB free. "
        "Take a smaller batch_size or model, or give each trial more of the device (`resources`)"
    )
    assert session.spent
    assert not session._models
    assert not session._datasets
    assert run_trial(session, neglora_task(setting)).status == "ok"
    assert tries == ["together", "alone", "together"]


def test_adapters_are_handed_over_as_the_files_that_would_be_written(storage, setting, tmp_path):
    session, adapters = Session(storage), {}
    run_trial(session, replace(neglora_task(setting), keep=str(tmp_path / "unused")), adapters)
    assert not (tmp_path / "unused").exists()
    run_trial(session, replace(neglora_task(setting), keep=str(tmp_path / "written")))
    keep_adapters(tmp_path / "carried", adapters)
    [written], [carried] = (list((tmp_path / name / ADAPTERS).iterdir()) for name in ("written", "carried"))
    assert written.name == carried.name
    first, second = kept_adapter(written), kept_adapter(carried)
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
