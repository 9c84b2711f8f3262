"""The report in a real browser: drawn as it is read, silent console, no request, readable at every width."""

import handmade
import pytest
from browsing import chromium, draw_all, until, watched

from study.report import write_report

pytestmark = pytest.mark.browser
STAGED = handmade.staged(16, model="resnet_nano")
NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    records = [*handmade.searched(16, (0, 1)), handmade.record(99, model=NASTY, params={"targets": NASTY})]
    records += STAGED
    return write_report([handmade.write_study(folder / "study", records)], folder / "report.html")


@pytest.fixture
def opened(browser, report):
    with watched(browser, report) as open_page:
        yield open_page


def test_every_figure_is_drawn_once_a_reader_comes_near(opened):
    page = opened()
    assert draw_all(page) >= 15
    for figure in page.locator("[data-figure]").all():
        assert figure.locator(".trace path, .point, .hm image").count() > 0, figure.get_attribute("id")


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark"), (2560, "light")])
def test_nothing_overflows_the_page(opened, width, scheme):
    page = opened(width, scheme)
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What decides is readable without scrolling sideways.
    assert page.evaluate("document.querySelector('.decision').parentElement.scrollWidth") <= width
    boxes = page.evaluate("Array.from(document.querySelectorAll('[data-figure] .main-svg'), e => e.clientWidth)")
    assert boxes
    assert 250 < min(boxes) <= max(boxes) <= width


def test_figures_follow_the_scheme(opened):
    page = opened(scheme="light")
    ink = "document.querySelector('[id^=tradeoff]').layout.font.color"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    until(page, f"{ink} !== '{light}'")
    page.emulate_media(media="print")
    assert page.locator("button[data-copy]").first.is_hidden()


def test_hovering_shows_the_configuration(opened):
    page = opened()
    figure = page.locator("#tradeoff-ua-ra-handmade-digits-tinyvit_nano")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".scatterlayer .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, f"document.querySelector('#{figure.get_attribute('id')} .hoverlayer').textContent.includes('epochs:')")
    text = figure.locator(".hoverlayer").text_content()
    assert "UA" in text
    assert "mean of 2 replicates" in text


def test_the_copy_button_copies_the_command(opened):
    page = opened()
    page.locator("button[data-copy]").first.click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("neglora unlearn --dataset digits")
    assert copied == page.locator("pre code").first.inner_text()


def test_the_tables_are_copied_as_they_are_written(opened):
    page = opened()
    page.get_by_text("This table as LaTeX, Markdown and CSV").first.click()
    page.get_by_label("Copy the CSV table").first.click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("dataset,model,method,name,epochs,")
    assert copied.count("\n") == 1 + 2 * 5


def test_text_from_data_runs_nothing(opened):
    page = opened()
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("main").inner_text()
