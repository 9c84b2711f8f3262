"""The paper's table: which trial stands where, what stands beside it, and the texts to paste."""

import csv
import io
import re

import handmade
import pytest

from study.papertable import as_csv, as_latex, as_markdown, paper_table, sparse_rows, write_paper_tables
from study.papertable.rows import NONE_TRIED, footnote_letter
from study.references import base_values
from study.sections.source import Source

V = handmade.values
CIFAR = {"dataset": "cifar10", "model": "resnet50"}


def trial(number, ra, epochs, sparsity=0.0, **more):
    params = {"lr": 0.1, "epochs": epochs, "sparsity": sparsity}
    return handmade.record(number, metrics=V(1.0, ra), params=params, **more)


def table_of(records, **changes):
    return paper_table(records, handmade.study(**changes))


def only(records, **changes):
    (group,) = table_of(records, **changes).groups
    return group


def csv_rows(records, **changes):
    return list(csv.DictReader(io.StringIO(as_csv(table_of(records, **changes)))))


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)[|]", line)[1:-1]]


def test_rows_are_base_retrain_and_the_methods_in_the_studys_order():
    group = only(handmade.searched(4))
    assert [row.name for row in group.rows] == ["Base", "Retrain", "neggrad", "partial_neggrad", "neglora"]
    assert [row.reference for row in group.rows] == [True, True, False, False, False]
    assert group.published is None


def test_each_number_of_epochs_has_its_recommended_trial_on_the_dense_base():
    records = [handmade.retrain(), trial(0, 0.8, 1), trial(1, 0.9, 1), trial(2, 0.7, 2), trial(3, 0.99, 2, 0.9)]
    row = only(records).rows[-1]
    assert [tried.record.trial[-4:] for tried in row.tried.values()] == ["0001", "0002"]


def test_epochs_and_sparsity_may_be_axes():
    records = [
        handmade.retrain(),
        *(
            handmade.record(0, metrics=V(1.0, ra), params={"lr": 0.1}, axes={"epochs": epochs, "sparsity": level})
            for ra, epochs, level in [(0.8, 1, 0.0), (0.9, 2, 0.0), (0.99, 2, 0.9)]
        ),
    ]
    row = only(records).rows[-1]
    assert [tried.values["ra"] for tried in row.tried.values()] == [0.8, 0.9]


def test_constraints_of_the_study_are_kept():
    near = handmade.record(0, metrics=V(0.9, 1.0), params={"lr": 0.1, "epochs": 1})
    far = handmade.record(1, metrics=V(1.0, 0.5), params={"lr": 0.1, "epochs": 1})
    records = [handmade.retrain(), near, far]
    assert only(records).rows[-1].tried[1].record is near
    assert only(records, constraints={"ua": {"min": 0.95}}).rows[-1].tried[1].record is far


def test_shown_values_are_the_report_halfs():
    record = handmade.record(0, metrics=V(ta=0.97), report=V(ta=0.93))
    assert only([handmade.retrain(), record]).rows[-1].tried[2].values["ta"] == 0.93


def test_what_was_not_tried_is_none_with_a_reason():
    lost = trial(1, 0.9, 2, status="diverged", reason="nan")
    row = only([handmade.retrain(), lost]).rows[-1]
    assert [tried.reason for tried in row.tried.values()] == [NONE_TRIED, "every trial diverged or failed"]
    assert all(tried.record is None and tried.values == {} for tried in row.tried.values())


def test_other_sparsities_are_rows_apart():
    records = [handmade.retrain(), trial(0, 0.8, 1), trial(1, 0.9, 2, 0.9)]
    study = Source(handmade.study(), records)
    bases = base_values(records, "digits", "tinyvit_nano")
    base, sparse = sparse_rows(study.groups[0].table, study.by_trial, 0.9, bases=bases, constraints={})
    assert (base.name, base.reference) == ("Base, 90% sparse", True)
    assert sparse.name == "neglora, 90% sparse"
    assert sparse.tried[2].record.trial.endswith("-0001")


def test_forget_sets_of_every_shape_make_a_table():
    sets = [3, "cat", [1, 2], {"random": 0.1, "seed": 0}]
    replicates = [handmade.replicate(V(), V(), forget=forget) for forget in sets]
    record = handmade.record(0, replicates=replicates, params={"lr": 0.1, "epochs": 1})
    lines = csv_rows([handmade.retrain(), record])
    assert [line["replicates"] for line in lines if line["trial"] == record.trial] == ["4"]


def test_published_rows_stand_beside_measured_ones():
    records = [handmade.retrain(**CIFAR), trial(0, 0.9, 1, **CIFAR), trial(0, 0.9, 1, method="other", **CIFAR)]
    group = only(records)
    assert group.published.source == "Figure 4"
    assert [row.published and row.published.name for row in group.rows] == [None, "Retrain", "NegLoRA", None]


def test_doubtful_cells_point_at_their_reasons():
    group = only([handmade.retrain(**CIFAR), trial(0, 0.9, 1, **CIFAR)])
    _, retrain, neglora = group.rows
    assert group.doubt(retrain, "ua", 1) is None
    assert "UA 0.00" in group.reasons[group.doubt(retrain, "ua", 2)]
    assert group.doubt(retrain, "ra", 1) == group.doubt(retrain, "ta", 2)
    assert "20,490" in group.reasons[group.doubt(neglora, "parameters", 1)]
    # Rows that are not shown bring no footnote.
    assert not any("20.5M" in reason for reason in group.reasons)


