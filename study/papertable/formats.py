"""The paper's table as texts to paste or to read by program: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from study.papertable.rows import (
    EPOCHS,
    METRIC_COLUMNS,
    PaperGroup,
    PaperRow,
    PaperTable,
    Tried,
    footnote_letter,
)
from study.papertable.texts import latex, latex_row, markdown, markdown_row

_METRICS = tuple(name for name, _ in METRIC_COLUMNS)
_CAPTION = (
    "UA, MIA-Efficacy, RA and TA in percent after 1 and 2 epochs of unlearning, each of the configuration recommended "
    "for that number of epochs; RTE is the time of an unlearning epoch over that of a retraining epoch"
)


def as_markdown(table: PaperTable) -> str:
    """One table per dataset x model, each with its footnotes; percent."""
    parts = []
    for group in table.groups:
        names = ["Method", "# Params", *(f"{label}, {_epochs(e)}" for label in _labels() for e in EPOCHS)]
        lines = [
            f"### {markdown(group.title)}",
            "",
            markdown_row(names),
            markdown_row(["---", *["---:"] * (len(names) - 1)]),
        ]
        for row in group.rows:
            lines.append(markdown_row([markdown(row.name), *_measured(row, "—", "{} ± {}")]))
            if row.published is not None:
                own = [text if mark is None else f"{text} ({mark})" for text, mark in _published(row, group)]
                lines.append(markdown_row([markdown(_paper_name(row)), *map(markdown, own)]))
        lines += ["", markdown(_caption([group])), ""]
        lines += [f"- ({mark}) {markdown(reason)}" for mark, reason in _footnotes(group)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def as_latex(table: PaperTable) -> str:
    """A `table*` with booktabs rules, one block per dataset x model; percent."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{ll{'r' * len(_labels()) * len(EPOCHS)}}}",
        r"\toprule",
        latex_row(["Method", r"\# Params", *(rf"\multicolumn{{2}}{{c}}{{{latex(label)}}}" for label in _labels())]),
        latex_row(["", "", *([latex(_epochs(epochs)) for epochs in EPOCHS] * len(_labels()))]),
    ]
    notes: list[str] = []
    for group in table.groups:
        # Letters go on from one group to the next, since all notes stand below one table.
        first = len(notes)
        columns = 2 + len(_labels()) * len(EPOCHS)
        lines += [
            r"\midrule",
            rf"\multicolumn{{{columns}}}{{l}}{{\textbf{{{latex(group.title)}}}}} \\",
        ]
        for row in group.rows:
            lines.append(latex_row([latex(row.name), *_measured(row, "--", r"{}{{\tiny$\pm${}}}")]))
            if row.published is not None:
                own = [
                    latex(text) if mark is None else rf"{latex(text)}\textsuperscript{{{mark}}}"
                    for text, mark in _published(row, group, first)
                ]
                lines.append(latex_row([rf"\quad {latex(_paper_name(row))}", *own]))
        several = f"{group.title}: " if len(table.groups) > 1 else ""
        notes += [
            rf"\par\raggedright\scriptsize \textsuperscript{{{mark}}} {latex(several + reason)}"
            for mark, reason in _footnotes(group, first)
        ]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex(_caption(table.groups))}}}"]
    lines += [r"\par\smallskip", *notes] if notes else []
    return "\n".join([*lines, r"\end{table*}", ""])


def as_csv(table: PaperTable) -> str:
    """One line per row and number of epochs; fractions; what was not measured or published is empty.

    Columns: dataset, model, method (empty for the base), name, epochs, trial, reason (why no trial), replicates,
    parameters; ua, mia, ra, ta, rte_epoch, each with `NAME_spread`; published_in, published_as,
    published_parameters, `published_NAME` for each of the five; doubtful (`NAMES: reason`, joined by ` | `).
    """
    shown = (*_METRICS, "rte_epoch")
    columns = ["dataset", "model", "method", "name", "epochs", "trial", "reason", "replicates", "parameters"]
    columns += [column for name in shown for column in (name, f"{name}_spread")]
    columns += ["published_in", "published_as", "published_parameters", *(f"published_{name}" for name in shown)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "doubtful"], lineterminator="\n")
    writer.writeheader()
    for group in table.groups:
        for row in group.rows:
            for epochs in EPOCHS:
                line = {"dataset": group.dataset, "model": group.model, "method": row.method, "name": row.name}
                writer.writerow({**line, "epochs": epochs, **_tried(row.tried[epochs]), **_said(row, group, epochs)})
    return text.getvalue()


