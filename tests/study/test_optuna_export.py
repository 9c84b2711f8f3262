"""A study in a database of Optuna's: values, parameters, states and times are the ledger's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import handmade
import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from neglora.objectives import METRICS
from neglora.record import Record, trial_id
from study.cli import main
from study.ledger import Ledger, read_ledger
from study.space import parse_space

SPACE = """
study: exported
datasets: [digits]
models: [resnet_nano]
replicates: {forget: [3], seeds: [0]}
objectives: [ua, ra, gap]
constraints: {ta: {min: 0.9}, ua: {min: 0.5, max: 0.99}}
search: {sampler: nsga2, trials: 8}
axes: {sparsity: [0.0, 0.9]}
methods:
  neggrad: {lr: {log: [1.0e-4, 1.0e-2]}, epochs: {int: [1, 3]}}
  neglora:
    lr: 1.0e-3
    rank: [2, 4]
    targets: [head, last.conv+head, [layer1.0.conv1, fc]]
    batch_size: 16
    configurations:
      - {lr: 1.0e-2, rank: 2, targets: head, batch_size: 64}
"""
CELLS = [
    "digits-resnet_nano-retrain",
    *(f"digits-resnet_nano-{method}-sparsity={level}" for method in ("neggrad", "neglora") for level in (0.0, 0.9)),
]
NEGGRAD, NEGLORA = CELLS[1], CELLS[3]


def written(method: str, number: int, params: dict[str, Any], status: str = "ok", **changes: Any) -> Record:
    axes = {} if method == "retrain" else {"sparsity": 0.0}
    cell = {"dataset": "digits", "model": "resnet_nano", "method": method, **axes}
    moment = datetime(2026, 7, 1, 23, 59, 50, tzinfo=UTC) + timedelta(minutes=7 * number)
    known: dict[str, Any] = {
        "trial": trial_id(cell, number),
        "cell": cell,
        "params": {**params, **axes},
        "status": status,
        "reason": None if status == "ok" else f"it {status}",
        "metrics": handmade.values(ua=number / 10, ta=0.85 + number / 100) if status == "ok" else {},
        "report": handmade.values(ua=number / 11) if status == "ok" else {},
        "cost": {"unlearn_seconds": 1.5, "evaluate_seconds": 2.25 if status == "ok" else None, "device": "cpu"},
        "sampler": {"nsga2:generation": number // 4, "study:nsga2:parent": [1]},
        "provenance": handmade.PROVENANCE | {"time": moment.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }
    return Record(**known | changes)


def neglora(lr: float, rank: int, targets: Any, batch_size: int = 16) -> dict[str, Any]:
    return {"lr": lr, "rank": rank, "targets": targets, "batch_size": batch_size}


RECORDS = [
    written("retrain", 0, {}),
    written("neggrad", 0, {"lr": 1e-4, "epochs": 3}),
    # Trial 1 is not there: it was set aside, and runs again some day.
    written("neggrad", 2, {"lr": 5e-3, "epochs": 1}, "diverged"),
    written("neggrad", 3, {"lr": 5e-4, "epochs": 2}, "failed", cost={}),
    written("neggrad", 4, {"lr": 6e-4, "epochs": 2}, metrics=handmade.values(ua=0.4, mia=None)),
    # An explicit configuration may lie outside of what is searched.
    written("neggrad", 5, {"lr": 0.5, "epochs": 7}),
    written("neggrad", 6, {"lr": 0.0, "epochs": 2}),
    written("neglora", 0, neglora(1e-2, 2, "head", 64)),
    written("neglora", 1, neglora(1e-3, 4, ["layer1.0.conv1", "fc"])),
    written("neglora", 2, neglora(1e-3, 64, "last.conv+head")),
    written("neglora", 3, neglora(1e-3, 4, "head"), fidelity="confirm"),
]


@pytest.fixture(scope="module", autouse=True)
def elsewhere() -> Iterator[None]:
    """This machine is five and a half hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


