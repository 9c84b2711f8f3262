"""What forgotten images are called now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from neglora.record import forget_title
from study.evidence import RECOMMENDED, RETRAIN, Seen, Witnesses
from study.plots.style import BASE_MARK, RETRAIN_MARK, Mark, layout, method_mark, plain

#: So many answers are drawn of one forget set, and so many forget sets; with several, fewer answers each.
MOST_ANSWERS, MOST_OF_SEVERAL, MOST_SETS = 12, 5, 4
REST = "others"
_LINE = 52
#: Bars of one colour are told apart by their hatching too.
_PATTERNS = {"base": ".", RETRAIN: "/", RECOMMENDED: ""}


@dataclass(frozen=True)
class Answer:
    """One class that images are called, and by each model which share of them; `own` if it is a forgotten class."""

    name: str
    own: bool
    shares: dict[str, float]


@dataclass(frozen=True)
class CalledSet:
    """One forget set.

    Attributes:
        title: what was forgotten, in words.
        images: of D_f, in one replicate.
        right: by model, which share is still called what it is.
        answers: what they are called, the recommended model's most frequent first; all that any model gives.
    """

    title: str
    images: int
    right: dict[str, float]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class CalledInfo:
    """What the figure shows: each forget set of classes, summed over its seeds.

    Attributes:
        sets: in the order of the replicates.
        models: all names, the recommended one last.
        base: the base's name; None where it is not recorded.
        method: of the recommended trial.
        shares: titles of random shares, which are left out: their images are of every class.
        replicates: how many are in `sets`.
    """

    sets: tuple[CalledSet, ...]
    models: tuple[str, ...]
    base: str | None
    method: str
    shares: tuple[str, ...]
    replicates: int


def called_info(seen: Witnesses) -> CalledInfo:
    """Gather what D_f's images are called."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(seen.recommended):
        places.setdefault(json.dumps(one.forget, sort_keys=True), []).append(place)
    sets, shares = [], []
    for own in places.values():
        first = seen.recommended[own[0]]
        gone = seen.forgotten(first)
        if gone is None:
            continue
        if gone:
            models = {name: [several[place] for place in own] for name, several in seen.models.items()}
            sets.append((_set(" and ".join(seen.labels[index] for index in gone), gone, models, seen.labels), len(own)))
        else:
            shares.append(forget_title(first.forget))
    return CalledInfo(
        tuple(one for one, _ in sets),
        tuple(seen.models),
        seen.base,
        seen.method,
        tuple(shares),
        sum(count for _, count in sets),
    )


def _set(title: str, gone: Sequence[int], models: dict[str, list[Seen]], names: Sequence[str]) -> CalledSet:
    called: dict[str, list[float]] = {}
    right: dict[str, float] = {}
    for model, several in models.items():
        counts = [sum(column) for column in zip(*(one.called for one in several), strict=True)]
        called[model] = [count / sum(counts) for count in counts]
        # All training images of a forgotten class are forgotten.
        known = sum(one.right["train"][index] for one in several for index in gone)
        right[model] = known / sum(one.total["train"][index] for one in several for index in gone)
    order = sorted(range(len(names)), key=lambda index: [-called[model][index] for model in reversed(list(models))])
    answers = [
        Answer(names[index], index in gone, {model: shares[index] for model, shares in called.items()})
        for index in order
        if any(shares[index] for shares in called.values())
    ]
    return CalledSet(title, min(sum(one.called) for one in models[RECOMMENDED]), right, tuple(answers))


def drawn(info: CalledInfo) -> list[tuple[CalledSet, list[Answer]]]:
    """What is drawn of it: per forget set the most frequent answers, and the others taken together."""
    most = MOST_ANSWERS if len(info.sets) == 1 else MOST_OF_SEVERAL
    found = []
    for one in info.sets[:MOST_SETS]:
        shown, rest = list(one.answers), []
        favourite = most_called(one, RETRAIN) if RETRAIN in info.models else None
        if len(shown) > most:
            kept = shown[: most - 1]
            # What is still called by its name is always there, and so is what Retrain calls it most.
            kept += [answer for answer in shown[most - 1 :] if answer.own or answer is favourite]
            rest = [answer for answer in shown if answer not in kept]
            shown = kept
        if rest:
            shares = {model: sum(answer.shares[model] for answer in rest) for model in info.models}
            shown.append(Answer(f"{len(rest)} {REST}", False, shares))
        found.append((one, shown))
    return found


def most_called(one: CalledSet, model: str) -> Answer | None:
    """What a model calls most of a forget set's images but a forgotten class; None if it calls them nothing else."""
    others = [answer for answer in one.answers if not answer.own and answer.shares[model] > 0]
    return max(others, key=lambda answer: answer.shares[model], default=None)


def called_figure(info: CalledInfo, methods: Sequence[str] = ()) -> go.Figure:
    """Draw it in percent of the forgotten images: bars to the right, three to an answer.

    Args:
        info: what is shown.
        methods: those of the study, for the recommended one's mark.
    """
    labels: list[str] = []
    bars: list[Answer] = []
    for one, answers in drawn(info):
        for answer in answers:
            labels.append(_label(one, answer, several=len(info.sets) > 1))
            bars.append(answer)
    shared = layout("share of the forgotten images", "", percent=True)
    height = 120 + _LINE * len(bars)
    figure = go.Figure(layout=shared | {"height": height, "barmode": "group", "bargap": 0.25})
    for model in info.models:
        mark = _mark(model, info, methods)
        figure.add_bar(
            x=[100 * answer.shares[model] for answer in bars],
            y=list(range(len(bars))),
            orientation="h",
            marker={"color": mark.color, "pattern": _pattern(model, info)},
            name=plain(model),
            hoverinfo="text",
            hovertext=[
                f"{plain(model)} calls {100 * answer.shares[model]:.2f}% of them<br><b>{label}</b>"
                for label, answer in zip(labels, bars, strict=True)
            ],
        )
    figure.update_layout(
        xaxis={"range": [0, 102], "nticks": 6},
        yaxis={
            "tickvals": list(range(len(bars))),
            "ticktext": labels,
            "range": [len(bars) - 0.4, -0.6],
            "ticksuffix": "",
        },
        legend={"y": -72 / (height - 60), "yanchor": "top", "traceorder": "normal"},
    )
    return figure


def _label(one: CalledSet, answer: Answer, *, several: bool) -> str:
    name = answer.name if len(answer.name) <= 16 else f"{answer.name[:15]}…"
    text = f"{one.title[:15]} → {name}" if several else name
    return plain(text) + ("<br>(forgotten)" if answer.own and not several else "")


def _pattern(model: str, info: CalledInfo) -> dict[str, Any]:
    shape = _PATTERNS["base" if model == info.base else model]
    return {"shape": shape, "size": 6, "solidity": 0.35, "fgcolor": "rgba(255,255,255,0.75)"}


def _mark(model: str, info: CalledInfo, methods: Sequence[str]) -> Mark:
    if model == RECOMMENDED:
        return method_mark(info.method, [*methods, *([] if info.method in methods else [info.method])])
    return RETRAIN_MARK if model == RETRAIN else BASE_MARK