def _tried(tried: Tried) -> dict[str, object]:
    record = tried.record
    return {
        "trial": None if record is None else record.trial,
        "reason": tried.reason,
        "replicates": None if record is None else len(record.replicates),
        "parameters": tried.parameters,
        **tried.values,
        **{f"{name}_spread": value for name, value in tried.spreads.items()},
    }


def _said(row: PaperRow, group: PaperGroup, epochs: int) -> dict[str, object]:
    own, table = row.published, group.published
    if own is None or table is None:
        return {}
    doubts: dict[str, list[str]] = {}
    for field in ("parameters", *_METRICS, "rte_epoch"):
        reason = table.doubt(own, field, epochs)
        if reason is not None:
            doubts.setdefault(reason, []).append(field)
    return {
        "published_in": table.source,
        "published_as": own.name,
        "published_parameters": own.parameters,
        **{f"published_{name}": own.metrics[epochs][name] for name in _METRICS},
        "published_rte_epoch": own.rte_epoch,
        "doubtful": " | ".join(f"{', '.join(names)}: {reason}" for reason, names in doubts.items()),
    }


def _labels() -> list[str]:
    return [*(label for _, label in METRIC_COLUMNS), "RTE per epoch"]


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def _caption(groups: Sequence[PaperGroup]) -> str:
    own = [group for group in groups if group.published is not None and any(row.published for row in group.rows)]
    sources = dict.fromkeys(f"{group.published.source} ({group.published.model})" for group in own if group.published)
    if not sources:
        return f"{_CAPTION}."
    published = f"{_CAPTION}. Rows 'paper' are the published numbers of the paper's {' and '.join(sources)}"
    marked = "; letters mark doubtful ones" if any(group.reasons for group in own) else ""
    return f"{published}{marked}."


def _footnotes(group: PaperGroup, first: int = 0) -> list[tuple[str, str]]:
    return [(footnote_letter(first + index), reason) for index, reason in enumerate(group.reasons)]


def _paper_name(row: PaperRow) -> str:
    return f"paper: {row.published.name}" if row.published else ""


def _measured(row: PaperRow, missing: str, with_spread: str) -> list[str]:
    """Parameters, then each metric and RTE at one and at two epochs."""
    parameters = dict.fromkeys(tried.parameters for tried in row.tried.values() if tried.parameters is not None)
    fields = [" / ".join(f"{number:,}" for number in parameters) or missing]
    for name in _METRICS:
        for epochs in EPOCHS:
            value, deviation = row.tried[epochs].values.get(name), row.tried[epochs].spreads.get(name)
            text = missing if value is None else f"{100 * value:.2f}"
            spread = None if value is None or deviation is None else f"{100 * deviation:.2f}"
            fields.append(text if spread is None else with_spread.format(text, spread))
    rtes = [row.tried[epochs].values.get("rte_epoch") for epochs in EPOCHS]
    return [*fields, *(missing if value is None else f"{value:.3g}" for value in rtes)]


def _published(row: PaperRow, group: PaperGroup, first: int = 0) -> list[tuple[str, str | None]]:
    """The same fields as published, each with the letter of its footnote; the group's first is letter `first`."""
    own = row.published
    if own is None:
        return []
    fields = [("parameters", 1, own.parameters)]
    fields += [(name, epochs, f"{100 * own.metrics[epochs][name]:.2f}") for name in _METRICS for epochs in EPOCHS]
    fields += [("rte_epoch", epochs, f"{own.rte_epoch:.3g}") for epochs in EPOCHS]
    doubts = [group.doubt(row, name, epochs) for name, epochs, _ in fields]
    return [
        (text, None if doubt is None else footnote_letter(first + doubt))
        for (_, _, text), doubt in zip(fields, doubts, strict=True)
    ]
