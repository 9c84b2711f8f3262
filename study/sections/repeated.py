"""Studies that differ only in the seed of their search, reported together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from study.budget import Bought, Curve, bought, clock_unit, clocks, method_curves, second_budgets, trial_budgets
from study.dominance import win_probability
from study.plots.progress import Against, is_share, volume_text
from study.plots.repeated import repeated_figure, repeated_info
from study.repetitions import Band, around, band_name, repetitions
from study.sections.figure import figure_html, figures_html
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.progress import no_seconds, volume_gloss
from study.sections.source import Group, Source
from study.sections.values import missing

Runs = list[tuple[Source, Group]]


def repeated_html(studies: Sequence[Source]) -> Html | None:
    """A section for each set of at least two studies that are each other's repetitions; None where there are none."""
    sets = repetitions([study.space for study in studies])
    made = [_set([studies[index] for index in own]) for own in sets]
    return join(*made) if any(made) else None


def _set(studies: list[Source]) -> Html | None:
    parts = []
    for group in studies[0].groups:
        found = [_same(study, group) for study in studies]
        runs = [(study, own) for study, own in zip(studies, found, strict=True) if own is not None]
        if len(runs) > 1:
            parts.append(_group_html(runs))
    if not parts:
        return None
    seeds = ", ".join(f"{study.name} ({(study.space.get('search') or {}).get('seed', 0)})" for study in studies)
    return tag(
        "section",
        tag("h2", f"{len(studies)} repetitions of one search"),
        tag(
            "p",
            f"These studies differ only in the seed of their search: {seeds}. What differs between them is the luck of "
            "the search; replicates within a study vary forgotten classes and seeds of the models instead.",
        ),
        parts,
        class_="repeated",
    )


def _same(study: Source, group: Group) -> Group | None:
    for own in study.groups:
        if (own.dataset, own.model) == (group.dataset, group.model):
            return own
    return None


def _group_html(runs: Runs) -> Html:
    first, group = runs[0]
    objectives = list(first.space.get("objectives", []))
    share = is_share(objectives)
    curves = [method_curves(own.table, objectives) for _, own in runs]
    found = sorted({clock for _, own in runs for clock in clocks(own.table)})
    unit = clock_unit(found)
    kinds: list[tuple[Against, str]] = [("trials", "trials of the method")]
    if unit is not None and all(second_budgets(own) for own in curves):
        kinds.append(("seconds", f"{unit} spent"))
    drawn: list[Html | None] = []
    for against, x_title in kinds:
        bands = repeated_info(curves, against)
        if not bands:
            continue
        drawn.append(
            figure_html(
                f"repeated-{against}-{group.slug}",
                f"By {against if against == 'trials' else unit}, over {len(runs)} repetitions",
                f"Lines are medians over {len(runs)} repetitions, bands go {band_name(len(runs))}. "
                f"{volume_gloss(objectives, share)}",
                repeated_figure(bands, x_title=x_title, percent=share),
                finding=repeated_finding(bands, against, unit or "", share),
            )
        )
    return join(
        tag("h3", f"{group.title}: over {len(runs)} repetitions"),
        tag("h4", "What the search gained"),
        figures_html(*drawn),
        None if len(kinds) > 1 else tag("p", no_seconds(found), class_="note"),
        tag("h4", "How the methods compare"),
        _equal(runs, curves, unit),
        _duels(group, curves, share),
    )


def repeated_finding(bands: Sequence[Band], against: Against, unit: str, share: bool) -> str:
    """What the medians have reached where the shortest band ends."""
    end = min(own.x[-1] for own in bands)
    told = []
    for own in bands:
        last = max((index for index, x in enumerate(own.x) if x <= end), default=None)
        if last is None:
            continue
        low, middle, high = (volume_text(values[last], share) for values in (own.low, own.middle, own.high))
        told.append((own.middle[last], f"{own.method} covers {middle} ({low} to {high})"))
    told.sort(key=lambda one: -one[0])
    when = f"After {end:g} trials" if against == "trials" else f"Within {end:,.1f} {unit}"
    return f"{when}, over {bands[0].repetitions} repetitions, {', '.join(text for _, text in told)}."


