"""Accuracy by class before and after: which classes paid for what was forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

from study.drops import LEVEL, fisher_drop, holm
from study.evidence import PARTS, RECOMMENDED, RETRAIN, Seen, Witnesses
from study.plots.style import BASE_MARK, RETRAIN_MARK, Mark, layout, method_mark, plain

#: So many classes are drawn of those that stay, and of those that were forgotten.
MOST_KEPT, MOST_FORGOTTEN = 20, 6
TITLES = {"train": "Training", "test": "Test"}
PAID = "fell by more than chance"

_PAID_COLOR, _PLAIN_COLOR = "#D55E00", "rgba(128,128,128,0.65)"
#: In pixels: a class that stays, a forgotten one, which is said below its name, and what is above, between and below.
_LINE, _TALL, _AROUND, _BETWEEN = 26, 38, 108, 34
#: Where the second column begins, as a share of the width.
_APART = 0.55


@dataclass(frozen=True)
class Share:
    """Of `total` images over all replicates, `right` are called what they are; one replicate has `images`."""

    right: int
    total: int
    images: int

    @property
    def value(self) -> float:
        return self.right / self.total


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: of the class.
        forgotten: whether these are the replicates that forgot it; others have a row of their own.
        shares: per part of the images (`PARTS`) and model, how often it was right; none for a part without images.
        p_values: per part, how likely chance makes such a drop from the base, adjusted for all that are compared; only
            of classes that stay.
    """

    name: str
    forgotten: bool
    shares: dict[str, dict[str, Share]]
    p_values: dict[str, float] = field(default_factory=dict)

    def drop(self, part: str, base: str) -> float | None:
        """How much lower the recommended model's accuracy is than the base's; None without images."""
        found = self.shares[part]
        return found[base].value - found[RECOMMENDED].value if found else None

    @property
    def paid(self) -> tuple[str, ...]:
        """The parts in which it fell by more than chance explains."""
        return tuple(part for part, p_value in self.p_values.items() if p_value <= LEVEL)


@dataclass(frozen=True)
class ClassesInfo:
    """What the figure shows.

    Attributes:
        base: the name of the model before.
        models: all names, the recommended one last.
        method: of the recommended trial.
        kept: the classes that stay, those that paid most first.
        forgotten: the forgotten ones, in the dataset's order; none of a random share.
        compared: how many drops were tested.
        of_share: whether any replicate forgot a random share, so that training images hold forgotten ones of every
            class: then only the test images are tested.
        replicates: over how many the shares are.
    """

    base: str
    models: tuple[str, ...]
    method: str
    kept: tuple[ClassRow, ...]
    forgotten: tuple[ClassRow, ...]
    compared: int
    of_share: bool
    replicates: int

    @property
    def drawn(self) -> tuple[ClassRow, ...]:
        """From the top: forgotten classes, then those that stay."""
        return (*self.forgotten[:MOST_FORGOTTEN], *self.kept[:MOST_KEPT])

    @property
    def paid(self) -> tuple[ClassRow, ...]:
        return tuple(row for row in self.kept if row.paid)

    @property
    def worst(self) -> tuple[ClassRow, str] | None:
        """The class with the largest drop and on which images; those that paid go first. None where none fell."""
        drops = [
            (bool(row.paid) and part in row.paid, drop, -place, row, part)
            for place, row in enumerate(self.kept)
            for part in PARTS
            if (drop := row.drop(part, self.base)) is not None and drop > 0
        ]
        return max(drops, key=lambda one: one[:3])[3:] if drops else None


