"""The report for whoever uses a keyboard, a screen reader or other colours: axe-core finds nothing serious."""

from itertools import pairwise

import handmade
import pytest
from browsing import chromium, draw_all, watched

from study.report import write_report

pytestmark = pytest.mark.browser
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

#: What axe calls it when people are kept out.
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Several groups, a study in stages and one with unseen pairs: every section there is."""
    folder = tmp_path_factory.mktemp("accessible")
    studies = [
        handmade.write_study(folder / "grid", handmade.grid(8), **handmade.GRID),
        handmade.write_study(folder / "staged", handmade.staged(24), study="staged", **handmade.STAGED),
    ]
    return write_report(studies, folder / "report.html")


@pytest.fixture
def opened(browser, report):
    with watched(browser, report) as open_page:
        yield open_page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_axe_finds_nothing_serious(opened, width, scheme):
    page = opened(width, scheme)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    draw_all(page)
    # The figures are drawn by then, and so are part of what is looked at.
    assert page.locator("svg.main-svg").count() > 20
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 20
    grave = [one for one in found["violations"] if one["impact"] in GRAVE]
    assert {one["id"]: [node["html"][:200] for node in one["nodes"]][:3] for one in grave} == {}


def test_headings_go_down_one_at_a_time(opened):
    levels = opened().evaluate("Array.from(document.querySelectorAll('h1, h2, h3, h4, h5'), h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_everything_that_is_seen_is_named(opened):
    page = opened()
    draw_all(page)
    assert page.locator("main").count() == 1
    assert page.locator("table").count() == page.locator("table > caption").count() > 10
    nameless = "Array.from(document.querySelectorAll('[data-figure]'), f => f.getAttribute('aria-label') || '')"
    labels = page.evaluate(nameless)
    assert len(labels) > 20
    # Each says what it shows, with a number, or why there is nothing to say.
    assert [label for label in labels if not (any(map(str.isdigit, label)) or "too few trials" in label)] == []
