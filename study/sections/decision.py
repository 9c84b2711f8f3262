"""The recommended configuration beside Retrain and base, and the one of every cell."""

from __future__ import annotations

from neglora.objectives import GAP_METRICS, TOW_METRICS
from neglora.record import Record, forget_title
from study.aggregate import Base, shown
from study.recommend import reproduce_command
from study.references import base_name
from study.sections.gauge import gauges_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Cell, Group, Source
from study.sections.values import (
    command_block,
    configuration,
    count,
    measured,
    measured_briefly,
    megabytes,
    missing,
    percent,
    ratio,
    seconds,
)

_LAST = tag("th", "Configuration and command", scope="col", class_="prose")
_NO_CLOCK = "not measured on the device and with the threads of Retrain"

#: What a reader who does not know the names needs to read the table.
_GLOSSES = {
    "ua": "forgotten images that it no longer gets right",
    "ra": "retained training images that it gets right",
    "ta": "test images of the remaining classes that it gets right",
    "mia": "forgotten images that an attack takes for images never trained on",
    "gap": "mean distance over the four, in points; lower is better",
}
_SHORT = {"ua": "UA", "ra": "RA", "ta": "TA", "mia": "MIA-Efficacy", "gap": "Gap to Retrain"}


def decision_html(group: Group, source: Source) -> Html:
    """The group's recommendation with its numbers, its cost and its command; or why there is none."""
    choice = group.recommendation
    if choice.trial is None:
        return tag("p", f"No configuration can be recommended: {choice.reason}.", class_="verdict")
    record = source.by_trial[choice.trial]
    columns = [_trial_column(_heading("Recommended", "unlearned"), record)]
    if group.retrain is not None:
        columns.append(_trial_column(_heading("Retrain", "the goal"), group.retrain))
    columns += [_base_column(base) for base in group.bases if base.sparsity == 0]
    head, *rows = zip(["", *map(_named, _SHORT), *_COSTS], *columns, strict=True)
    return join(
        tag("p", verdict(record, group), class_="verdict"),
        tag("p", tag("strong", str(record.cell["method"])), " with ", configuration(record.params)),
        tag(
            "div",
            table(
                head_row(*head),
                [row(*cells) for cells in rows],
                caption=f"Recommended for {group.title}, beside the references",
                class_="numbers decision",
            ),
            gauges_html(record, group),
            class_="beside",
        ),
        tag("p", f"Trial {record.trial}: {choice.reason}.", class_="note"),
        _command(f"command-{group.slug}", record, source),
    )


def verdict(record: Record, group: Group) -> Html:
    """In a sentence or two: what the method does, how far it is from Retrain, and how much faster."""
    own = {name: shown(record.metrics, record.report, name) for name in GAP_METRICS}
    ua, ra, ta = ("an unknown share" if (value := own[name]) is None else f"{value:.1%}" for name in TOW_METRICS)
    does = (
        f" gets {ua} of the images to forget wrong, and stays right on {ra} of the retained and {ta} of unseen images."
    )
    speedup = shown(record.metrics, record.report, "speedup")
    faster = f" It took 1/{speedup:,.0f} of the time of retraining." if speedup is not None and speedup >= 2 else ""
    return join(tag("strong", str(record.cell["method"])), does, " ", _distance(own, group), faster)


def _distance(own: dict[str, float | None], group: Group) -> str:
    """The largest distance to Retrain. MIA counts where the attack has a signal on Retrain."""
    retrain = group.retrain
    if retrain is None:
        return "Retrain is missing, so that nobody knows how near that is to the goal."
    silent = retrain.metrics.get("mia_has_signal") is False
    names = TOW_METRICS if silent else GAP_METRICS
    goal = {name: shown(retrain.metrics, retrain.report, name) for name in names}
    found = {
        name: abs(value - aim) for name in names if (value := own[name]) is not None and (aim := goal[name]) is not None
    }
    if not found:
        return "Its distance to Retrain was not measured."
    worst = max(found, key=lambda name: found[name])
    of = " (MIA left aside, for the attack has no signal)" if silent else ""
    return f"Its largest distance to Retrain is {100 * found[worst]:.1f} points, in {_SHORT[worst]}{of}."


def summary_html(source: Source) -> Html | None:
    """Every group's recommendation in a row; None where there is one group, whose card says it all."""
    if len(source.groups) < 2:
        return None
    head = head_row(
        "Dataset and model",
        tag("th", "Method", scope="col", class_="prose"),
        *(_SHORT[name] for name in (*GAP_METRICS, "gap")),
        "Speed-up",
    )
    return table(
        head,
        [_summary_row(group, source) for group in source.groups],
        caption="Recommended, by dataset and model",
        class_="numbers",
    )


def _summary_row(group: Group, source: Source) -> Html:
    link = tag("th", tag("a", group.title, href=f"#{group.slug}"), scope="row")
    choice = group.recommendation
    if choice.trial is None:
        return row(link, tag("td", f"none: {choice.reason}", colspan=7, class_="prose"))
    record = source.by_trial[choice.trial]
    return row(
        link,
        tag("td", str(record.cell["method"]), class_="prose"),
        [tag("td", measured_briefly(record, name)) for name in GAP_METRICS],
        tag("td", percent(shown(record.metrics, record.report, "gap"), "Retrain is missing")),
        tag("td", ratio(shown(record.metrics, record.report, "speedup"), _NO_CLOCK, "×")),
    )


_COSTS = ("Time to make it", "Speed-up", "Memory", "Trained parameters")


def _named(name: str) -> Html:
    """A metric's row heading, with what it means below."""
    return tag("th", _SHORT[name], tag("span", _GLOSSES[name], class_="gloss"), scope="row")


def _base_column(base: Base) -> list[object]:
    return [
        _heading(base_name(base.sparsity), "before"),
        *(percent(shown(base.metrics, base.report, name)) for name in (*GAP_METRICS, "gap")),
        seconds(base.train_seconds, "not trained here"),
        missing("nothing was unlearned"),
        missing("not recorded for bases"),
        count(base.parameters),
    ]


def _heading(name: str, role: str) -> Html:
    return tag("th", name, tag("span", role, class_="gloss"), scope="col")


def _trial_column(name: Html, record: Record) -> list[object]:
    return [
        name,
        *(_value(record, metric) for metric in GAP_METRICS),
        percent(shown(record.metrics, record.report, "gap"), "Retrain is missing"),
        seconds(record.cost.get("unlearn_seconds")),
        ratio(shown(record.metrics, record.report, "speedup"), _NO_CLOCK, "×"),
        megabytes(record.cost.get("peak_memory_bytes")),
        count(record.cost.get("trainable_parameters")),
    ]


def _value(record: Record, metric: str) -> Html:
    flag = record.report.get("mia_has_signal", record.metrics.get("mia_has_signal"))
    noise = tag("span", "noise: no signal", class_="interval") if metric == "mia" and flag is False else None
    return join(measured(record, metric), noise)


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
