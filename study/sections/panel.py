"""What a click on a point shows: a trial's configuration, numbers and cost; and which trials are highlighted.

The page's script fills these from the group's table of trials; without scripts none of it appears.
"""

from __future__ import annotations

from study.sections.html import Html, data, head_row, join, tag
from study.sections.source import Group, Source
from study.sections.trials import trials_data
from study.sections.values import command_block


def panel_html(group: Group, source: Source) -> Html | None:
    """The choice of a trial, the panel that shows one, and the list of those that are highlighted.

    Ids: `trials-SLUG` (the table), `pick-SLUG`, `panel-SLUG`, `highlights-SLUG`.
    """
    return join(
        data(f"trials-{group.slug}", trials_data(group, source)), _picker(group), _highlights(group), _panel(group)
    )


def _picker(group: Group) -> Html:
    """Every trial for whoever cannot point at a mark, or knows which one they want."""
    return tag(
        "form",
        tag("label", "Show a configuration", for_=f"pick-{group.slug}"),
        tag("select", id=f"pick-{group.slug}"),
        tag("button", "Show", type="submit"),
        tag(
            "span",
            "or click on its mark. To highlight several in every figure, draw a box or a lasso around their marks.",
            class_="note",
        ),
        class_="picker",
        hidden=True,
    )


def _highlights(group: Group) -> Html:
    return tag(
        "div",
        tag("p", role="status", data_part="count"),
        tag("button", "Clear", type="button", data_part="clear", aria_label="Clear the highlighting"),
        tag(
            "details",
            tag("summary", "Which?"),
            tag(
                "div",
                tag(
                    "table",
                    tag("caption", tag("span", f"Highlighted configurations of {group.title}")),
                    tag("thead", head_row("Configuration", "Method", "UA", "RA", "TA", "MIA-Efficacy")),
                    tag("tbody", data_part="rows"),
                    class_="numbers",
                ),
                class_="scroll",
                tabindex=0,
                role="region",
                aria_label="Highlighted configurations",
            ),
        ),
        id=f"highlights-{group.slug}",
        class_="highlights",
    )


def _panel(group: Group) -> Html:
    return tag(
        "div",
        tag("button", "Close", type="button", data_part="close", aria_label="Close the panel (Escape)"),
        tag("h5", id=f"panel-title-{group.slug}", tabindex=-1, data_part="title"),
        tag("p", data_part="outcome"),
        tag("ul", data_part="places"),
        tag("p", tag("strong", "Settings")),
        tag("p", data_part="settings"),
        tag(
            "div",
            tag(
                "table",
                tag("caption", tag("span", "Its values beside the references (↑ higher is better, ↓ lower is better)")),
                tag("thead", data_part="head"),
                tag("tbody", data_part="values"),
                class_="numbers",
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Its values beside the references",
        ),
        tag("dl", class_="facts", data_part="costs"),
        tag(
            "div",
            tag("p", data_part="pair"),
            command_block(f"panel-command-{group.slug}", ""),
            data_part="command",
        ),
        id=f"panel-{group.slug}",
        class_="trial-panel",
        role="dialog",
        aria_labelledby=f"panel-title-{group.slug}",
        hidden=True,
    )
