"""Trials that diverged or failed, each with its reason."""

from __future__ import annotations

from neglora.record import Record
from study.sections.html import Html, head_row, join, row, table, tag
from study.sections.source import Source
from study.sections.values import configuration

#: A report lists so many; the rest are in trials.csv.
LISTED = 50


def failures(source: Source) -> list[Record]:
    """Every record that is not ok, Retrain's too, in the order of the ledger."""
    return [record for record in source.lines if record.status != "ok"]


def _status(record: Record) -> str:
    """How it ended, and on what where that was no trial of the search."""
    return f"{record.status} on unseen pairs" if record.fidelity == "confirm" else record.status


def failures_html(source: Source) -> Html:
    found = failures(source)
    if not found:
        return tag("p", "No trial diverged or failed.")
    rows = [
        row(
            record.trial,
            _status(record),
            tag("td", record.reason or "no reason was recorded", class_="prose"),
            tag("td", configuration(record.params), class_="prose"),
        )
        for record in found[:LISTED]
    ]
    left = len(found) - LISTED
    return join(
        table(head_row("Trial", "Status", "Reason", "Configuration"), rows, caption="Diverged and failed trials"),
        tag("p", f"{left} more are in trials.csv.") if left > 0 else None,
    )
