"""What was forgotten, and what paid for it."""

from __future__ import annotations

from study.sections.attack import attack_html
from study.sections.html import Html, join, tag
from study.sections.source import Group, Source


def evidence_html(group: Group, source: Source) -> Html | None:
    """What the recommended model does with which images."""
    return join(tag("h4", "What was forgotten, and what paid for it"), attack_html(group, source))
