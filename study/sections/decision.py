"""The recommended configuration beside Retrain and base, and the one of every cell."""

from __future__ import annotations

from neglora.objectives import GAP_METRICS
from neglora.record import Record, forget_title
from study.aggregate import Base, shown
from study.recommend import reproduce_command
from study.references import base_name
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Cell, Group, Source
from study.sections.values import (
    command_block,
    configuration,
    count,
    measured,
    megabytes,
    missing,
    percent,
    ratio,
    seconds,
)

_NAMES = (
    "",
    "UA",
    "RA",
    "TA",
    "MIA-Efficacy",
    "Gap to Retrain",
    "Time to make it",
    "Speed-up",
    "Memory",
    "Trained parameters",
)
_LAST = tag("th", "Configuration and command", scope="col", class_="prose")
_NO_CLOCK = "not measured on the device and with the threads of Retrain"


def decision_html(group: Group, source: Source) -> Html:
    """The group's recommendation with its numbers, its cost and its command; or why there is none."""
    choice = group.recommendation
    if choice.trial is None:
        return tag("p", f"No configuration can be recommended: {choice.reason}.", class_="verdict")
    record = source.by_trial[choice.trial]
    columns = [_base_column(base) for base in group.bases if base.sparsity == 0]
    if group.retrain is not None:
        columns.append(_trial_column("Retrain", group.retrain))
    columns.append(_trial_column("Recommended", record))
    names = (
        "",
        "UA",
        "RA",
        "TA",
        "MIA-Efficacy",
        "Gap to Retrain",
        "Time to make it",
        "Speed-up",
        "Memory",
        "Trained parameters",
    )
    head, *rows = zip(names, *columns, strict=True)
    return join(
        tag(
            "p",
            tag("strong", str(record.cell["method"])),
            " with ",
            configuration(record.params),
            class_="verdict",
        ),
        tag("p", f"Trial {record.trial}: {choice.reason}."),
        table(
            head_row(*head),
            [row(*cells) for cells in rows],
            caption=f"Recommended for {group.title}, beside the references",
            class_="numbers decision",
        ),
        _command(f"command-{group.slug}", record, source),
    )


def _base_column(base: Base) -> list[object]:
    return [
        base_name(base.sparsity),
        *(percent(shown(base.metrics, base.report, name)) for name in (*GAP_METRICS, "gap")),
        seconds(base.train_seconds, "not trained here"),
        missing("nothing was unlearned"),
        missing("not recorded for bases"),
        count(base.parameters),
    ]


def _trial_column(name: str, record: Record) -> list[object]:
    return [
        name,
        *(measured(record, metric) for metric in GAP_METRICS),
        percent(shown(record.metrics, record.report, "gap"), "Retrain is missing"),
        seconds(record.cost.get("unlearn_seconds")),
        ratio(shown(record.metrics, record.report, "speedup"), _NO_CLOCK, "×"),
        megabytes(record.cost.get("peak_memory_bytes")),
        count(record.cost.get("trainable_parameters")),
    ]


def _command(identifier: str, record: Record, source: Source) -> Html:
    """The command for the first replicate; the others differ in class and seed only."""
    if not record.replicates:
        return tag("p", "The record holds no replicate, so that no command can reproduce it.")
    first = record.replicates[0]
    return join(
        tag(
            "p",
            f"This reproduces its numbers for forgetting {forget_title(first['forget'])} with seed {first['seed']} "
            "(add --to DIR to keep the model):",
        ),
        command_block(identifier, reproduce_command(record, source.space)),
    )


def cells_html(group: Group, source: Source) -> Html:
    """The recommended configuration of every cell of the group."""
    head = head_row("Cell", "Trials", "UA", "RA", "TA", "MIA-Efficacy", "Gap to Retrain", _LAST)
    rows = [_cell_row(index, cell, group, source) for index, cell in enumerate(group.cells)]
    return table(head, rows, caption=f"Recommended in every cell of {group.title}", class_="numbers")


def _cell_row(index: int, cell: Cell, group: Group, source: Source) -> Html:
    trials = tag("td", f"{cell.table['trial'].nunique()}")
    choice = cell.recommendation
    if choice.trial is None:
        return row(cell.label, trials, tag("td", f"none: {choice.reason}", colspan=6, class_="prose"))
    record = source.by_trial[choice.trial]
    return row(
        cell.label,
        trials,
        [tag("td", percent(shown(record.metrics, record.report, name))) for name in GAP_METRICS],
        tag("td", percent(shown(record.metrics, record.report, "gap"), "Retrain is missing")),
        tag(
            "td",
            configuration(record.params),
            tag(
                "details",
                tag("summary", "why, and the command"),
                tag("p", f"{record.trial}: {choice.reason}."),
                _command(f"cell-{index}-command-{group.slug}", record, source),
            ),
            class_="prose",
        ),
    )
