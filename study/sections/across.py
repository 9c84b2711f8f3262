"""All datasets and models of a study beside one another."""

from __future__ import annotations

from study.budget import shown_gap
from study.plots.facets import Facet, facet_info, facets_figure, out_of_view
from study.plots.panels import NAMES
from study.plots.ranks import ranks_figure
from study.ranks import LEAST_BLOCKS, LEAST_METHODS, Ranks, compare_ranks, complete, methods_of
from study.recommend import candidates, recommend
from study.sections.figure import figure_html, figures_html
from study.sections.html import Html, join, table, tag
from study.sections.source import Source, slug
from study.sections.values import missing, percent

#: What UA is shown against, one figure each.
_AGAINST = ("ra", "ta")
_MEANS = {
    "ra": "RA, the accuracy on the training images that stay",
    "ta": "TA, the accuracy on test images of the classes that stay",
}


def across_html(source: Source) -> Html | None:
    """Small multiples, the distances to Retrain, and the ranks; None where there is one dataset x model."""
    if len(source.groups) < 2 or candidates(source.searched).empty:
        return None
    blocks = gaps(source)
    return tag(
        "section",
        tag("h3", "All datasets and models side by side"),
        tag("h4", "How near each method comes to Retrain"),
        _gap_table(blocks, source),
        tag("h4", "What forgetting costs everywhere"),
        figures_html(*(_facets(metric, source) for metric in _AGAINST)),
        _ranks_html(blocks, source),
        class_="across",
    )


def gaps(source: Source) -> list[dict[str, float | None]]:
    """Per dataset x model, the shown distance to Retrain of what would be recommended of each method alone."""
    constraints = source.space.get("constraints") or {}
    methods = list(dict.fromkeys(str(method) for method in source.searched["method"]))
    found = []
    for group in source.groups:
        own: dict[str, float | None] = {}
        for method in methods:
            rows = group.table[group.table["method"] == method]
            choice = recommend(rows, constraints)
            own[method] = None if choice.trial is None else shown_gap(rows, choice.trial)
        found.append(own)
    return found


def _gap_table(blocks: list[dict[str, float | None]], source: Source) -> Html:
    methods = list(blocks[0])
    best = [min((gap for gap in block.values() if gap is not None), default=None) for block in blocks]
    body = []
    for method in methods:
        cells = [_gap(block[method], least) for block, least in zip(blocks, best, strict=True)]
        body.append(tag("tr", tag("th", method, scope="row"), cells))
    heads = [
        tag(
            "th",
            tag("a", group.model, href=f"#{group.slug}"),
            tag("span", group.dataset, class_="interval"),
            scope="col",
        )
        for group in source.groups
    ]
    return join(
        tag("p", tag("strong", gaps_finding(blocks)), class_="finding"),
        table(
            tag("tr", tag("th", "Method", scope="col"), heads),
            body,
            caption="Mean distance to Retrain of each method's recommended setting",
            class_="numbers",
        ),
        tag(
            "p",
            "Mean distance to Retrain over UA, RA, TA and MIA-Efficacy: 0% is a model that behaves as if it had never "
            "seen what was to be forgotten; lower is better, the lowest of a column is bold. The setting is the one "
            f"that would be recommended of that method alone, at its values on the {source.reported_on}.",
            class_="note",
        ),
    )


def _gap(gap: float | None, least: float | None) -> Html:
    if gap is None:
        return tag("td", missing("not measured"))
    return tag("td", tag("strong", percent(gap)) if gap == least else percent(gap))


def gaps_finding(blocks: list[dict[str, float | None]]) -> str:
    """Which method comes nearest to Retrain how often."""
    wins: dict[str, int] = {}
    known = 0
    for block in blocks:
        values = {method: gap for method, gap in block.items() if gap is not None}
        if values:
            known += 1
            for method in [method for method, gap in values.items() if gap == min(values.values())]:
                wins[method] = wins.get(method, 0) + 1
    if not known:
        return "No distance to Retrain was measured."
    told = [f"{method} on {count}" for method, count in sorted(wins.items(), key=lambda one: -one[1])]
    tied = ", ties counting for each" if sum(wins.values()) > known else ""
    return f"Nearest to Retrain over {known} combinations of dataset and model: {', '.join(told)}{tied}."


