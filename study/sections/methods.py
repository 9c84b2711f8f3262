"""The method table in the paper's shape: what one and two epochs of unlearning reach, beside what is published."""

from __future__ import annotations

from study.levels import sparsities
from study.papertable import (
    EPOCHS,
    METRIC_COLUMNS,
    PaperGroup,
    PaperRow,
    PaperTable,
    Tried,
    as_csv,
    as_latex,
    as_markdown,
    paper_group,
    sparse_rows,
)
from study.papertable.rows import NONE_TRIED, footnote_letter
from study.published import PublishedRow
from study.sections.html import Html, join, row, table, tag
from study.sections.source import Group, Source
from study.sections.values import DASH, command_block, count, measured_briefly, missing, percent, ratio

_NO_CLOCK = "not measured on the device and with the threads of Retrain"


def paper_rows(group: Group, source: Source) -> PaperGroup:
    """The group's rows on the dense base, with the published ones."""
    return paper_group(
        group.table,
        source.by_trial,
        dataset=group.dataset,
        model=group.model,
        retrain=group.retrain,
        bases=group.bases,
        constraints=source.space.get("constraints") or {},
    )


def sparse(group: Group, source: Source) -> list[PaperRow]:
    """Base and methods at every other sparsity that was tried."""
    constraints = source.space.get("constraints") or {}
    rows = []
    for level in sparsities(group.table):
        if level != 0:
            rows += sparse_rows(group.table, source.by_trial, level, bases=group.bases, constraints=constraints)
    return rows


def methods_html(group: Group, source: Source) -> Html:
    """The table with its notes, the same on sparse bases, and the table as text to copy."""
    paper = paper_rows(group, source)
    body = []
    for entry in paper.rows:
        body.append(_measured(entry))
        if entry.published is not None:
            body.append(_published(entry, entry.published, paper))
    below = sparse(group, source)
    return join(
        tag("h4", "The paper's table"),
        table(_head(), body, caption=f"Methods in the paper's shape: {group.title}", class_="numbers paper"),
        _about_published(paper),
        _note(),
        _below(group, below) if below else None,
        _to_copy(group, paper),
    )


def _head() -> list[Html]:
    return [
        tag(
            "tr",
            tag("th", "Method", rowspan=2, scope="col"),
            tag("th", "Trained parameters", rowspan=2, scope="col"),
            [tag("th", label, colspan=2, scope="colgroup") for _, label in METRIC_COLUMNS],
            tag("th", "RTE per epoch", colspan=2, scope="colgroup"),
        ),
        tag("tr", [tag("th", _epochs(e), scope="col") for _ in range(5) for e in EPOCHS]),
    ]


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def _note() -> Html:
    return tag(
        "p",
        "In each field, with Wilson's 95% interval below, the configuration that is recommended among those with that "
        "number of epochs; hover for the trial and the number n of images. RTE per epoch is the time of an "
        f"unlearning epoch over that of a retraining epoch. {DASH}: none was tried, or none measured in full.",
        class_="note",
    )


def _measured(entry: PaperRow) -> Html:
    if entry.reference:
        tried = next(iter(entry.tried.values()))
        return row(
            entry.name,
            tag("td", count(tried.parameters)),
            [tag("td", percent(tried.values.get(name)), colspan=2) for name, _ in METRIC_COLUMNS],
            tag("td", ratio(tried.values.get("rte_epoch"), "nothing was unlearned"), colspan=2),
        )
    # Where the rank differs between the two, so does the number of parameters: both are shown.
    distinct = dict.fromkeys(tried.parameters for tried in entry.tried.values() if tried.reason is None)
    counts = [part for number in distinct for part in (" / ", count(number))][1:] or [missing(NONE_TRIED)]
    return row(
        entry.name,
        tag("td", counts),
        [tag("td", _field(entry.tried[epochs], name)) for name, _ in METRIC_COLUMNS for epochs in EPOCHS],
        [tag("td", _rte(entry.tried[epochs])) for epochs in EPOCHS],
    )


def _field(tried: Tried, metric: str) -> Html:
    if tried.record is None:
        return missing(tried.reason or NONE_TRIED)
    return measured_briefly(tried.record, metric)


def _rte(tried: Tried) -> Html:
    return ratio(tried.values.get("rte_epoch"), tried.reason or _NO_CLOCK)


def _published(entry: PaperRow, own: PublishedRow, paper: PaperGroup) -> Html:
    """What the paper prints, each doubtful cell with the letter of its reason."""
    cells = [tag("td", own.parameters, _mark(paper, entry, "parameters", 1))]
    for name, _ in METRIC_COLUMNS:
        cells += [tag("td", percent(own.metrics[e][name]), _mark(paper, entry, name, e)) for e in EPOCHS]
    cells.append(tag("td", ratio(own.rte_epoch, ""), _mark(paper, entry, "rte_epoch", 1), colspan=2))
    return tag("tr", tag("th", f"paper: {own.name}", scope="row"), cells, class_="published")


def _mark(paper: PaperGroup, entry: PaperRow, field: str, epochs: int) -> Html | None:
    doubt = paper.doubt(entry, field, epochs)
    return None if doubt is None else tag("sup", footnote_letter(doubt), title=paper.reasons[doubt], class_="doubt")


def _about_published(paper: PaperGroup) -> Html | None:
    if paper.published is None or not any(entry.published for entry in paper.rows):
        return None
    published = paper.published
    notes = [tag("li", tag("sup", footnote_letter(i)), " ", reason) for i, reason in enumerate(paper.reasons)]
    return join(
        tag(
            "p",
            tag("strong", "Rows 'paper'"),
            f" are the published numbers of the paper's {published.source} ({published.model}): one forgotten class, "
            "no seeds, chosen on the images that they are reported on. They are no targets. "
            + published.about
            + (" Letters mark doubtful cells:" if notes else ""),
            class_="note",
        ),
        tag("ul", notes, class_="note doubts") if notes else None,
    )


def _below(group: Group, rows: list[PaperRow]) -> Html:
    caption = f"The same on sparse bases: {group.title}"
    return tag(
        "details",
        tag("summary", "The same on sparse bases"),
        table(_head(), [_measured(entry) for entry in rows], caption=caption, class_="numbers paper"),
    )


def _to_copy(group: Group, paper: PaperGroup) -> Html:
    table = PaperTable((paper,))
    texts = (("LaTeX", as_latex(table)), ("Markdown", as_markdown(table)), ("CSV", as_csv(table)))
    return tag(
        "details",
        tag("summary", "This table as LaTeX, Markdown and CSV"),
        [
            join(
                tag("p", name),
                command_block(f"paper-{name.lower()}-{group.slug}", text, f"the {name} table", class_="verbatim"),
            )
            for name, text in texts
        ],
    )
