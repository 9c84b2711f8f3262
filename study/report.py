"""One self-contained HTML file from one or several studies. The same ledgers give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import yaml
from plotly.offline import get_plotlyjs

from neglora.record import Record
from study.aggregate import write_atomically
from study.dialed import read_dials
from study.ledger import read_ledger
from study.plots.script import page_script
from study.recommend import candidates
from study.sections.audits import audits_html
from study.sections.carryover import carryover_html
from study.sections.cautions import group_cautions, study_cautions
from study.sections.comparison import across_html, comparison_html, repeated_html
from study.sections.decision import decision_html, summary_html
from study.sections.dial import dial_html
from study.sections.evidence import evidence_html
from study.sections.failures import failures_html
from study.sections.html import Html, coded, join, tag
from study.sections.overview import overview_html
from study.sections.panel import panel_html
from study.sections.provenance import provenance_html
from study.sections.reading import reading_html
from study.sections.source import Group, Source
from study.sections.tradeoff import tradeoff_html
from study.sections.understanding import understanding_html
from study.sections.values import bullets

#: Nothing may be fetched: what the page needs is in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


class ReportError(ValueError):
    """A folder that holds no readable study."""


def write_report(study_dirs: Sequence[Path], out: Path, *, again: float | None = None) -> Path:
    """Write the report of the studies in these directories, atomically.

    Args:
        study_dirs: each with study.yaml and, once a trial is recorded, ledger.jsonl.
        out: the HTML file; its folder is made if needed.
        again: seconds after which an open page loads itself anew: of a study that is watched. None for never.

    Raises:
        ReportError: a directory without a readable study.yaml, or none given.
        study.ledger.LedgerError: a ledger with a line that is no record.
    """
    if not study_dirs:
        raise ReportError("a report needs at least one study directory")
    text = render([read_study(Path(folder)) for folder in study_dirs], again=again)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    return out


def read_study(folder: Path) -> Source:
    """Read a study directory; one without a ledger has no records yet.

    Raises:
        ReportError: no study.yaml, or not a mapping.
    """
    path = folder / "study.yaml"
    try:
        space = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReportError(f"{folder} holds no study.yaml: give a study's directory, such as runs/quickstart") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is not YAML: {error}") from error
    if not isinstance(space, dict):
        raise ReportError(f"{path} should hold a mapping, got a {type(space).__name__}")
    ledger = folder / "ledger.jsonl"
    if not ledger.exists():
        return Source(space, [], None)
    digest = None
    while (found := hashlib.sha256(ledger.read_bytes()).hexdigest()) != digest:
        # A study that runs writes on: what is shown and the hash are those of one moment.
        digest = found
        records: list[Record] = read_ledger(ledger)
    return Source(space, records, digest, dials=read_dials(folder))


def render(studies: Sequence[Source], *, again: float | None = None) -> str:
    """The page as text; `again` as for `write_report`."""
    studies = [replace(study, place=place) for place, study in enumerate(studies)]
    names = ", ".join(dict.fromkeys(study.name for study in studies))
    style = resources.files("study").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        None if again is None else tag("meta", http_equiv="refresh", content=f"{again:g}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"Unlearning report: {names}"),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", "Unlearning report"), _contents(studies)),
        tag("main", repeated_html(studies), [_study(study) for study in studies]),
        tag(
            "noscript",
            tag("p", "Without JavaScript figures are still pictures; every table is complete.", class_="note"),
        ),
        tag("script", Html(get_plotlyjs())),
        tag("script", Html(page_script())),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _contents(studies: Sequence[Source]) -> Html:
    several = len(studies) > 1
    links = [
        tag("a", f"{study.name}: {group.title}" if several else group.title, href=f"#{group.slug}")
        for study in studies
        for group in study.groups
    ]
    return tag("nav", bullets(links), aria_label="Contents") if len(links) > 1 else join()


def _study(study: Source) -> Html:
    return tag(
        "section",
        tag("h2", f"Study {study.name}"),
        summary_html(study),
        tag("div", [_decision(group, study) for group in study.groups], class_="decisions")
        if study.groups
        else tag("p", "No trial is recorded yet.", class_="verdict"),
        tag(
            "aside",
            tag("h3", "Before you believe a number"),
            bullets(
                [
                    *map(coded, study_cautions(study)),
                    "Settings were chosen with the help of retained data and of Retrain, which somebody who has only "
                    "the images to forget cannot do. The methods themselves got only what they declare.",
                ]
            ),
            class_="cautions",
        ),
        across_html(study),
        [_group(group, study) for group in study.groups],
        tag("h3", "What was studied, and at what cost"),
        overview_html(study),
        tag("h3", "Diverged and failed trials"),
        failures_html(study),
        tag("h3", "How to read the metrics"),
        reading_html(study),
        tag("h3", "What this rests on"),
        provenance_html(study),
    )


def _decision(group: Group, study: Source) -> Html:
    warnings = group_cautions(group, study)
    return tag(
        "section",
        tag("h3", group.title),
        decision_html(group, study),
        tag("div", bullets(map(coded, warnings)), class_="cautions", role="note") if warnings else None,
        tag(
            "p",
            f"Accuracies and MIA are those of the {study.reported_on} in percent, with Wilson's 95% interval and the "
            "number n of images. The choice was made on the "
            f"{'selection half' if study.reported_on == 'report half' else 'same images'}.",
            class_="note",
        ),
        id=group.slug,
        class_="decide",
    )


def _group(group: Group, study: Source) -> Html:
    """Everything about one dataset x model but the decision, which stands above all of them."""
    plotted = not candidates(group.table).empty
    return tag(
        "section",
        tag("h3", f"{group.title} in full"),
        tag("h4", "What forgetting costs"),
        tradeoff_html(group, study) if plotted else tag("p", "There is nothing to plot yet.", class_="note"),
        panel_html(group, study) if plotted else None,
        dial_html(group, study) if plotted else None,
        carryover_html(group, study),
        comparison_html(group, study),
        understanding_html(group, study) if plotted else None,
        evidence_html(group, study),
        audits_html(group, study),
        class_="group",
    )
