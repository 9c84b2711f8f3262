"""The report in a real browser: drawn at load, silent console, no request, readable at every width."""

import shutil

import handmade
import pytest

from study.report import write_report

pytestmark = pytest.mark.browser
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STAGED = handmade.staged(16, model="resnet_nano")
IN_FULL = sum(one.fidelity == "full" and one.status == "ok" for one in STAGED[1:])
NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    records = [*handmade.searched(16, (0, 1)), handmade.record(99, model=NASTY, params={"targets": NASTY})]
    records += STAGED
    return write_report([handmade.write_study(folder / "study", records)], folder / "report.html")


@pytest.fixture
def opened(browser, report):
    """Open the report at a width and scheme; afterwards the console and the network must have been silent."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    troubles, requests = [], []

    def open_page(width=1280, scheme="light"):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    context.close()
    assert troubles == []
    assert set(requests) == {report.as_uri()}


def test_every_figure_is_drawn_at_load(opened):
    page = opened()
    figures = page.locator("[data-figure]")
    # Three groups of three trade-offs and one progress plot, sparsity in two, unseen pairs in one; none scrolled to.
    assert figures.count() == 15
    for index in range(15):
        assert figures.nth(index).locator("svg.main-svg").count() > 0
        assert figures.nth(index).locator(".scatterlayer .point").count() > 0


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark"), (2560, "light")])
def test_nothing_overflows_the_page(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What decides is readable without scrolling sideways.
    assert page.evaluate("document.querySelector('.decision').parentElement.scrollWidth") <= width
    boxes = page.evaluate("Array.from(document.querySelectorAll('[data-figure] .main-svg'), e => e.clientWidth)")
    assert boxes
    assert 250 < min(boxes) <= max(boxes) <= width


def test_trials_on_subsets_are_shown_when_they_are_asked_for(opened):
    page = opened()
    figure = page.locator("#tradeoff-ua-ra-handmade-digits-resnet_nano")
    before = figure.locator(".scatterlayer .point").count()
    figure.locator(".legendtoggle").nth(3).click()
    page.wait_for_function(
        "before => document.querySelectorAll("
        "'#tradeoff-ua-ra-handmade-digits-resnet_nano .scatterlayer .point').length > before",
        arg=before,
    )
    assert figure.locator(".scatterlayer .point").count() == before + 47 - IN_FULL


def test_figures_follow_the_scheme(opened):
    page = opened(scheme="light")
    ink = "document.querySelector('[data-figure]').layout.font.color"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{ink} !== '{light}'")
    page.emulate_media(media="print")
    assert page.locator("button[data-copy]").first.is_hidden()


def test_hovering_shows_the_configuration(opened):
    page = opened()
    figure = page.locator("#tradeoff-ua-ra-handmade-digits-tinyvit_nano")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".scatterlayer .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.querySelector('.hoverlayer').textContent.includes('epochs:')")
    text = figure.locator(".hoverlayer").text_content()
    assert "UA" in text
    assert "over 2 replicates" in text


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
