"""The best that each method had after equal spending: in trials, and in seconds."""

from __future__ import annotations

from collections.abc import Sequence

from neglora.objectives import GAP_METRICS
from study.budget import Bought, Curve, bought, clock_unit, clocks, method_curves, second_budgets, trial_budgets
from study.plots.progress import is_share, volume_text
from study.sections.html import Html, join, table, tag
from study.sections.source import Group, Source
from study.sections.values import images, missing, percent


def equal_html(group: Group, source: Source) -> Html | None:
    """A table of methods by budgets; None where nothing was tried."""
    objectives = list(source.space.get("objectives", []))
    share = is_share(objectives)
    curves = method_curves(group.table, objectives)
    trials = trial_budgets(curves)
    if not trials:
        return None
    unit = clock_unit(clocks(group.table))
    seconds = second_budgets(curves) if unit else []
    constraints = source.space.get("constraints") or {}
    by_trials = [[bought(group.table, curve, budget, constraints) for curve in curves] for budget in trials]
    by_seconds = [[bought(group.table, c, c.within(budget), constraints) for c in curves] for budget in seconds]
    columns = [*by_trials, *by_seconds]
    best = [_best(column) for column in columns]
    body = [
        tag(
            "tr",
            tag("th", curve.name, scope="row"),
            [_field(column[place], best[index] == place, share) for index, column in enumerate(columns)],
        )
        for place, curve in enumerate(curves)
    ]
    return join(
        tag("p", tag("strong", _finding(curves, trials, by_trials, seconds, by_seconds, unit)), class_="finding"),
        table(
            _head(trials, seconds, unit),
            body,
            caption=f"Distance to Retrain after equal spending: {group.title}",
            class_="numbers equal",
        ),
        tag(
            "p",
            "Above, the mean distance to Retrain over UA, RA, TA and MIA-Efficacy (0% is Retrain itself, lower is "
            "better) of the setting that would have been recommended by then: chosen on the selection half, shown on "
            f"the {source.reported_on}. Below, what the method's front had covered by then (selection half, higher is "
            "better). The nearest of a column is bold."
            + _grain(group, source)
            + _about_cells(group)
            + (" Only trials that were measured in full by now can be chosen." if source.staged else ""),
            class_="note",
        ),
    )


def _grain(group: Group, source: Source) -> str:
    """How much of a distance one image makes: smaller differences are none."""
    record = source.by_trial.get(group.recommendation.trial or "")
    count = None if record is None else images(record, "ua")
    if record is None or not count:
        return ""
    total = count * len(record.replicates)
    return (
        f" One image to forget more or less, of {total:,}, moves the distance by "
        f"{100 / (len(GAP_METRICS) * total):.2f} points."
    )


def _about_cells(group: Group) -> str:
    if not any(cell.axes for cell in group.cells):
        return ""
    return " A method's cells count together and take turns: the first trial of each, then the second of each."


def _head(trials: Sequence[int], seconds: Sequence[float], unit: str | None) -> list[Html]:
    return [
        tag(
            "tr",
            tag("th", "Method", rowspan=2, scope="col"),
            tag("th", "After as many trials", colspan=len(trials), scope="colgroup"),
            tag("th", f"Within as many {unit}", colspan=len(seconds), scope="colgroup") if seconds else None,
        ),
        tag(
            "tr",
            [tag("th", f"{budget:,}", scope="col") for budget in trials],
            [tag("th", f"{budget:,.1f} s", scope="col") for budget in seconds],
        ),
    ]


def _field(own: Bought, best: bool, share: bool) -> Html:
    if not own.trials:
        return tag("td", missing("no trial had ended by then"))
    covers = tag("span", f"covers {volume_text(own.hypervolume, share)}", class_="interval")
    why = "Retrain is missing" if own.trial else own.reason
    title = f"{own.trial}, of {own.trials} trials" if own.trial else None
    return tag("td", tag("strong" if best else "span", percent(own.gap, why), title=title), covers)


def _best(column: Sequence[Bought]) -> int | None:
    """The nearest to Retrain; None where nobody has a distance, or several share the least."""
    known = [(own.gap, place) for place, own in enumerate(column) if own.gap is not None]
    least = [place for gap, place in known if gap == min(known)[0]]
    return least[0] if len(least) == 1 and len(column) > 1 else None


def _finding(
    curves: Sequence[Curve],
    trials: Sequence[int],
    by_trials: Sequence[Sequence[Bought]],
    seconds: Sequence[float],
    by_seconds: Sequence[Sequence[Bought]],
    unit: str | None,
) -> str:
    each = " each" if len(curves) > 1 else ""
    told = [_nearest(by_trials[-1], f"With {trials[-1]} trial{'s' if trials[-1] > 1 else ''}{each}")]
    if seconds and each:
        told.append(_nearest(by_seconds[-1], f"within {seconds[-1]:,.1f} {unit} each"))
    found = [text for text in told if text is not None]
    return f"{'; '.join(found)}." if found else "No distance to Retrain is known, so that only volumes compare."


def _nearest(column: Sequence[Bought], when: str) -> str | None:
    known = sorted((own.gap, place) for place, own in enumerate(column) if own.gap is not None)
    if not known:
        return None
    names = [column[place].method for gap, place in known if gap == known[0][0]]
    least = f"{100 * known[0][0]:.2f} points away on average"
    if len(names) > 1:
        return f"{when}, {' and '.join(names)} are equally near to Retrain, {least}"
    behind = f", before {column[known[1][1]].method} with {100 * known[1][0]:.2f}" if len(known) > 1 else ""
    return f"{when}, {names[0]} comes nearest to Retrain, {least}{behind}"
