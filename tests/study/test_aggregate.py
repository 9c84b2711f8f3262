"""Tables from handmade records."""

import csv
import hashlib
import json
import statistics

import handmade
import pandas as pd
import pytest

from neglora.objectives import METRICS
from study.aggregate import (
    base_values,
    cell_hypervolume,
    group_keys,
    latest,
    retrain_record,
    shown,
    spread,
    summarize,
    trials_table,
    write_tables,
)


def test_a_row_holds_the_trial():
    report = handmade.values(1.0, 0.5, 0.25, 0.75)
    record = handmade.record(7, report=report, params={"lr": 0.5, "epochs": 2, "targets": ["a", "b"]})
    row = trials_table([record]).iloc[0]
    assert row["trial"] == record.trial
    assert row["number"] == 7
    assert (row["dataset"], row["model"], row["method"]) == ("digits", "tinyvit_nano", "neglora")
    assert row["param_lr"] == 0.5
    assert json.loads(row["param_targets"]) == ["a", "b"]
    assert (row["ta"], row["report_ta"]) == (0.97, 0.25)
    assert row["trainable_parameters"] == 9216
    assert pd.isna(row["spread_ta"])


def test_no_records_make_an_empty_table_with_the_columns():
    table = trials_table([])
    assert len(table) == 0
    assert {"trial", "status", *METRICS, "report_ua", "spread_ua", "unlearn_seconds"} <= set(table.columns)


def test_a_parameter_that_only_one_method_has_is_missing_elsewhere():
    records = [handmade.record(0, params={"rank": 4}), handmade.record(0, method="neggrad", params={"lr": 0.1})]
    table = trials_table(records)
    assert list(table["param_rank"].isna()) == [False, True]
    assert table["param_rank"].iloc[0] == 4
    assert str(table["param_rank"].dtype) == "Int64"


def test_what_was_tried_again_counts_once():
    first = handmade.record(0, status="failed", reason="lost")
    other = handmade.record(1)
    again = handmade.record(0)
    kept = latest([first, other, again])
    assert [(record.trial[-4:], record.status) for record in kept] == [("0000", "ok"), ("0001", "ok")]


def test_shown_prefers_the_report_half_and_falls_back():
    assert shown({"ta": 0.5}, {"ta": 0.25}, "ta") == 0.25
    assert shown({"ta": 0.5}, {"ta": None}, "ta") == 0.5
    assert shown({"ta": 0.5}, {"ta": 0.0}, "ta") == 0.0
    assert shown({}, {}, "ta") is None


def test_spread_is_the_sample_deviation_of_the_shown_values():
    tas = [0.9, 0.92, 0.97]
    ones = [handmade.replicate(handmade.values(ta=0.5), handmade.values(ta=ta), seed=i) for i, ta in enumerate(tas)]
    record = handmade.record(0, replicates=ones)
    assert spread(record, "ta") == pytest.approx(statistics.stdev(tas))
    assert spread(handmade.record(0), "ta") is None
    ones[0]["report"]["ta"] = ones[0]["metrics"]["ta"] = None
    assert spread(handmade.record(0, replicates=ones), "ta") is None


def test_hypervolume_of_a_cell_by_hand():
    one = handmade.record(0, metrics=handmade.values(1.0, 0.5, 0.5, 1.0))
    two = handmade.record(1, metrics=handmade.values(0.5, 1.0, 0.5, 1.0))
    assert cell_hypervolume(trials_table([one, two]), ["ua", "ra"]) == pytest.approx(0.75)
    # A minimized objective is measured from 1.
    assert cell_hypervolume(trials_table([one]), ["runner_up"]) == pytest.approx(0.75)


def test_hypervolume_without_measured_trials_is_none():
    diverged = handmade.record(0, status="diverged", reason="nan")
    assert cell_hypervolume(trials_table([diverged]), ["ua"]) is None
    assert cell_hypervolume(trials_table([handmade.record(0, metrics=handmade.values(mia=None))]), ["mia"]) is None
    assert cell_hypervolume(trials_table([]), ["ua", "ra"]) is None


