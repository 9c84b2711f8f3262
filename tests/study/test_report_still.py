"""The report in a real browser without JavaScript, and the one of a study that is watched."""

import handmade
import pytest
from browsing import chromium

from study.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return handmade.write_study(tmp_path_factory.mktemp("still") / "study", handmade.searched(4))


@pytest.fixture(scope="module")
def report(study):
    return write_report([study], study / "report.html")


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark"), (2560, "light")])
def test_without_javascript_there_are_pictures(browser, report, width, scheme):
    context = browser.new_context(java_script_enabled=False, color_scheme=scheme)
    page = context.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report.as_uri())
    for summary in page.locator("details:has(figure) > summary").all():
        summary.click()
    pictures = page.locator("figure noscript img")
    figures = page.locator(".figure[data-figure]")
    assert pictures.count() == figures.count() > 3
    for index in range(pictures.count()):
        box = pictures.nth(index).bounding_box()
        assert 250 < box["width"] <= width
        assert box["height"] > 100
        assert len(pictures.nth(index).get_attribute("alt")) > 20
        assert figures.nth(index).is_hidden(), "no empty room where nothing is drawn"
    assert page.locator("noscript p").inner_text().startswith("Without JavaScript")
    assert not [url for url in requests if not url.startswith(("data:", report.as_uri()))]
    assert page.locator("table.decision").first.is_visible()
    context.close()


def test_pictures_are_whole(browser, report):
    """Scripts of the page do not run, but the browser says what it has read of the pictures."""
    page = browser.new_page()
    page.goto(report.as_uri())
    sources = page.evaluate(
        "Array.from(document.querySelectorAll('figure noscript'), own => "
        "new DOMParser().parseFromString(own.textContent, 'text/html').querySelector('img').getAttribute('src'))"
    )
    widths = page.evaluate(
        "async sources => Promise.all(sources.map(async source => {"
        "const image = new Image(); image.src = source; await image.decode(); return image.naturalWidth; }))",
        sources,
    )
    assert len(widths) > 3
    assert set(widths) == {720}
    assert page.locator("img").count() == 0, "with scripts they are not shown"
    page.close()


def test_a_watched_page_loads_itself_anew_and_the_last_one_does_not(browser, study, tmp_path):
    page = browser.new_page()
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    last = write_report([study], tmp_path / "last.html").read_bytes()
    watched = write_report([study], tmp_path / "watched.html", again=1)
    loads = []
    page.on("load", lambda _: loads.append(1))
    page.goto(watched.as_uri())
    watched.write_bytes(last)
    for _ in range(100):
        if len(loads) > 1 and page.locator("meta[http-equiv=refresh]").count() == 0:
            break
        page.wait_for_timeout(100)
    else:
        pytest.fail("it never loaded itself anew")
    page.wait_for_load_state("load")
    loads.clear()
    page.wait_for_timeout(1500)
    assert loads == []
    assert troubles == []
    page.close()
