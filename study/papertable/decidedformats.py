"""The decisions as texts to paste or to read by program: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Sequence

from neglora.objectives import GAP_METRICS
from study.papertable.decided import COSTS, Decided, Value
from study.papertable.texts import latex, latex_row, markdown, markdown_row

_HEADS = ("UA", "RA", "TA", "MIA-Efficacy", "Gap to Retrain", "Seconds", "Speed-up", "# Params")
_NOTE = (
    "UA, RA, TA and MIA-Efficacy in percent on the images that no choice was made on, where a study holds such back, "
    "with Wilson's 95% interval for the number of images and, over several replicates, their standard deviation. "
    "Gap to Retrain is the mean distance over the four, in points. Seconds are those of unlearning, for Retrain and "
    "base of training; the speed-up is over retraining"
)


def decided_csv(rows: Sequence[Decided]) -> str:
    """One line per row; fractions, seconds and bytes; what was not measured is empty.

    Columns: dataset, model, name, method (empty for a base), axes (JSON), trial, reason, replicates; of each of ua, ra,
    ta and mia its value, `NAME_low` and `NAME_high` (95% interval), `NAME_images`, `NAME_spread`; gap, speedup,
    unlearn_seconds, peak_memory_bytes, trainable_parameters; params (JSON), command.
    """
    columns = ["dataset", "model", "name", "method", "axes", "trial", "reason", "replicates"]
    for metric in GAP_METRICS:
        columns += [metric, *(f"{metric}_{part}" for part in ("low", "high", "images", "spread"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "gap", "speedup", *COSTS, "params", "command"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line: dict[str, object] = {
            **{name: getattr(row, name) for name in ("dataset", "model", "name", "method", "trial", "reason")},
            **{name: getattr(row, name) for name in ("replicates", "gap", "speedup", "command")},
            **row.costs,
            "axes": json.dumps(row.axes) if row.axes else None,
            "params": json.dumps(row.params) if row.params else None,
        }
        for metric, value in row.values.items():
            line |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            line |= {f"{metric}_images": value.images, f"{metric}_spread": value.spread}
        writer.writerow(line)
    return text.getvalue()


def decided_markdown(rows: Sequence[Decided], caption: str) -> str:
    """A table per dataset x model, and below it the configurations and commands.

    Args:
        rows: of one of the two tables.
        caption: what they are.
    """
    parts = []
    for title, own in itertools.groupby(rows, key=lambda row: row.title):
        lines = [f"### {markdown(f'{caption}: {title}')}", ""]
        lines += [markdown_row(["", *_HEADS]), markdown_row(["---", *["---:"] * len(_HEADS)])]
        notes = []
        for row in own:
            lines.append(markdown_row([markdown(row.name), *_cells(row, "—", " ± {}", " [{}, {}]")]))
            notes += _about(row, markdown)
        parts.append(
            "\n".join([*lines, "", markdown(f"{_NOTE}."), "", *(f"- {note}" for note in notes)]).rstrip() + "\n"
        )
    return "\n".join(parts)


def decided_latex(rows: Sequence[Decided], caption: str) -> str:
    """A `table*` with booktabs rules, one block per dataset x model.

    Args:
        rows: of one of the two tables.
        caption: what they are.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{l{'r' * len(_HEADS)}}}",
        r"\toprule",
        latex_row(["", *map(latex, _HEADS)]),
    ]
    notes = []
    for title, own in itertools.groupby(rows, key=lambda row: row.title):
        lines += [r"\midrule", rf"\multicolumn{{{len(_HEADS) + 1}}}{{l}}{{\textbf{{{latex(title)}}}}} \\"]
        for row in own:
            cells = _cells(row, "--", r"{{\tiny$\pm${}}}", r" {{\tiny [{}, {}]}}")
            lines.append(latex_row([latex(row.name), *cells]))
            notes += [f"{latex(title)}, {note}" for note in _about(row, latex)]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex(f'{caption}. {_NOTE}.')}}}"]
    lines += [rf"\par\raggedright\scriptsize {note}" for note in notes]
    return "\n".join([*lines, r"\end{table*}", ""])


def _cells(row: Decided, missing: str, with_spread: str, with_interval: str) -> list[str]:
    """What stands under the heads, in percent and points; formats are of the language."""

    def metric(value: Value) -> str:
        if value.value is None:
            return missing
        text = f"{100 * value.value:.2f}"
        text += "" if value.spread is None else with_spread.format(f"{100 * value.spread:.2f}")
        if value.low is None or value.high is None:
            return text
        return text + with_interval.format(f"{100 * value.low:.2f}", f"{100 * value.high:.2f}")

    seconds, parameters = row.costs["unlearn_seconds"], row.costs["trainable_parameters"]
    return [
        *(metric(row.values[name]) for name in GAP_METRICS),
        missing if row.gap is None else f"{100 * row.gap:.2f}",
        missing if seconds is None else f"{seconds:.3g}" if seconds < 1000 else f"{seconds:,.0f}",
        missing if row.speedup is None else f"{row.speedup:.3g}" if row.speedup < 1000 else f"{row.speedup:,.0f}",
        missing if parameters is None else f"{parameters:,.0f}",
    ]


def _about(row: Decided, escape: Callable[[str], str]) -> list[str]:
    """Which configuration a recommendation is, or why there is none."""
    if row.trial is None:
        return [] if row.reason is None else [f"{escape(row.name)}: {escape(row.reason)}"]
    if row.reason is None:
        return []
    params = ", ".join(f"{name}={value}" for name, value in row.params.items())
    method = "" if row.method is None or row.name.startswith(row.method) else f"{row.method} with "
    return [f"{escape(row.name)}: {escape(f'{method}{params} ({row.trial}); {row.reason}')}"]
