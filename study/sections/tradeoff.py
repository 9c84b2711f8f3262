"""What forgetting costs: UA against RA, TA and MIA."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from neglora.objectives import METRICS
from study.plots.corner import corner_of
from study.plots.dial import HAND, DialInfo, add_path
from study.plots.panels import NAMES
from study.plots.style import Mark, method_mark, plain
from study.plots.tradeoff import AGAINST, Tradeoff, tradeoff_info
from study.plots.tradeoff_figure import ON_SUBSETS, RECOMMENDED, RING, reference_mark, tradeoff_figure
from study.recommend import FORGOTTEN
from study.sections.dial import dials_of
from study.sections.figure import figure_html
from study.sections.html import Html, tag
from study.sections.legend import Entry, legend_html, zoom_html
from study.sections.source import Group, Source

#: What each value is, for a reader who knows classifiers but not unlearning.
_GLOSS = {
    "ra": "RA, retain accuracy, is how many of the training images that should stay are still recognized.",
    "ta": "TA, test accuracy, is how many new images of the remaining classes are recognized.",
    "mia": "MIA-Efficacy is how many of the images to forget an attacker takes for images that were never trained on.",
}


def tradeoff_html(group: Group, source: Source) -> Html:
    """UA against RA, TA and MIA: three separate figures, `tradeoff-ua-METRIC-SLUG`, with one legend and one zoom."""
    infos = [
        tradeoff_info(
            group.table,
            source.records,
            metric,
            retrain=group.retrain,
            bases=group.bases,
            recommended=group.recommendation.trial,
            drawn=group.drawn,
        )
        for metric in AGAINST
    ]
    dials = dials_of(group, source)
    named = {f"tradeoff-ua-{info.metric}-{group.slug}": info for info in infos}
    figures = [
        figure_html(
            identifier,
            f"UA and {METRICS[info.metric].label}",
            caption(info),
            _with_dials(tradeoff_figure(info), dials, info.metric),
            finding=finding(info),
            at_load=True,
        )
        for identifier, info in named.items()
    ]
    return tag(
        "div",
        tag("p", _reading(infos), class_="note"),
        tag(
            "div",
            legend_html(_entries(infos, bool(dials)), f"What the three figures of {group.title} show"),
            zoom_html(
                {name: corner_of(info) for name, info in named.items()}, f"Part of the three figures of {group.title}"
            ),
            class_="controls",
        ),
        tag("div", figures, class_="figures"),
        class_="linked",
    )


def _with_dials(figure: go.Figure, dials: Sequence[DialInfo], metric: str) -> go.Figure:
    for dial in dials:
        add_path(figure, dial, metric)
    return figure


def finding(info: Tradeoff) -> str:
    """What each method keeps at best of one metric while it forgets, beside Retrain: a sentence."""
    name = NAMES.get(info.metric, info.metric)
    reached = {method: one.best for method, one in info.reached.items() if one.best is not None}
    short = [method for method, one in info.reached.items() if one.best is None]
    if not info.reached:
        return "No configuration was measured in full yet."
    best = sorted(reached.items(), key=lambda item: -item[1].y)
    if not best:
        most = max(one.most for one in info.reached.values())
        return f"No configuration forgets {FORGOTTEN:.0%} of the images: the most is UA {most:.2%}."
    level: dict[str, list[str]] = {}
    for method, point in best:
        level.setdefault(f"{point.y:.2%}", []).append(method)
    told = [f"{_listed(methods)} {value}" for value, methods in level.items()]
    told[0] += _beside(info, best[0][1].y)
    lacking = f"; {_listed(short)} never {'forgets' if len(short) == 1 else 'forget'} so much" if short else ""
    retrain = f"; Retrain has {info.retrain.y:.2%}" if info.retrain is not None else ""
    return f"Best {name} while at least {FORGOTTEN:.0%} is forgotten: {', '.join(told)}{lacking}{retrain}."


def _beside(info: Tradeoff, value: float) -> str:
    if info.retrain is None:
        return ""
    apart = round(100 * (value - info.retrain.y), 2)
    if apart == 0:
        return " (level with Retrain)"
    return f" ({abs(apart):.2f} points {'above' if apart > 0 else 'below'} Retrain)"


def caption(info: Tradeoff) -> str:
    """What the axis is, what Retrain has, and what is left out."""
    said = [_GLOSS[info.metric]]
    if info.retrain is None:
        said.append("Better is up and to the right.")
    elif info.metric == "mia":
        said.append(f"Best is Retrain's value, {info.retrain.y:.2%}: to stand out by more gives it away.")
    else:
        said.append(f"Higher is better; Retrain has {info.retrain.y:.2%}.")
    shown = sum(map(len, info.methods.values()))
    if info.thinned:
        said.append(f"{shown:,} of {shown + info.thinned:,} trials are drawn, every front whole.")
    else:
        said.append(f"{shown:,} trials.")
    if info.unmeasured:
        said.append(f"{info.unmeasured:,} trials without a value are left out.")
    hidden = sum(map(len, info.unconfirmed.values()))
    if hidden:
        said.append(f"{hidden:,} more were measured on subsets only: hidden until '{ON_SUBSETS}' is chosen.")
    return " ".join(said)


def _reading(infos: Sequence[Tradeoff]) -> str:
    """How to read all three figures."""
    said = [
        "Each mark is a configuration; better is up and to the right. UA, unlearning accuracy, is how many of the "
        "images to forget are no longer recognized."
    ]
    retrain = infos[0].retrain
    if retrain is not None:
        said.append(f"Retrain, the model trained anew without them, has {retrain.x:.2%}: the mark to reach.")
    said.append(
        "A line joins a method's front: the configurations that none of its others beats in both values, chosen on the "
        "selection half and shown at the report half's values."
    )
    runs = max((one.runs for info in infos for one in info.attainment.values()), default=0)
    if runs:
        said.append(
            f"Bars are the standard deviation over {runs} replicates. The light area is what the front covers in every "
            "replicate, the denser band what it covers in some of them, and the dotted line what it covers in half "
            "(empirical attainment surfaces)."
        )
    else:
        said.append("The light area is what the front covers.")
    return " ".join(said)


def _entries(infos: Sequence[Tradeoff], dialed: bool = False) -> list[Entry]:
    methods = list(dict.fromkeys(method for info in infos for method in info.methods | info.unconfirmed))
    measured = {method for info in infos for method in info.methods}
    entries = [Entry(plain(one), one, method_mark(one, methods)) for one in methods if one in measured]
    references = dict.fromkeys(one.name for info in infos for one in info.references)
    entries += [Entry(plain(name), name, reference_mark(name)) for name in references]
    if any(point.trial == info.recommended for info in infos for points in info.methods.values() for point in points):
        entries.append(Entry(RECOMMENDED, RECOMMENDED, RING))
    if dialed:
        entries.append(Entry("dial", "dial", Mark(HAND, "x")))
    if any(points for info in infos for points in info.unconfirmed.values()):
        entries.append(Entry(ON_SUBSETS, ON_SUBSETS, Mark("#808080", "circle-open"), shown=False))
    return entries


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