def test_bases_are_averaged_by_sparsity():
    record = handmade.retrain(sparsities=(0.9, 0.0))
    second = json.loads(json.dumps(record.replicates[0]))
    second["bases"][0]["metrics"]["ta"] = 0.5
    second["bases"][0]["cost"]["train_seconds"] = None
    record.replicates.append(second)
    dense, sparse = base_values([record], "digits", "tinyvit_nano")
    assert (dense.sparsity, sparse.sparsity) == (0.0, 0.9)
    assert sparse.metrics["ta"] == pytest.approx((0.98 + 0.5) / 2)
    assert dense.train_seconds == 25.0
    assert sparse.train_seconds is None


def test_no_bases_before_retrain():
    assert base_values([handmade.record(0)], "digits", "tinyvit_nano") == []


def test_a_failed_retrain_is_none():
    failed = handmade.record(0, method="retrain", status="failed", reason="no memory")
    assert retrain_record([failed], "digits", "tinyvit_nano") is None
    assert retrain_record([handmade.retrain()], "digits", "resnet_nano") is None
    assert retrain_record([handmade.retrain()], "digits", "tinyvit_nano") is not None


def test_groups_come_in_the_order_of_the_space_whatever_ended_first():
    records = [handmade.record(0, model=model) for model in ("b", "other", "a", "b")]
    space = {"datasets": ["digits", "more"], "models": ["a", "b"]}
    assert group_keys(records, space) == [("digits", "a"), ("digits", "b"), ("digits", "other")]
    assert group_keys(records, {}) == [("digits", "b"), ("digits", "other"), ("digits", "a")]


def test_summary_says_what_it_documents():
    records = handmade.searched(6)
    summary = summarize(records, handmade.study(), "abc")
    assert summary["trials"] == {"ok": 17, "diverged": 1, "failed": 0}
    assert [cell["method"] for cell in summary["cells"]] == ["neggrad", "partial_neggrad", "neglora"]
    for key in (*summary, *summary["cells"][0], *summary["groups"][0], *summary["groups"][0]["recommended"]):
        assert f"`{key}`" in summarize.__doc__, key
    neggrad = summary["cells"][0]
    own = [record for record in records if record.cell["method"] == "neggrad" and record.status == "ok"]
    assert neggrad["trials"] == {"ok": 5, "diverged": 1, "failed": 0}
    assert neggrad["best"]["ra"]["value"] == max(record.metrics["ra"] for record in own)
    assert set(neggrad["front"]) <= {record.trial for record in own}
    group = summary["groups"][0]
    assert group["retrain"]["metrics"]["ua"] == 1.0
    assert [base["sparsity"] for base in group["bases"]] == [0.0, 0.9]
    assert group["recommended"]["command"].startswith("neglora unlearn --dataset digits")


def test_axes_split_cells():
    records = [
        handmade.record(0, axes={"sparsity": 0.0}),
        handmade.record(0, axes={"sparsity": 0.9}, metrics=handmade.values(0.5)),
    ]
    cells = summarize(records, handmade.study())["cells"]
    assert [cell["axes"] for cell in cells] == [{"sparsity": 0.0}, {"sparsity": 0.9}]
    assert [cell["best"]["ua"]["value"] for cell in cells] == [1.0, 0.5]


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} in strict JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [handmade.record(0, status="diverged", reason='a "quoted", reason\nover two lines')],
        [handmade.retrain()],
        [handmade.record(0, metrics=handmade.values(mia=None))],
        handmade.searched(4, (0, 1)),
    ],
    ids=["empty", "diverged", "retrain", "no attack", "several"],
)
def test_written_tables_read_back(records, tmp_path):
    folder = handmade.write_study(tmp_path / "study", records)
    paths = write_tables(folder, records, handmade.study())
    assert [path.name for path in paths] == ["trials.csv", "front.csv", "summary.json"]
    with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [record.trial for record in records]
    assert [row["reason"] for row in rows] == [record.reason or "" for record in records]
    with open(folder / "front.csv", newline="", encoding="utf-8") as file:
        on_front = [row["trial"] for row in csv.DictReader(file)]
    summary = strict((folder / "summary.json").read_text(encoding="utf-8"))
    assert on_front == [trial for cell in summary["cells"] for trial in cell["front"]]
    assert summary["ledger_sha256"] == hashlib.sha256((folder / "ledger.jsonl").read_bytes()).hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["study.yaml", "ledger.jsonl", "trials.csv", "front.csv", "summary.json"]
    )
