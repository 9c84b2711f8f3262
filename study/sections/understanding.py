"""What the settings do."""

from __future__ import annotations

from study.sections.html import Html, join, tag
from study.sections.source import Group, Source
from study.sections.sparsity import sparsity_html


def understanding_html(group: Group, source: Source) -> Html | None:
    """Parameters against metrics; None where there is nothing to see."""
    sparse = sparsity_html(group, source)
    return None if sparse is None else join(tag("h4", "What the settings do"), sparse)
