"""What a click on a point shows: a trial's configuration, numbers and cost."""

from __future__ import annotations

from study.sections.html import Html
from study.sections.source import Group, Source


def panel_html(group: Group, source: Source) -> Html | None:
    return None
