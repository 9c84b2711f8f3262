"""Tables from handmade records."""

import csv
import hashlib
import json
import statistics

import handmade
import pandas as pd
import pytest

from neglora.objectives import METRICS
from neglora.record import FIDELITIES
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
from study.carried import as_plain
from study.stages import by_fidelity, by_status, one_per_trial, searched_rows, share_confirmed
from study.told import searched_records


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


def test_a_trial_of_several_lines_counts_once():
    records = handmade.staged(16)
    lines = {fidelity: [one for one in records[1:] if one.fidelity == fidelity] for fidelity in FIDELITIES}
    summary = summarize(records, handmade.study(**handmade.STAGED))
    assert summary["trials"] == {"ok": 47, "diverged": 1, "failed": 0}
    ok = [one.trial for one in lines["full"] if one.status == "ok"]
    assert len(lines["search"]) == 47 > len(ok) > 3
    assert summary["fidelity"] == {"search": 47, "full": len(ok), "confirm": 3}
    assert summary["share_confirmed"] == pytest.approx(len(ok) / 47)
    assert [sum(cell["trials"].values()) for cell in summary["cells"]] == [16, 16, 16]
    assert [cell["trials"] for cell in summary["cells"]] == [by_status(rows) for _, rows in cells_of(records)]


def cells_of(records):
    table = trials_table(records)
    return table[table["method"] != "retrain"].groupby("cell", sort=False)


def test_only_what_was_measured_in_full_is_best_on_a_front_and_in_the_volume():
    """The search saw more in the second trial than there is; it was not measured in full."""
    first, second = handmade.record(0, metrics=handmade.values(0.9, 0.9)), handmade.record(1)
    records = [handmade.searched_line(first, ra=1.0), first, handmade.searched_line(second, ua=1.0, ra=1.0)]
    (cell,) = summarize(records, handmade.study(objectives=["ua", "ra"]))["cells"]
    assert cell["best"]["ra"] == {"value": 0.9, "trial": first.trial}
    assert cell["front"] == [first.trial]
    assert cell["hypervolume"] == pytest.approx(0.81)
    assert cell["recommended"]["trial"] == first.trial
    assert cell["recommended"]["metrics"] == first.metrics


def test_the_line_in_full_says_how_a_trial_ended():
    good = handmade.record(0)
    lost = handmade.record(0, status="failed", reason="the worker was lost")
    for records in ([handmade.searched_line(good), lost], [lost, handmade.searched_line(good)]):
        assert by_status(trials_table(records)) == {"ok": 0, "diverged": 0, "failed": 1}
    unseen = handmade.record(0, status="diverged", reason="nan", fidelity="confirm")
    table = trials_table([handmade.searched_line(good), good, unseen])
    assert by_status(table) == {"ok": 1, "diverged": 0, "failed": 0}
    assert list(one_per_trial(table)["fidelity"]) == ["full"]
    assert list(searched_rows(table)["fidelity"]) == ["search"]
    assert by_fidelity(table) == {"search": 1, "full": 1, "confirm": 0}


def test_searched_rows_are_those_that_the_sampler_is_told():
    records = handmade.staged(8)
    for cell, rows in cells_of(records):
        told = [(one.trial, one.fidelity) for one in searched_records(cell, records)]
        own = searched_rows(rows).sort_values("number")
        assert list(zip(own["trial"], own["fidelity"], strict=True)) == told


def test_the_share_confirmed_is_of_what_was_searched_on_subsets():
    assert share_confirmed(trials_table(handmade.searched(4))) is None
    assert share_confirmed(trials_table([])) is None
    one, two = handmade.record(0), handmade.record(1)
    assert share_confirmed(trials_table([handmade.searched_line(one), handmade.searched_line(two), two])) == 0.5


def test_what_the_recommended_came_to_on_unseen_pairs():
    own = handmade.record(0, metrics=handmade.values(1.0, 0.98))
    unseen = [(5, 0, handmade.values(0.9)), ({"random": 0.1, "seed": 0}, 1, handmade.values(0.8))]
    confirmed = handmade.confirmed_line(own, unseen)
    records = [handmade.retrain(), own, confirmed, handmade.record(1, metrics=handmade.values(0.5, 0.5))]
    summary = summarize(records, handmade.study())
    for part in (summary["cells"][0], summary["groups"][0]):
        found = part["recommended"]["confirmed"]
        assert part["recommended"]["report"] == own.report
        assert found["pairs"] == [
            {"forget": 5, "seed": 0, "status": "ok"},
            {"forget": {"random": 0.1, "seed": 0}, "seed": 1, "status": "ok"},
        ]
        assert found["report"]["ua"] == pytest.approx(0.85)
        # A quarter of what UA lies below Retrain's, and the recommended one's RA.
        assert found["gap"] == pytest.approx(0.15 / 4)
        assert found["searched_gap"] == pytest.approx(0.02 / 4)
        assert found["holds_up"] is False
        assert all(f"`{key}`" in as_plain.__doc__ for key in found)
    assert summarize(records[:2], handmade.study())["groups"][0]["recommended"]["confirmed"] is None


def test_a_new_column_of_costs():
    row = trials_table([handmade.record(0), handmade.retrain()]).iloc[0]
    assert (row["unlearn_seconds"], row["prefix_seconds"]) == (0.5, 0.1)
    assert (row["evaluate_seconds"], row["attack_seconds"]) == (1.5, 0.25)


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
        handmade.staged(6),
    ],
    ids=["empty", "diverged", "retrain", "no attack", "several", "staged"],
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