def _facets(metric: str, source: Source) -> Html:
    facets = [
        facet_info(
            group.table,
            group.dataset,
            group.model,
            metric,
            retrain=group.retrain,
            bases=group.bases,
            recommended=group.recommendation.trial,
        )
        for group in source.groups
    ]
    hidden, points = out_of_view(facets)
    below = (
        f" {hidden} of {points} points of fronts lie below the panels, where the model has lost most of what it knew: "
        "double-click in a panel shows them."
        if hidden
        else ""
    )
    return figure_html(
        f"facets-ua-{metric}-{_slug(source)}",
        f"UA and {NAMES[metric]} everywhere",
        "UA is the share of the images to forget that the model no longer recognizes; up is "
        f"{_MEANS[metric]}. Upper right is better; the star is Retrain, the ring what is recommended, and lines are "
        f"the methods' fronts. All panels have the same axes and zoom together.{below}",
        facets_figure(facets, metric),
        finding=facets_finding(facets, metric),
    )


def facets_finding(facets: list[Facet], metric: str) -> str:
    """Where what is recommended stays nearest to Retrain, and where it pays most."""
    paid = [
        (facet.retrain.y - facet.recommended.y, f"{facet.model} on {facet.dataset}")
        for facet in facets
        if facet.retrain is not None and facet.recommended is not None
    ]
    name = NAMES[metric]
    if not paid:
        return f"None of {len(facets)} combinations has both Retrain and a recommended setting."
    paid.sort(key=lambda one: one[0])
    least, most = paid[0], paid[-1]
    return (
        f"The recommended settings' {name} is {_points(least[0])} Retrain's at best ({least[1]}) and "
        f"{_points(most[0])} it at worst ({most[1]})."
    )


def _points(below: float) -> str:
    return f"{abs(100 * below):.2f} points {'below' if below > 0 else 'above'}"


def _ranks_html(blocks: list[dict[str, float | None]], source: Source) -> Html:
    ranks = compare_ranks(blocks)
    heading = tag("h4", "Whether methods differ by more than chance")
    if ranks is None:
        return join(heading, tag("p", too_few(blocks), class_="note"))
    figure = figure_html(
        f"ranks-{_slug(source)}",
        "Average ranks",
        "On each combination of dataset and model the method nearest to Retrain has rank 1. Two methods differ at the "
        f"5% level where their average ranks are further apart than the critical difference of {ranks.critical:.2f} "
        "(Nemenyi's test; Demsar 2006); grey bars join those that do not. Models on one dataset are not independent of "
        "each other, which makes the test surer than it should be.",
        ranks_figure(ranks),
        finding=ranks_finding(ranks),
    )
    return join(heading, figures_html(figure))


def ranks_finding(ranks: Ranks) -> str:
    """Friedman's verdict, and who leads."""
    best, worst = f"{ranks.methods[0]} ({ranks.ranks[0]:.2f})", f"{ranks.methods[-1]} ({ranks.ranks[-1]:.2f})"
    p = "p < 0.001" if ranks.p < 0.001 else f"p = {ranks.p:.3f}"
    if ranks.p >= 0.05:
        return (
            f"Over {ranks.blocks} combinations of dataset and model, average ranks from {best} to {worst} are no "
            f"more apart than chance would make them (Friedman's test, {p})."
        )
    beaten = [
        method
        for method, rank in zip(ranks.methods, ranks.ranks, strict=True)
        if rank - ranks.ranks[0] > ranks.critical
    ]
    against = f"ahead of {' and '.join(beaten)} by more than chance" if beaten else "though no pair is told apart"
    return f"Over {ranks.blocks} combinations, {best} has the best average rank (Friedman's test, {p}), {against}."


def too_few(blocks: list[dict[str, float | None]]) -> str:
    """Why no ranks are compared, and what it would take."""
    known, methods = len(complete(blocks)), len(methods_of(blocks))
    return (
        f"Average ranks with critical differences would need {LEAST_BLOCKS} combinations of dataset and model and "
        f"{LEAST_METHODS} methods whose distance to Retrain is known; here there are {known} and {methods}."
    )


def _slug(source: Source) -> str:
    return slug(source.name, *([str(source.place)] if source.place else []))