def classes_info(seen: Witnesses) -> ClassesInfo | None:
    """Gather right answers by class; None where the base is not recorded, or it is not known which classes went."""
    gone = [seen.forgotten(one) for one in seen.recommended]
    if seen.base is None or any(classes is None for classes in gone):
        return None
    forgotten = [set(classes or ()) for classes in gone]
    of_share = any(not classes for classes in forgotten)
    rows = []
    for index, name in enumerate(seen.names):
        for is_forgotten in (True, False):
            places = [place for place, classes in enumerate(forgotten) if (index in classes) is is_forgotten]
            shares = {
                part: _shares(
                    {model: [own[place] for place in places] for model, own in seen.models.items()}, part, index
                )
                for part in PARTS
            }
            if any(shares.values()):
                rows.append(ClassRow(name, is_forgotten, shares))
    kept = _tested([row for row in rows if not row.forgotten], seen.base, ("test",) if of_share else PARTS)
    return ClassesInfo(
        seen.base,
        tuple(seen.models),
        seen.method,
        tuple(sorted(kept, key=lambda row: _order(row, str(seen.base)))),
        tuple(row for row in rows if row.forgotten),
        sum(len(row.p_values) for row in kept),
        of_share,
        len(seen.recommended),
    )


def _shares(models: dict[str, list[Seen]], part: str, index: int) -> dict[str, Share]:
    """How often each model is right about a class; nothing where it has no images."""
    found = {}
    for model, several in models.items():
        totals = [one.total[part][index] for one in several]
        if not totals or not all(totals):
            return {}
        found[model] = Share(sum(one.right[part][index] for one in several), sum(totals), min(totals))
    return found


def _tested(rows: Sequence[ClassRow], base: str, parts: Sequence[str]) -> list[ClassRow]:
    """The rows with their p-values, all drops taken together."""
    asked = [(place, part) for place, row in enumerate(rows) for part in parts if row.shares[part]]
    p_values = holm([_p_value(rows[place].shares[part], base) for place, part in asked])
    found: list[dict[str, float]] = [{} for _ in rows]
    for (place, part), p_value in zip(asked, p_values, strict=True):
        found[place][part] = p_value
    return [ClassRow(row.name, row.forgotten, row.shares, own) for row, own in zip(rows, found, strict=True)]