def _equal(runs: Runs, curves: list[list[Curve]], unit: str | None) -> Html | None:
    """The distance to Retrain after equal spending: the median over repetitions and its spread."""
    every = [curve for own in curves for curve in own]
    methods = [
        curve.method for curve in curves[0] if all(any(curve.method == other.method for other in own) for own in curves)
    ]
    trials = trial_budgets(every)
    seconds = second_budgets(every) if unit else []
    if not trials or not methods:
        return None
    rows = []
    for method in methods:
        own = [next(curve for curve in found if curve.method == method) for found in curves]
        counts = [[budget] * len(own) for budget in trials] + [
            [curve.within(budget) for curve in own] for budget in seconds
        ]
        rows.append(tag("tr", tag("th", method, scope="row"), [_spread(runs, own, each) for each in counts]))
    head = [
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
    return join(
        table(
            head,
            rows,
            caption=f"Distance to Retrain after equal spending, over {len(runs)} repetitions: {runs[0][1].title}",
            class_="numbers equal",
        ),
        tag(
            "p",
            "The median over repetitions of the mean distance to Retrain over UA, RA, TA and MIA-Efficacy (0% is "
            f"Retrain itself, lower is better), and below it {band_name(len(runs))}. Each repetition's setting is "
            f"chosen on the selection half and shown on the {runs[0][0].reported_on}.",
            class_="note",
        ),
    )


def _spread(runs: Runs, curves: list[Curve], counts: list[int]) -> Html:
    found: list[Bought] = [
        bought(group.table, curve, count, study.space.get("constraints") or {})
        for (study, group), curve, count in zip(runs, curves, counts, strict=True)
    ]
    gaps = [own.gap for own in found if own.gap is not None]
    if len(gaps) < len(found):
        return tag("td", missing(f"known in {len(gaps)} of {len(found)} repetitions only"))
    low, middle, high = (float(end) for end in around(np.array(gaps)))
    return tag("td", f"{100 * middle:.2f}%", tag("span", f"{100 * low:.2f}–{100 * high:.2f}", class_="interval"))


def _duels(group: Group, curves: list[list[Curve]], share: bool) -> Html | None:
    """Who covers more in the end, over all pairs of repetitions; at the number of trials that all have."""
    budget = min(len(curve.ids) for own in curves for curve in own) if all(curves) else 0
    volumes: dict[str, list[float]] = {}
    for own in curves:
        for curve in own:
            volumes.setdefault(curve.method, []).append(curve.hypervolumes[budget - 1] if budget else 0.0)
    whole = {method: values for method, values in volumes.items() if len(values) == len(curves)}
    ordered = sorted(whole, key=lambda method: -float(np.median(whole[method])))
    rows = []
    for first, second in combinations(ordered, 2):
        medians = [volume_text(float(np.median(whole[method])), share) for method in (first, second)]
        probability, pairs = win_probability(whole[first], whole[second]), len(curves) ** 2
        won = tag("span", f"{probability * pairs:g} of {pairs} pairs", class_="interval")
        rows.append(
            row(
                f"{first} against {second}",
                f"{medians[0]} to {medians[1]}",
                tag("td", f"{100 * probability:.0f}%", won),
            )
        )
    if not rows or not budget:
        return None
    count = len(curves)
    return join(
        table(
            head_row("Methods", "Share covered, medians", "Probability that the first covers more"),
            rows,
            caption=f"Search against search, after {budget} trials each: {group.title}",
            class_="numbers duels",
        ),
        tag(
            "p",
            "The probability that a search of the first method ends ahead of one of the second: over all "
            f"{count} x {count} pairs of repetitions (selection half), ties counting half (Vargha and Delaney's A). "
            f"{count} repetitions of each leave it rough: one pair is {100 / (count * count):.0f} points.",
            class_="note",
        ),
    )
