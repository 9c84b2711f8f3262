"""The decisions as tables to cite: what stands in them, and that no name in them is markup."""

import csv
import io
import json
import re

import handmade
import pytest

from neglora.intervals import wilson
from study.aggregate import trials_table
from study.papertable.decided import RECOMMENDED, RETRAIN, cell_rows, decision_rows
from study.papertable.decidedformats import decided_csv, decided_latex, decided_markdown
from study.papertable.files import CAPTIONS
from study.recommend import recommend

V = handmade.values
TABLES = {"decision": decision_rows, "cells": cell_rows}


def csv_of(rows):
    return list(csv.DictReader(io.StringIO(decided_csv(rows))))


def test_each_group_has_what_is_recommended_retrain_and_its_dense_base():
    rows = decision_rows(handmade.grid(2), handmade.study(**handmade.GRID))
    assert [row.name for row in rows] == [RECOMMENDED, RETRAIN, "Base"] * 4
    assert len({row.title for row in rows}) == 4


def test_the_recommended_one_is_the_reports_with_its_values_of_the_report_half():
    records = handmade.searched(8, (0, 1))
    row = decision_rows(records, handmade.study())[0]
    chosen = recommend(trials_table(records)).trial
    record = next(one for one in records if one.trial == chosen)
    assert (row.trial, row.method) == (chosen, record.cell["method"])
    for name in ("ua", "ra", "ta", "mia"):
        assert row.values[name].value == record.report[name]
    own = row.values["ta"]
    assert own.images == handmade.COUNTS["test_report"]
    assert (own.low, own.high) == wilson(own.value, own.images)
    assert own.spread is not None
    assert row.command is not None
    assert "--method" in row.command


def test_every_cell_has_a_row_with_its_levels():
    records = [handmade.retrain(), *(handmade.record(0, axes={"sparsity": level}) for level in (0.0, 0.9))]
    rows = cell_rows(records, handmade.study())
    assert [(row.name, row.axes) for row in rows] == [
        ("neglora, sparsity 0.0", {"sparsity": 0.0}),
        ("neglora, sparsity 0.9", {"sparsity": 0.9}),
    ]


def test_where_nothing_is_recommended_the_reason_stands():
    lost = [handmade.record(0, status="diverged", reason="nan")]
    for make in TABLES.values():
        row = make(lost, handmade.study())[0]
        assert (row.trial, row.reason) == (None, "every trial diverged or failed")
        assert "every trial diverged or failed" in decided_markdown([row], "a")
        assert "every trial diverged or failed" in decided_latex([row], "a")
        (line,) = csv_of([row])
        assert (line["trial"], line["ua"], line["ua_low"], line["params"]) == ("", "", "", "")


def test_the_csv_has_fractions_and_names_what_was_not_measured():
    recommended, retrain, base = csv_of(decision_rows([handmade.retrain(), handmade.record(0)], handmade.study()))
    assert recommended["ta"] == retrain["ta"] == "0.97"
    assert float(recommended["ta_low"]) < 0.97 < float(recommended["ta_high"])
    assert recommended["ua_spread"] == "", "one replicate has no spread"
    assert json.loads(recommended["params"])["lr"] == 1e-3
    assert recommended["command"].startswith("neglora unlearn --dataset digits")
    assert (base["method"], base["trial"], base["ua"], base["ua_images"]) == ("", "", "0.0", "")
    assert (retrain["reason"], retrain["command"]) == ("", "")


def test_percent_intervals_and_spread_stand_in_the_texts():
    records = handmade.searched(4, (0, 1))
    rows = decision_rows(records, handmade.study())
    markdown, latex = decided_markdown(rows, "a"), decided_latex(rows, "a")
    assert "97.00 ± 0.00 [94.02, 98.52]" in markdown
    assert r"97.00{\tiny$\pm$0.00} {\tiny [94.02, 98.52]}" in latex
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2


NASTY = "\\input{x}|a_b%$&#~^\n</pre><script>`*"


@pytest.mark.parametrize("kind", TABLES)
def test_text_from_data_is_text_in_every_format(kind):
    params = {"lr": 0.1, "targets": NASTY}
    records = [handmade.record(0, method=NASTY, dataset=NASTY, model="[x]*", params=params, axes={"merge": NASTY})]
    rows = TABLES[kind](records, handmade.study())
    assert len(rows) == 1
    latex = decided_latex(rows, CAPTIONS[kind])
    assert r"\input{" not in latex
    assert r"\textbackslash{}input\{x\}\textbar{}a\_b\%\$\&\#" in latex
    lines = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {9}
    markdown = decided_markdown(rows, CAPTIONS[kind])
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)[|]", line)) for line in table} == {11}
    assert not re.search(r"(?<!\\)[<`*]", markdown)
    (line,) = csv_of(rows)
    assert line["method"] == NASTY
    assert json.loads(line["params"])["targets"] == NASTY


@pytest.mark.parametrize("kind", TABLES)
def test_an_empty_study_has_empty_tables(kind):
    rows = TABLES[kind]([], handmade.study())
    assert rows == []
    assert csv_of(rows) == []
    assert decided_markdown(rows, "a") == ""
    assert r"\bottomrule" in decided_latex(rows, "a")


def test_lines_on_subsets_are_not_in_it():
    for row in cell_rows(handmade.staged(8), handmade.study(**handmade.STAGED)):
        assert row.trial is None or row.values["ta"].images == handmade.COUNTS["test_report"]