def test_footnotes_have_letters_without_end():
    assert [footnote_letter(index) for index in (0, 1, 25, 26, 27, 52)] == ["a", "b", "z", "aa", "ab", "ba"]


def test_csv_has_fractions_and_leaves_empty_what_is_not_known():
    lines = csv_rows([handmade.retrain(**CIFAR), trial(0, 0.9, 1, **CIFAR)])
    assert [(line["name"], line["epochs"]) for line in lines] == [
        (name, epochs) for name in ("Base", "Retrain", "neglora") for epochs in ("1", "2")
    ]
    one, two = lines[-2:]
    assert (one["ra"], one["ra_spread"], one["published_ra"]) == ("0.9", "", "0.9817")
    assert (two["ra"], two["reason"], two["published_ra"]) == ("", NONE_TRIED, "0.9569")
    assert re.fullmatch(r"parameters: 20\.5K is [^|]+ \| ua: The class is [^|]+", one["doubtful"])
    assert lines[2]["doubtful"].startswith("ra, ta: A retrained model")
    assert (lines[0]["method"], lines[0]["published_ra"]) == ("", "")


def test_markdown_is_a_table_of_one_width():
    lines = as_markdown(table_of([handmade.retrain(**CIFAR), trial(0, 0.9, 1, **CIFAR)])).splitlines()
    rows = [cells(line) for line in lines if line.startswith("|")]
    assert {len(row) for row in rows} == {12}
    assert [row[0] for row in rows[2:]] == ["Base", "Retrain", "paper: Retrain", "neglora", "paper: NegLoRA"]
    assert rows[5][6:8] == ["90.00", "—"]
    assert rows[6][1] == "20.5K (c)"
    assert any(line.startswith("- (c) 20.5K is the head") for line in lines)


def test_spread_over_replicates_is_shown():
    ones = [handmade.replicate(V(ra=ra), V(ra=ra), seed=seed) for seed, ra in enumerate([0.9, 0.92])]
    record = handmade.record(0, replicates=ones, params={"lr": 0.1, "epochs": 1})
    assert "91.00 ± 1.41" in as_markdown(table_of([handmade.retrain(), record]))
    assert r"& 91.00{\tiny$\pm$1.41} &" in as_latex(table_of([handmade.retrain(), record]))


def test_latex_rows_have_twelve_cells_and_every_mark_a_note():
    both = [*CIFAR.items()], [("dataset", "cifar10"), ("model", "vit_small")]
    records = [
        record
        for place in map(dict, both)
        for record in (
            handmade.retrain(**place),
            trial(0, 0.9, 1, **place),
            trial(0, 0.9, 1, method="neggrad", **place),
        )
    ]
    text = as_latex(table_of(records))
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 1 + 2 * 7
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {12}
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    marks = set(re.findall(r"\\textsuperscript\{(\w+)\}", text))
    notes = re.findall(r"raggedright.*?\\textsuperscript\{(\w+)\}", text)
    assert len(notes) == len(set(notes))
    assert marks == set(notes) == {"a", "b", "c", "d", "e", "f"}


NASTY = "\\input{x}|a_b%$&#~^\n</pre><script>`*"


def test_text_from_data_is_text_in_every_format():
    records = [handmade.record(0, method=NASTY, dataset=NASTY, params={"epochs": 1})]
    latex = as_latex(table_of(records))
    assert r"\textbackslash{}input\{x\}\textbar{}a\_b\%\$\&\#\textasciitilde{}\textasciicircum{} " in latex
    bracketed = as_latex(table_of([handmade.record(0, method="[x]*", params={"epochs": 1})]))
    assert "\n{[}x]{*} & " in bracketed
    rows = [line for line in as_markdown(table_of(records)).splitlines() if line.startswith("|")]
    assert {len(cells(row)) for row in rows} == {12}
    assert not any(re.search(r"(?<!\\)[<`*]", row) for row in rows)
    assert [line["method"] for line in csv_rows(records)] == [NASTY] * 2


@pytest.mark.parametrize(
    "records",
    [[], [handmade.retrain()], [handmade.record(0, status="failed", reason="no")], handmade.searched(4, (0, 1))],
    ids=["empty", "retrain", "failed", "several"],
)
def test_written_files_are_what_the_writers_say(records, tmp_path):
    folder = handmade.write_study(tmp_path / "study", records)
    for _ in range(2):
        paths = write_paper_tables(folder, records, handmade.study())
    table = table_of(records)
    texts = [path.read_text(encoding="utf-8") for path in paths]
    assert texts[:3] == [as_csv(table), as_markdown(table), as_latex(table)]
    assert sorted(path.name for path in (folder / "tables").iterdir()) == [
        f"{name}.{kind}" for name in ("cells", "decision", "paper") for kind in ("csv", "md", "tex")
    ]


def test_lines_of_a_search_and_of_unseen_pairs_are_not_in_it():
    records = handmade.staged(16)
    full = [one for one in records if one.fidelity == "full"]
    shown, alone = csv_rows(records), csv_rows(full)
    known = [
        [(row["name"], row["epochs"], row["trial"], row["ra"]) for row in rows if row["trial"]]
        for rows in (shown, alone)
    ]
    assert len(known[0]) > 3
    assert sorted(known[0]) == sorted(known[1])
    left = {row["reason"] for row in shown if row["method"] and not row["trial"]}
    assert left <= {"no trial was measured in full"}
