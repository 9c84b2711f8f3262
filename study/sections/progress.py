"""What the search gained, trial by trial and second by second."""

from __future__ import annotations

from collections.abc import Sequence

from neglora.objectives import METRICS
from study.budget import Curve, clock_unit, clocks, second_budgets, volume_of
from study.plots.panels import NAMES
from study.plots.progress import Against, is_share, progress_figure, progress_info, volume_text
from study.sections.figure import figure_html, figures_html
from study.sections.html import Html, join, tag
from study.sections.source import Group, Source

#: More cells than these are not named one by one in a sentence.
_NAMED = 4


def progress_html(group: Group, source: Source) -> Html:
    """Hypervolume against trials, `progress-SLUG`, and against seconds where all trials ran on one device,
    `progress-seconds-SLUG`."""
    objectives = list(source.space.get("objectives", []))
    curves = progress_info(group.table, objectives)
    percent = is_share(objectives)
    retrain = retrain_volume(group, objectives)
    found = clocks(group.table)
    unit = clock_unit(found)
    caption = (
        f"{volume_gloss(objectives, percent)} Steps are settings that no earlier one matched; still rising at the end "
        "means that more trials would pay."
        + (f" Retrain alone covers {volume_text(retrain, percent)} (dotted)." if retrain is not None else "")
        + (" Trials count as the search saw them, on subsets." if source.staged else "")
    )
    drawn: list[Html | None] = [
        figure_html(
            f"progress-{group.slug}",
            "What the search gained, by trials",
            f"{caption} Diverged and failed trials count as spent.",
            progress_figure(curves, percent=percent, retrain=retrain),
            finding=progress_finding(curves, "trials", percent=percent),
        )
    ]
    note: Html | None = None
    if unit is not None and second_budgets(curves):
        drawn.append(
            figure_html(
                f"progress-seconds-{group.slug}",
                f"What the search gained, by {unit}",
                f"The same curves against what the trials cost: {_costs(found, unit, curves, source)}",
                progress_figure(curves, "seconds", x_title=f"{unit} spent", percent=percent, retrain=retrain),
                finding=progress_finding(curves, "seconds", unit=unit, percent=percent),
            )
        )
    else:
        note = tag("p", no_seconds(found), class_="note")
    return join(figures_html(*drawn), note)


def retrain_volume(group: Group, objectives: Sequence[str]) -> float | None:
    """What Retrain alone covers, on the selection half."""
    if group.retrain is None:
        return None
    values = [group.retrain.metrics.get(name) for name in objectives]
    return volume_of([None if value is None else float(value) for value in values], objectives)


def volume_gloss(objectives: Sequence[str], percent: bool) -> str:
    """What a hypervolume is, for whoever never heard of one."""
    names = _listed([NAMES.get(name, METRICS[name].label) for name in objectives])
    if not percent:
        return f"Hypervolume: how much of the space of {names} some setting tried by then is at least as good as."
    return (
        f"Share of the space of {names} (each from its worst to its best) that some setting tried by then is at least "
        "as good as: the hypervolume of its front (selection half). Higher is better, 100% is perfect in all at once."
    )


def no_seconds(found: Sequence[str]) -> str:
    """Why nothing is drawn against seconds."""
    if len(found) > 1:
        return f"Trials ran on {_listed(found)}: seconds of different devices are not compared."
    return "No trial says how long it took, so that nothing is compared by time."


def progress_finding(curves: Sequence[Curve], against: Against, *, unit: str = "", percent: bool) -> str:
    """What the figure shows at the end of what all cells spent, best first."""
    if against == "trials":
        budget = min(len(curve.ids) for curve in curves)
        counts = [budget] * len(curves)
        when = f"After {budget} trial{'' if budget == 1 else 's'} each"
    else:
        seconds = second_budgets(curves)[-1]
        counts = [curve.within(seconds) for curve in curves]
        when = f"Within {seconds:,.1f} {unit} each"
    if len(curves) == 1:
        when = when.removesuffix(" each")
    reached = [
        (curve.hypervolumes[count - 1] if count else 0.0, curve.name)
        for curve, count in zip(curves, counts, strict=True)
    ]
    reached.sort(key=lambda one: -one[0])
    told = [f"{name} covers {volume_text(volume, percent)}" for volume, name in reached]
    if len(told) <= _NAMED:
        return f"{when}, {_listed(told)}."
    return f"{when}, {told[0]} of what could be reached, and of {len(told)} cells {told[-1]}, the least."


def _costs(found: Sequence[str], unit: str, curves: Sequence[Curve], source: Source) -> str:
    """What the seconds are, and what they leave out."""
    untimed = sum(curve.untimed for curve in curves)
    gpus = (source.space.get("resources") or {}).get("gpus", 0)
    shared = unit == "GPU-seconds" and gpus not in (0, 1)
    return (
        f"{unit} of workers on {found[0]}, unlearning and measuring; what all methods share (base models, Retrain) and "
        "confirmations are left out. Times of another device would not compare."
        + (" Trials shared a GPU, so that a second here is a worker's, not a whole GPU's." if shared else "")
        + (f" Lost without a time, and so counted as 0 s: {untimed}." if untimed else "")
    )


def _listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