def made(storage: Path) -> Path:
    """A study's folder."""
    folder = storage / "exported"
    with Ledger.open(folder) as ledger:
        (folder / "study.yaml").write_text(yaml.safe_dump(parse_space(SPACE, "space.yaml").resolved()))
        for record in RECORDS:
            ledger.append(record)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return made(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study that was exported, and where to."""
    folder = made(tmp_path_factory.mktemp("runs"))
    url = f"sqlite:///{folder.with_name('study.db')}"
    assert export(folder, url) == 0
    return folder, url


def export(study: Path, url: str, *options: str) -> int:
    return main(["export", str(study), "--optuna", url, *options])


def loaded(url: str) -> dict[str, optuna.Study]:
    names = [summary.study_name for summary in optuna.get_all_study_summaries(url)]
    return {name: optuna.load_study(study_name=name, storage=url) for name in names}


def test_values_parameters_states_and_times_are_the_ledgers(whole):
    study, url = whole
    studies = loaded(url)
    assert list(studies) == CELLS
    trials = {trial.user_attrs["trial"]: trial for one in studies.values() for trial in one.trials}
    records = {record.trial: record for record in read_ledger(study) if record.fidelity == "full"}
    assert list(trials) == list(records)
    for one in studies.values():
        assert [direction.name for direction in one.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE"]
        assert one.metric_names == ["ua", "ra", "gap"]
        assert one.user_attrs["study"] == "exported"
    for name, trial in trials.items():
        record = records[name]
        if record.metrics.get("gap") is not None:
            assert trial.state.name == "COMPLETE"
            assert trial.values == [record.metrics[objective] for objective in ("ua", "ra", "gap")]
            ta, ua = record.metrics["ta"], record.metrics["ua"]
            assert trial.constraints == pytest.approx({"ta:min": 0.9 - ta, "ua:min": 0.5 - ua, "ua:max": ua - 0.99})
        else:
            assert (trial.state.name, trial.values) == ("FAIL", None)
        assert (trial.user_attrs["status"], trial.user_attrs["fidelity"]) == (record.status, record.fidelity)
        assert trial.user_attrs["params"] == record.params
        assert (trial.user_attrs["report"], trial.user_attrs["cost"]) == (record.report, record.cost)
        for metric in METRICS:
            assert trial.user_attrs.get(metric) == record.metrics.get(metric)
        moment = datetime.strptime(record.provenance["time"], "%Y-%m-%dT%H:%M:%SZ")
        assert trial.datetime_complete == moment + timedelta(hours=5, minutes=30)
        took = (record.cost.get("unlearn_seconds") or 0) + (record.cost.get("evaluate_seconds") or 0)
        assert trial.datetime_complete - trial.datetime_start == timedelta(seconds=took)
    reasons = {trial.user_attrs["trial"][-4:]: trial.user_attrs.get("reason") for trial in studies[NEGGRAD].trials}
    assert reasons["0002"] == "it diverged"
    assert reasons["0003"] == "it failed"
    assert reasons["0004"] == "Optuna takes no trial of which gap was not measured"
    assert reasons["0000"] is None
    assert studies[NEGGRAD].trials[0].system_attrs["nsga2:generation"] == 0
    assert not any(key.startswith("study:") for trial in trials.values() for key in trial.system_attrs)


def test_distributions_are_those_of_the_space_with_room_for_explicit_configurations(whole):
    _, url = whole
    studies = loaded(url)
    first, *_, far, zero = studies[NEGGRAD].trials
    assert first.params == {"lr": 1e-4, "epochs": 3}
    assert far.params == {"lr": 0.5, "epochs": 7}
    assert first.distributions == {"lr": FloatDistribution(1e-4, 0.5, log=True), "epochs": IntDistribution(1, 7)}
    # A learning rate of 0 has no place on a logarithmic axis: it stands with the whole configuration alone.
    assert zero.params == {"epochs": 2}
    assert zero.user_attrs["params"]["lr"] == 0.0
    explicit, listed, _ = studies[NEGLORA].trials
    targets = ('"head"', '"last.conv+head"', '["layer1.0.conv1", "fc"]')
    assert explicit.distributions == {
        "rank": CategoricalDistribution((2, 4, 64)),
        "targets": CategoricalDistribution(targets),
        # Fixed for the search, and not for its explicit configuration.
        "lr": CategoricalDistribution((1e-3, 1e-2)),
        "batch_size": CategoricalDistribution((16, 64)),
    }
    assert listed.params == {"rank": 4, "targets": targets[2], "lr": 1e-3, "batch_size": 16}


def test_of_several_lines_the_one_that_the_sampler_was_told(tmp_path):
    """Samplers that go on from the database see what ours saw; a look at the probe says why it has no more."""
    own = written("neggrad", 0, {"lr": 1e-4, "epochs": 3}, metrics=handmade.values(ua=0.7))
    seen = handmade.searched_line(written("neggrad", 0, own.params, metrics=handmade.values(ua=0.7)), ra=0.55)
    looked = written("neggrad", 1, own.params, fidelity="search", report={}, reason=handmade.AT_CHANCE)
    confirmed = handmade.confirmed_line(own, [(5, 0, handmade.values(ua=0.1))])
    folder = tmp_path / "exported"
    with Ledger.open(folder) as ledger:
        (folder / "study.yaml").write_text(yaml.safe_dump(parse_space(SPACE, "space.yaml").resolved()))
        for record in (looked, seen, own, confirmed):
            ledger.append(record)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert export(folder, url) == 0
    first, second = loaded(url)[NEGGRAD].trials
    assert first.values == [0.7, 0.55, seen.metrics["gap"]]
    assert (first.user_attrs["fidelity"], first.user_attrs["report"]) == ("search", {})
    assert "reason" not in first.user_attrs
    assert (second.state.name, second.user_attrs["reason"]) == ("COMPLETE", handmade.AT_CHANCE)


def test_a_study_that_is_there_already_is_refused_and_replaced_when_forced(study, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="somebody-elses", storage=url)
    assert export(study, url) == 0
    assert f"5 studies with 10 trials are in {url}" in capsys.readouterr().out
    assert export(study, url) == 2
    told = capsys.readouterr().err
    assert f"has a study '{CELLS[0]}' already" in told
    assert "--force (5 of 5 studies)" in told
    with Ledger.open(study) as ledger:
        ledger.append(written("neggrad", 7, {"lr": 1e-3, "epochs": 1}))
    assert export(study, url, "--force") == 0
    studies = loaded(url)
    assert set(studies) == {*CELLS, "somebody-elses"}
    assert len(studies[NEGGRAD].trials) == 7


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("study.db", "study.db is no address of a database: expected one such as sqlite:///study.db"),
        ("sqlite:////nowhere/at/all/study.db", "cannot be written: unable to open database file"),
        ("oracle://me:secret@host/studies", "needs a driver that is not installed"),
        ("nosuch://me:secret@host/studies", "cannot be written"),
        ("me:secret@host", "is no address of a database"),
    ],
)
def test_an_address_that_is_none_is_a_mistake_of_the_user_and_shows_no_password(study, url, expected, capsys):
    assert export(study, url) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert expected in told
    assert "Traceback" not in told
    assert ":secret@" not in told


def test_a_file_that_is_no_database_is_refused_and_stays(study, tmp_path, capsys):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but somebody's notes " * 50)
    assert export(study, f"sqlite:///{file}") == 2
    assert "file is not a database" in " ".join(capsys.readouterr().err.split())
    assert file.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "say --trial ID and --to DIR for the model of a trial, or --optuna URL for all trials"),
        (("--trial", "x-0000"), "say --to DIR for the model"),
        (("--to", "there"), "say --trial ID for the model"),
        (("--optuna", "sqlite:///s.db", "--trial", "x-0000"), "--trial and --optuna do not go together"),
        (("--optuna", "sqlite:///s.db", "--to", "there", "--seed", "0"), "--to, --seed and --optuna"),
    ],
)
def test_options_that_do_not_go_together_are_refused(study, options, expected, capsys):
    assert main(["export", str(study), *options]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_study_without_trials_and_a_record_without_a_time_are_refused(study, tmp_path, capsys):
    with Ledger.open(study) as ledger:
        ledger.append(written("neggrad", 7, {"lr": 1e-3, "epochs": 1}, provenance={}))
    assert export(study, f"sqlite:///{tmp_path / 'study.db'}") == 2
    assert "0007 does not say when it was made" in " ".join(capsys.readouterr().err.split())
    (study / "ledger.jsonl").write_text("")
    assert export(study, f"sqlite:///{tmp_path / 'other.db'}") == 2
    assert "has no trials yet" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "changes",
    [{"cost": {"unlearn_seconds": 1e20}}, {"provenance": {"time": "0001-01-01T00:00:00+14:00"}}],
    ids=["seconds", "time"],
)
def test_a_record_of_a_time_that_no_calendar_holds_is_refused(study, tmp_path, changes, capsys):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert export(study, url) == 0
    with Ledger.open(study) as ledger:
        ledger.append(written("neggrad", 7, {"lr": 1e-3, "epochs": 1}, **changes))
    assert export(study, url, "--force") == 2
    assert "0007 says a time" in " ".join(capsys.readouterr().err.split())
    assert sum(len(one.trials) for one in loaded(url).values()) == len(RECORDS) - 1, "what was there stays"


@pytest.mark.parametrize("params", [{"lr": 10**400, "epochs": 1}, {"lr": 1e-3, "epochs": 10**300}])
def test_numbers_that_no_dimension_can_hold_stay_beside_it(study, tmp_path, params):
    with Ledger.open(study) as ledger:
        ledger.append(written("neggrad", 7, params))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert export(study, url) == 0
    last = loaded(url)[NEGGRAD].trials[-1]
    assert len(last.params) == 1
    assert last.user_attrs["params"]["lr"] == params["lr"]


def test_optuna_dashboard_shows_the_trials(whole, tmp_path):
    study, url = whole
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    script = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(script), url, "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "dashboard.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def ask(path: str) -> Any:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as response:
                    return json.load(response)
            except OSError:
                assert process.poll() is None, (tmp_path / "dashboard.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "dashboard.log").read_text()
                time.sleep(0.3)

    try:
        listed = {one["study_name"]: one["study_id"] for one in ask("studies")["study_summaries"]}
        assert list(listed) == CELLS
        detail = ask(f"studies/{listed[NEGGRAD]}")
        records = [record for record in read_ledger(study) if record.trial.startswith(NEGGRAD)]
        assert len(detail["trials"]) == len(records)
        for trial, record in zip(detail["trials"], records, strict=True):
            noted = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
            assert noted["trial"] == record.trial
            measured = record.metrics.get("gap") is not None
            assert trial["state"] == ("Complete" if measured else "Fail")
            if measured:
                assert trial["values"] == [record.metrics[name] for name in ("ua", "ra", "gap")]
            assert all(float(one["param_external_value"]) == record.params[one["name"]] for one in trial["params"])
            moment = datetime.strptime(record.provenance["time"], "%Y-%m-%dT%H:%M:%SZ") + timedelta(hours=5.5)
            assert datetime.fromisoformat(trial["datetime_complete"]) == moment
    finally:
        process.terminate()
        process.wait(30)