def _p_value(shares: dict[str, Share], base: str) -> float:
    """Replicates share their images: those of one are counted, and the drop is rounded down to whole ones."""
    before, after = shares[base], shares[RECOMMENDED]
    images = min(before.images, after.images)
    return fisher_drop(
        (before.right * images // before.total, images), (-(-after.right * images // after.total), images)
    )


def _order(row: ClassRow, base: str) -> tuple[int, float, float]:
    drops = [row.drop(part, base) or 0.0 for part in reversed(PARTS)]
    return -len(row.paid), -max(drops), -sum(drops)


def classes_figure(info: ClassesInfo, methods: Sequence[str] = ()) -> go.Figure:
    """Draw it in percent: training images beside test images; forgotten classes on a scale of their own, above.

    Args:
        info: what is shown.
        methods: those of the study, for the recommended one's mark.
    """
    kept, gone = info.kept[:MOST_KEPT], info.forgotten[:MOST_FORGOTTEN]
    tall = (_TALL * len(gone), _LINE * (len(kept) + 0.6) if kept else 0.0)
    height = _AROUND + sum(tall) + (_BETWEEN if gone else 0)
    shares = [part / (height - _AROUND) for part in tall]
    domains = ([1 - shares[0], 1.0], [0.0, shares[1]])
    shared = layout("", "", percent=True)
    figure = go.Figure(layout=shared | {"height": round(height)})
    ends = _ends(info, kept)
    parts = [part for part in PARTS if any(row.shares[part] for row in (*gone, *kept))]
    for block, rows in enumerate((gone, kept)):
        if not rows:
            continue
        for column, part in enumerate(parts):
            number = 2 * block + column + 1
            name = "" if number == 1 else str(number)
            across = [_APART * column, _APART * column + 1 - _APART] if len(parts) > 1 else [0.0, 1.0]
            figure.update_layout(
                {
                    f"xaxis{name}": shared["xaxis"]
                    | {
                        "domain": across,
                        "anchor": f"y{name}",
                        "range": ends if block else [-6.0, 108.0],
                        "nticks": 4,
                        "tickangle": 0,
                        "title": {"text": ""},
                    },
                    f"yaxis{name}": shared["yaxis"]
                    | {
                        "domain": domains[block],
                        "anchor": f"x{name}",
                        "range": [len(rows) - (0.2 if block else 0.45), -0.8 if block else -0.55],
                        "tickvals": list(range(len(rows))),
                        "ticktext": [_label(row) for row in rows],
                        "showticklabels": column == 0,
                        "ticksuffix": "",
                        "title": {"text": ""},
                    },
                }
            )
            for trace in _traces(info, rows, part, methods):
                first = trace.mode == "markers" and block == (0 if gone else 1) and column == 0
                figure.add_trace(trace.update(xaxis=f"x{name}", yaxis=f"y{name}", showlegend=first))
    figure.update_layout(
        legend={"y": -34 / (height - _AROUND), "yanchor": "top"},
        margin={"t": 30},
        annotations=[
            {
                "text": f"<b>{TITLES[part]}</b>",
                "x": _APART * column,
                "y": 1.0,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
            for column, part in enumerate(parts)
        ],
    )
    if any(row.paid for row in kept):
        figure.add_scatter(
            x=[None], y=[None], mode="lines", line={"color": _PAID_COLOR, "width": 5}, name=PAID, hoverinfo="skip"
        )
    return figure


def _traces(info: ClassesInfo, rows: Sequence[ClassRow], part: str, methods: Sequence[str]) -> Iterable[go.Scatter]:
    """The way from before to after of each class, then a mark for each model."""
    for paid, color, width in ((False, _PLAIN_COLOR, 2), (True, _PAID_COLOR, 5)):
        x: list[float | None] = []
        y: list[int | None] = []
        for place, row in enumerate(rows):
            if row.shares[part] and (part in row.paid) is paid:
                x += [100 * row.shares[part][model].value for model in (info.base, RECOMMENDED)] + [None]
                y += [place, place, None]
        if x:
            line = {"color": color, "width": width}
            yield go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    for model in info.models:
        mark = _mark(model, info.method, methods)
        found = [(place, row) for place, row in enumerate(rows) if row.shares[part]]
        yield go.Scatter(
            x=[100 * row.shares[part][model].value for _, row in found],
            # Retrain a little lower: where all agree it would be hidden.
            y=[place + (0.3 if model == RETRAIN else 0.0) for place, _ in found],
            mode="markers",
            marker={
                "color": mark.color,
                "symbol": mark.symbol,
                "size": 12 if model == info.base else 9,
                "line": {"width": 1, "color": "#ffffff"},
            },
            name=plain(model),
            legendgroup=plain(model),
            hoverinfo="text",
            hovertext=[_hover(row, part, model) for _, row in found],
        )


def _mark(model: str, method: str, methods: Sequence[str]) -> Mark:
    if model == RECOMMENDED:
        return method_mark(method, [*methods, *([] if method in methods else [method])])
    return RETRAIN_MARK if model == RETRAIN else BASE_MARK


def _label(row: ClassRow) -> str:
    name = row.name if len(row.name) <= 16 else f"{row.name[:15]}…"
    return plain(name) + ("<br>(forgotten)" if row.forgotten else " *" if row.paid else "")


def _hover(row: ClassRow, part: str, model: str) -> str:
    share = row.shares[part][model]
    return f"<b>{plain(row.name)}</b>, {plain(model)}<br>{100 * share.value:.2f}% of {share.images:,} images"


def _ends(info: ClassesInfo, rows: Sequence[ClassRow]) -> list[float]:
    values = [share.value for row in rows for found in row.shares.values() for share in found.values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, high - 0.02)
    margin = 0.07 * (high - low)
    return [100 * max(low - margin, -0.04), 100 * min(high + margin, 1.04)]
