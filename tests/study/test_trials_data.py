"""The table from which the page makes hover texts and the panel: what it holds of each trial, and how large it is."""

import json

import handmade
import plotly.graph_objects as go
import pytest

from study.aggregate import reproduce_command
from study.sections.figure import figure_html, figures_of
from study.sections.source import Source
from study.sections.trials import FRONTS, TRIAL_KEYS, trials_data

V = handmade.values


def table_of(records, **changes):
    source = Source(handmade.study(**changes), records)
    return trials_data(source.groups[0], source)


def rows_of(table):
    return {row[0]: dict(zip(TRIAL_KEYS, row, strict=True)) for row in table["trials"]}


def command(table, row):
    words = [table["words"][place] for place in (*row["words"], *table["tail"])]
    texts = [word or f"{name}={value}" for name, value, word in words]
    return " ".join([table["heads"][row["head"]][0], *(f"--set {text}" for text in texts)])


def test_each_trial_is_there_once_at_its_best_measurement():
    records = handmade.staged(16)
    table = table_of(records, **handmade.STAGED)
    rows = rows_of(table)
    assert set(rows) == {one.trial for one in records if one.cell["method"] != "retrain"}
    outcomes = {trial: table["texts"][row["outcome"]] for trial, row in rows.items()}
    for one in records[1:]:
        if one.fidelity == "full" and one.status == "ok":
            assert outcomes[one.trial] == "measured in full"
    assert "diverged: the loss was not finite at step 6 of 8" in outcomes.values()
    assert any(text.startswith("measured on subsets only; its accuracy of 11.0%") for text in outcomes.values())


def test_commands_are_put_together_from_parts_that_are_written_once():
    records = handmade.searched(12, (0, 1))
    space = {"evaluation": {"batch_size": 32, "attacks": "all", **handmade.SAMPLES}, "data": {"image_size": 32}}
    table = table_of(records, **space)
    made = {trial: command(table, row) for trial, row in rows_of(table).items() if row["head"] >= 0}
    assert made == {
        one.trial: reproduce_command(one, handmade.study(**space)) for one in records[1:] if one.replicates
    }  # fmt: skip
    assert len(made) > 30
    assert len(table["heads"]) == 3
    assert len(table["tail"]) == 2


def test_values_are_the_reports_with_interval_spread_and_the_selections():
    ones = [handmade.replicate(V(ta=0.9), V(ta=ta), seed=seed) for seed, ta in enumerate([0.8, 0.82])]
    table = table_of([handmade.retrain(), handmade.record(0, replicates=ones)])
    place = [metric[0] for metric in table["metrics"]].index("TA")
    (row,) = rows_of(table).values()
    shown, interval, spread, chosen = (table["texts"][one] for one in row["values"][4 * place : 4 * place + 4])
    assert (shown, spread, chosen) == ("81.00%", "± 1.41", "90.00%")
    assert interval.startswith("75.")
    assert interval.endswith(", n\u00a0243")
    assert table["references"][0][0] == "Retrain"
    assert table["references"][0][1][place] == "97.00%"
    assert [name for name, _ in table["references"]] == ["Retrain", "Base"]
    assert [table["texts"][one] for one in row["costs"]] == ["0.50 s", "1.50 s", "256 MiB", "9,216", "cpu, 1 thread"]
    assert table["halves"]


def test_what_was_not_measured_is_empty_not_invented():
    lost = handmade.record(1, status="failed", reason="a worker was lost")
    table = table_of([handmade.record(0, metrics=V(mia=None, speedup=None)), lost])
    place = [metric[0] for metric in table["metrics"]].index("UA")
    first, second = rows_of(table).values()
    assert "MIA-Efficacy" not in [metric[0] for metric in table["metrics"]]
    assert [table["texts"][one] for one in second["values"]] == [""] * len(second["values"])
    assert second["head"] == -1
    assert table["texts"][first["values"][4 * place]] == "100.00%"
    assert not table_of([handmade.record(0)], selection={"holdout": 0})["halves"]


def test_fronts_are_each_methods_own():
    records = [
        handmade.record(0, metrics=V(1.0, 0.9, 0.9, 0.9)),
        handmade.record(1, metrics=V(1.0, 0.8, 0.95, 0.8)),
        handmade.record(2, metrics=V(0.9, 0.8, 0.9, 0.8)),
        handmade.record(0, metrics=V(0.5, 0.5, 0.5, 0.5), method="neggrad"),
    ]
    table = table_of(records)
    fronts = [[table["fronts"][one] for one in row["fronts"]] for row in rows_of(table).values()]
    ra, ta, mia, together = FRONTS
    assert fronts == [[ra, mia, together], [ta, together], [], [ra, ta, mia, together]]


def test_the_table_stays_small():
    table = table_of(handmade.searched(100, (0, 1, 2)))
    size = len(json.dumps(table, separators=(",", ":")))
    assert len(table["trials"]) == 300
    assert size / 300 < 450
    assert len(table["texts"]) == len(set(table["texts"]))


@pytest.mark.parametrize("params", [{"lr": 1e-05}, {"targets": ["ffn", "it's"]}, {"a b": "c; d"}, {"flag": True}, {}])
def test_settings_that_need_quotes_make_the_same_command(params):
    own = handmade.record(0, params=params)
    table = table_of([own])
    (row,) = rows_of(table).values()
    assert command(table, row) == reproduce_command(own, handmade.study())


def test_ids_that_repeat_along_a_line_are_written_once():
    lines = {"meta": "trials", "x": [1, 2, 3, None, 1, 2], "y": [1, 2, 3, None, 1, 2]}
    figure = go.Figure(layout={"height": 300})
    figure.add_scatter(**lines, customdata=["a", "a", "a", None, "b", "b"])
    figure.add_scatter(**lines, customdata=list("abcdef"))
    figure.add_scatter(**lines | {"meta": None}, customdata=["a"] * 6)
    written = figure_html("x", "title", "caption", figure, finding="finding")
    first, second, third = (trace["customdata"] for trace in figures_of(written)[0].spec["data"])
    assert first == {"trials": ["a", "b"], "places": [0, 0, 0, None, 1, 1]}
    assert (second, third) == (list("abcdef"), ["a"] * 6)
    assert "min-height:300px" in written
