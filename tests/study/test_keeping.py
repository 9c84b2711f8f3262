"""Which adapters stay in a study's folder."""

import itertools

import handmade
import pytest

from neglora.kept import ADAPTERS, adapter_file
from study.aggregate import summarize
from study.keeping import Tidying, remove_unfinished, tidy, worth_keeping

NEAR = handmade.values(1.0, 0.99, 0.96, 1.0)
FAR = handmade.values(0.5, 1.0, 0.98, 0.5)
BEATEN = handmade.values(0.5, 0.9, 0.9, 0.4)
RECORDS = [
    handmade.retrain(),
    handmade.record(0, metrics=NEAR),
    handmade.record(1, metrics=BEATEN),
    handmade.record(2, metrics=FAR),
    handmade.record(3, status="diverged", reason="nan"),
    handmade.record(0, method="neggrad", metrics=BEATEN),
]


@pytest.fixture
def folder(tmp_path):
    """A file for every replicate of every trial, and of one that has no record yet."""
    (tmp_path / ADAPTERS).mkdir()
    for trial in [*(record.trial for record in RECORDS), "digits-tinyvit_nano-neglora-0009"]:
        for forget in (3, [3, 5]):
            adapter_file(tmp_path, trial, forget, 0).write_bytes(b"")
    return tmp_path


def kept(folder):
    return sorted(
        {path.name.split(".forget-")[0].removeprefix("digits-tinyvit_nano-") for path in (folder / ADAPTERS).iterdir()}
    )


def test_fronts_and_what_is_recommended_are_kept(folder):
    tidy(folder, RECORDS, handmade.study())
    # The only one of its method is that method's front, however bad it is beside others.
    assert kept(folder) == ["neggrad-0000", "neglora-0000", "neglora-0002", "neglora-0009"]
    assert len(list((folder / ADAPTERS).iterdir())) == 8


def test_whatever_the_summary_names_is_kept():
    records = [handmade.retrain(), *handmade.searched(12)]
    study = handmade.study(constraints={"ua": {"min": 0.9}})
    summary = summarize(records, study)
    named = {cell["recommended"]["trial"] for cell in summary["cells"]}
    named |= {group["recommended"]["trial"] for group in summary["groups"]}
    named |= {trial for cell in summary["cells"] for trial in cell["front"]}
    keeps = worth_keeping(records, study)
    assert len(named) > 5
    assert named - {None} <= keeps
    assert len(keeps) < len(records) - 1


def test_leftovers_go_when_nothing_runs(folder):
    (folder / ADAPTERS / ".digits-tinyvit_nano-neglora-0009.forget-1.seed-0.safetensors-ab").write_bytes(b"torn")
    before = kept(folder)
    tidy(folder, [], handmade.study())
    remove_unfinished(folder)
    assert kept(folder) == [name for name in before if not name.startswith(".")]


def test_a_study_without_adapters(tmp_path):
    tidy(tmp_path, RECORDS, handmade.study())
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_long_study_is_tidied_now_and_then(folder):
    tidying = Tidying(folder, handmade.study(), every=3)
    tidying(RECORDS[:2])
    assert "neglora-0001" in kept(folder)
    tidying(RECORDS)
    assert "neglora-0001" not in kept(folder)
    assert "neglora-0009" in kept(folder), "it may be running"


def test_a_long_study_is_tidied_less_often(tmp_path, monkeypatch):
    tidied = []
    monkeypatch.setattr("study.keeping.tidy", lambda folder, records, study: tidied.append(len(records)))
    tidying = Tidying(tmp_path, {}, every=4)
    for count in range(1, 101):
        tidying(range(count))
    assert tidied[:5] == [4, 8, 12, 16, 20]
    assert all(after / before <= 1.25 for before, after in itertools.pairwise(tidied[4:]))
    assert len(tidied) < 15


def test_what_is_worth_keeping_is_not_asked_where_nothing_is_kept(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("study.keeping.worth_keeping", lambda records, study: asked.append(len(records)) or set())
    tidy(tmp_path, RECORDS, handmade.study())
    assert asked == []
