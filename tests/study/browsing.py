"""A headless Chromium for tests of the report, and pages in it that must stay silent and offline."""

import contextlib
import shutil

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def chromium():
    """Debian's Chromium; the test is skipped without it."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs Debian's package chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


@contextlib.contextmanager
def watched(browser, report):
    """A function that opens the report at a width and scheme; at the end console and network must have been silent."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    troubles, requests = [], []

    def open_page(width=1280, scheme="light", height=900):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
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


def draw_all(page):
    """Come near every figure, as a reader does who reads to the end; how many there are."""
    figures = page.locator("[data-figure]")
    for details in page.locator("details:has([data-figure])").all():
        details.evaluate("element => { element.open = true; }")
    for index in range(figures.count()):
        figures.nth(index).evaluate("element => element.scrollIntoView()")
        figures.nth(index).locator("svg.main-svg").first.wait_for()
    return figures.count()


def until(page, expression, argument=None):
    """Wait for an expression to hold. Playwright's own way evaluates texts in the page, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {expression}")
