"""What the numbers rest on: versions, seeds, splits and the ledger's hash."""

from __future__ import annotations

from typing import Any

from neglora.record import forget_title
from study.sections.html import Html, join, tag
from study.sections.source import Source
from study.sections.tally import tally_html

#: Provenance that says where, when and on what, not what with.
_PLACE = ("host", "time", "data")


def versions(source: Source) -> dict[str, list[str]]:
    """Every version that any record names, sorted; more than one where a study was continued with another."""
    found: dict[str, set[str]] = {}
    for record in source.records:
        for name, version in record.provenance.items():
            if name not in _PLACE and version is not None:
                found.setdefault(name, set()).add(str(version))
    return {name: sorted(values) for name, values in found.items()}


def fingerprints(source: Source) -> dict[str, list[str]]:
    """SHA-256 of each dataset's images, labels and class names; more than one where the data changed meanwhile."""
    found: dict[str, set[str]] = {}
    for record in source.records:
        if record.provenance.get("data"):
            found.setdefault(str(record.cell["dataset"]), set()).add(str(record.provenance["data"]))
    return {dataset: sorted(values) for dataset, values in sorted(found.items())}


def splits(source: Source) -> list[dict[str, Any]]:
    """The distinct image counts of all replicates that were measured in full, in the order of the ledger."""
    found: list[dict[str, Any]] = []
    for record in (record for record in source.records if record.fidelity != "search"):
        for replicate in record.replicates:
            counts = (replicate.get("details") or {}).get("counts")
            entry = {
                "dataset": record.cell["dataset"],
                "forget": replicate.get("forget"),
                "counts": counts,
            }
            if counts and entry not in found:
                found.append(entry)
    return found


_COUNTED = {
    "forget": "to forget",
    "retain": "to retain",
    "test": "in the test half for selection",
    "test_report": "in the test half for the report",
    "test_forget": "test images of the forgotten class",
}


def provenance_html(source: Source) -> Html:
    selection = source.space.get("selection") or {}
    holdout = selection.get("holdout", 0)
    hosts = sorted({str(record.provenance["host"]) for record in source.records if record.provenance.get("host")})
    protocol = (
        "The whole test set was used both to choose and to report"
        if holdout == 0
        else f"{100 * holdout:g}% of the test images are held out for the report; settings were chosen on the others"
    )
    rows = [
        ("Splits", f"{protocol}. Seed of the split: {selection.get('seed', 0)}."),
        *(
            (
                f"Images of {entry['dataset']}, {forget_title(entry['forget'])} forgotten",
                ", ".join(f"{number:,} {_COUNTED.get(name, name)}" for name, number in entry["counts"].items()),
            )
            for entry in splits(source)
        ),
        ("Seed of the search", (source.space.get("search") or {}).get("seed", "not recorded")),
        *((name, " and ".join(values)) for name, values in versions(source).items()),
        *(
            (f"SHA-256 of {dataset}", tag("code", " and ".join(values), class_="hash"))
            for dataset, values in fingerprints(source).items()
        ),
        ("Hosts", ", ".join(hosts) or "not recorded"),
        ("SHA-256 of the ledger", tag("code", source.ledger_sha256, class_="hash") if source.ledger_sha256 else "none"),
    ]
    return join(
        tally_html(source),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts"),
    )
