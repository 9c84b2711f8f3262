"""The report's figures under a reader's hands: highlighting, the panel, legend, zoom; by mouse and by keyboard."""

import itertools
import re

import handmade
import pytest
from browsing import chromium, draw_all, until, watched

from study.aggregate import reproduce_command
from study.plots.script import page_script
from study.plots.tradeoff import AGAINST
from study.report import write_report

pytestmark = pytest.mark.browser
NASTY = "</script><img src=x onerror=alert(1)>"
SPACE = {"evaluation": {"batch_size": 32, "attacks": "all", **handmade.SAMPLES}}
STAGED = handmade.staged(16, model="resnet_nano")
RECORDS = [
    *handmade.searched(16, (0, 1)),
    handmade.record(99, model="tinyvit_micro", params={"lr": 1e-05, "targets": [NASTY, "it's"], "note": NASTY}),
    handmade.record(98, model="tinyvit_micro", params={"lr": 0.1 + 0.2}, metrics=handmade.values(0.5, 0.5, 0.5)),
    *STAGED,
]
LINKED = "handmade-digits-tinyvit_nano"
SUBSETS = "handmade-digits-resnet_nano"
CHOSEN = "digits-tinyvit_nano-neglora-0003"
#: Of each figure of a group, the ids of the trials that are highlighted; null where nothing is.
HIGHLIGHTED = """slug => Object.fromEntries(
    Array.from(document.getElementById(`trials-${slug}`).closest(".group").querySelectorAll(".js-plotly-plot"),
    figure => {
        const traces = figure.data.filter(page.trials.ofTrials);
        if (traces.every(trace => !trace.selectedpoints)) return [figure.id, null];
        return [figure.id, traces.flatMap(trace => trace.selectedpoints.map(point => trace.customdata[point])).sort()];
    }).filter(pair => pair[0].startsWith("tradeoff")))"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linking")
    return write_report([handmade.write_study(folder / "study", RECORDS, **SPACE)], folder / "report.html")


@pytest.fixture
def opened(browser, report):
    with watched(browser, report) as open_page:
        yield open_page


def trade_off(page, metric="ra", slug=LINKED):
    figure = page.locator(f"#tradeoff-ua-{metric}-{slug}")
    figure.scroll_into_view_if_needed()
    figure.locator("svg.main-svg").first.wait_for()
    return figure


def spot_of(page, figure, trial):
    """Where a trial's mark is on the screen."""
    return figure.evaluate(
        """(figure, trial) => {
            const trace = figure.data.find(one => page.trials.ofTrials(one) && one.customdata.includes(trial));
            const point = trace.customdata.indexOf(trial);
            const { xaxis, yaxis } = figure._fullLayout;
            const box = figure.getBoundingClientRect();
            const [x, y] = [xaxis.l2p(trace.x[point]), yaxis.l2p(trace.y[point])];
            return [box.x + xaxis._offset + x, box.y + yaxis._offset + y];
        }""",
        trial,
    )


def highlight(page, trials, slug=LINKED):
    page.evaluate(
        """([slug, trials]) =>
            page.linking.highlight(page.trials.groups.find(group => group.slug === slug), trials)""",
        [slug, trials],
    )


def test_the_scripts_have_one_name_in_common():
    names = re.findall(r"^(?:const|let|var|function|class|async function) (\w+)", page_script(), re.MULTILINE)
    assert names == ["page"]
    assert "console." not in page_script()


def test_trade_offs_are_drawn_at_load_and_the_rest_when_a_reader_comes_near(opened):
    page = opened()
    figures = page.locator("[data-figure]")
    until(page, "document.querySelectorAll('[data-at-load].js-plotly-plot').length === 9")
    waiting = page.locator("[data-figure]:not(.js-plotly-plot)").count()
    assert 0 < waiting <= figures.count() - 9
    draw_all(page)
    assert page.locator("[data-figure]:not(.js-plotly-plot)").count() == 0


def test_a_folded_figure_is_drawn_when_it_is_unfolded(opened):
    page = opened()
    page.evaluate(
        """() => {
            const figure = Array.from(document.querySelectorAll("[data-figure]:not(.js-plotly-plot)")).at(-1);
            const details = document.createElement("details");
            details.id = "folded";
            details.append(document.createElement("summary"), figure);
            document.querySelector("main").prepend(details);
            scrollTo(0, 0);
        }"""
    )
    page.wait_for_timeout(300)
    assert page.locator("#folded .js-plotly-plot").count() == 0
    page.locator("#folded summary").click()
    page.locator("#folded svg.main-svg").first.wait_for()


def test_every_command_is_the_one_that_reproduces_the_trial(opened):
    commands = opened().evaluate(
        """() => Object.fromEntries(
            page.trials.groups.flatMap(group => group.ids.map(id => [id, group.trial(id).command])))"""
    )
    best = {one.trial: one for one in RECORDS if one.fidelity == "search" and one.cell["method"] != "retrain"}
    best |= {one.trial: one for one in RECORDS if one.fidelity == "full" and one.cell["method"] != "retrain"}
    space = handmade.study(**SPACE)
    expected = {
        trial: reproduce_command(one, space) if one.replicates else None for trial, one in best.items()
    }  # fmt: skip
    assert len(expected) > 90
    assert None in expected.values()
    assert "'\"'\"'" in expected["digits-tinyvit_micro-neglora-0099"]
    assert commands == expected


def test_hover_texts_come_from_the_table_and_run_nothing(opened):
    page = opened()
    trade_off(page, slug="handmade-digits-tinyvit_micro")
    texts = page.evaluate(
        """() => Array.from(document.querySelectorAll(".js-plotly-plot"), figure => figure.data)
            .flat().filter(page.trials.ofTrials).flatMap(trace => trace.hovertext)"""
    )
    assert len(texts) > 100
    assert not [text for text in texts if "<img" in text]
    nasty = [text for text in texts if "tinyvit_micro-neglora-0099" in text]
    assert nasty
    for text in nasty:
        assert "note: &lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text
        assert "lr: 1e-05" in text


def test_a_click_opens_the_panel_and_highlights_everywhere(opened):
    page = opened()
    page.mouse.click(*spot_of(page, trade_off(page), CHOSEN))
    panel = page.get_by_role("dialog")
    panel.wait_for()
    assert panel.get_by_role("heading").inner_text() == f"neglora: {CHOSEN}"
    assert page.evaluate("document.activeElement.textContent") == f"neglora: {CHOSEN}"
    record = next(one for one in RECORDS if one.trial == CHOSEN and one.fidelity == "full")
    text = panel.inner_text()
    assert f"{100 * record.report['ta']:.2f}%" in text
    assert f"{100 * record.metrics['ta']:.2f}%" in text
    assert "97.00%" in text
    assert "0.50 s" in text
    assert f"rank={record.params['rank']}" in text
    command = panel.locator("code").last.inner_text()
    assert command == reproduce_command(record, handmade.study(**SPACE))
    panel.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command
    found = page.evaluate(HIGHLIGHTED, LINKED)
    assert found == {f"tradeoff-ua-{metric}-{LINKED}": [CHOSEN] for metric in AGAINST}
    # The other dataset or model has trials of its own.
    assert set(page.evaluate(HIGHLIGHTED, SUBSETS).values()) == {None}
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    assert page.locator(f"#highlights-{LINKED}").inner_text().startswith("1 configuration highlighted")


def test_the_panel_is_reached_and_left_by_keyboard_alone(opened):
    page = opened()
    picker = page.get_by_label("Show a configuration").first
    picker.focus()
    assert page.locator(f"#pick-{LINKED} optgroup").first.get_attribute("label") == "Recommended"
    first = picker.input_value()
    assert page.evaluate("page.trials.groups[0].table.recommended") == first
    page.keyboard.press("ArrowDown")
    chosen = picker.input_value()
    assert chosen != first
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog")
    panel.wait_for()
    assert panel.get_by_role("heading").inner_text().endswith(chosen)
    assert page.evaluate(HIGHLIGHTED, LINKED)[f"tradeoff-ua-ta-{LINKED}"] == [chosen]
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Copy":
            break
    page.keyboard.press("Enter")
    page.get_by_text("Copied").wait_for()
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    assert page.evaluate("document.activeElement.id") == f"pick-{LINKED}"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    panel.wait_for()
    panel.get_by_role("button", name="Close the panel").click()
    assert panel.is_hidden()


def test_a_box_in_one_figure_highlights_the_same_trials_in_the_others(opened):
    page = opened()
    figure = trade_off(page)
    figure.hover()
    figure.locator('.modebar-btn[data-title="Box Select"]').click()
    x, y = spot_of(page, figure, CHOSEN)
    page.mouse.move(x - 25, y - 15)
    page.mouse.down()
    page.mouse.move(x + 10, y + 15, steps=5)
    page.mouse.up()
    until(page, f"document.getElementById('highlights-{LINKED}').classList.contains('shown')")
    found = page.evaluate(HIGHLIGHTED, LINKED)
    inside = found[f"tradeoff-ua-ra-{LINKED}"]
    assert CHOSEN in inside
    assert 1 < len(inside) < 40
    assert list(found.values()) == [inside] * 3
    box = page.locator(f"#highlights-{LINKED}")
    assert box.inner_text().startswith(
        f"{len(inside)} configurations highlighted in every figure of tinyvit_nano on digits"
    )
    # Retrain is no trial: it is never dimmed.
    dimmed = figure.evaluate("figure => figure.data.filter(one => one.name === 'Retrain')[0].selectedpoints ?? null")
    assert dimmed is None
    box.get_by_text("Which?").click()
    assert box.locator("tbody tr").count() == min(len(inside), 21)
    box.locator("tbody button").first.click()
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.mouse.dblclick(x - 60, y + 120)
    until(page, f"!document.getElementById('highlights-{LINKED}').classList.contains('shown')")
    assert set(page.evaluate(HIGHLIGHTED, LINKED).values()) == {None}


def test_clear_takes_highlights_and_outlines_back(opened):
    page = opened()
    figure = trade_off(page)
    figure.evaluate("figure => Plotly.relayout(figure, {selections: [{x0: 0, x1: 50, y0: 90, y1: 100, type: 'rect'}]})")
    highlight(page, [CHOSEN])
    assert set(map(tuple, page.evaluate(HIGHLIGHTED, LINKED).values())) == {(CHOSEN,)}
    page.get_by_role("button", name="Clear the highlighting").click()
    assert set(page.evaluate(HIGHLIGHTED, LINKED).values()) == {None}
    assert figure.evaluate("figure => (figure.layout.selections || []).length") == 0
    assert page.get_by_role("button", name="Clear the highlighting").count() == 0


def test_figures_that_are_drawn_later_are_highlighted_too(opened):
    page = opened()
    highlight(page, [CHOSEN])
    draw_all(page)
    assert set(map(tuple, page.evaluate(HIGHLIGHTED, LINKED).values())) == {(CHOSEN,)}
    # One whose ids are written once each, although a line passes many axes.
    marks = page.locator(f"#parallel-{LINKED}").evaluate(
        """figure => figure.data.filter(page.trials.ofTrials)
            .flatMap(trace => (trace.selectedpoints || []).map(point => trace.customdata[point]))"""
    )
    assert len(marks) > 3
    assert set(marks) == {CHOSEN}


def test_lines_of_highlighted_trials_are_drawn_again_above_the_others(opened):
    page = opened()
    figure = trade_off(page)
    figure.evaluate(
        """figure => Plotly.addTraces(figure, {mode: "lines", meta: "trials",
            x: [0, 50, null, 0, 50], y: [10, 20, null, 30, 40], customdata: ["a", "a", null, "b", "b"]})"""
    )
    highlight(page, ["b"])
    line, above = figure.evaluate(
        "figure => figure.data.slice(-2).map(one => [one.opacity, Array.from(one.x), one.meta])"
    )
    assert line[0] < 0.5
    assert above[1:] == [[None, None, None, 0, 50], "highlighted"]
    page.get_by_role("button", name="Clear the highlighting").click()
    assert figure.evaluate("figure => [figure.data.at(-1).meta, figure.data.at(-1).opacity]") == ["trials", 1]


def test_one_legend_shows_and_hides_in_all_three_figures(opened):
    page = opened()
    for metric in AGAINST:
        trade_off(page, metric)
    legend = page.get_by_role("group", name="What the three figures of tinyvit_nano on digits show")
    button = legend.get_by_role("button", name="neggrad", exact=True)
    visible = """([slug, name]) => Array.from(document.querySelectorAll(`[id^=tradeoff][id$="${slug}"]`),
        figure => figure.data.filter(one => one.legendgroup === name).map(one => one.visible ?? true))"""
    before = page.evaluate(visible, [LINKED, "neggrad"])
    assert len(before) == 3
    assert {shown for figure in before for shown in figure} == {True}
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert {shown for figure in page.evaluate(visible, [LINKED, "neggrad"]) for shown in figure} == {False}
    assert {shown for figure in page.evaluate(visible, [LINKED, "neglora"]) for shown in figure} == {True}
    button.click()
    assert page.evaluate(visible, [LINKED, "neggrad"]) == before
    # Plotly's own legends are off: there is one for all.
    assert page.locator(".linked .legend .traces").count() == 0


def test_trials_on_subsets_are_shown_when_they_are_asked_for(opened):
    page = opened()
    figures = [trade_off(page, metric, SUBSETS) for metric in AGAINST]
    before = [figure.locator(".point").count() for figure in figures]
    button = (
        figures[0]
        .locator("xpath=ancestor::*[contains(@class, 'linked')]")
        .get_by_role("button", name="on subsets only")
    )
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    in_full = sum(one.fidelity == "full" and one.status == "ok" for one in STAGED[1:])
    assert [figure.locator(".point").count() for figure in figures] == [count + 47 - in_full for count in before]


def test_the_corner_is_shown_in_all_three_figures_and_left_again(opened):
    page = opened()
    for metric in AGAINST:
        trade_off(page, metric)
    zoom = page.get_by_role("group", name="Part of the three figures of tinyvit_nano on digits")
    corner, everything = zoom.get_by_role("button", name="Corner (95–100%)"), zoom.get_by_role("button", name="All")
    ranges = f"""() => Array.from(document.querySelectorAll('[id^=tradeoff][id$="{LINKED}"]'),
        figure => [...figure._fullLayout.xaxis.range, ...figure._fullLayout.yaxis.range])"""
    whole = page.evaluate(ranges)
    assert all(low < 1 for low, *_ in whole)
    corner.click()
    close = page.evaluate(ranges)
    assert len(close) == 3
    for low, high, bottom, top in close:
        assert 94 < low < 95 < 100 < high < 101
        assert bottom < 97 < 100 <= top < 101
    assert (corner.get_attribute("aria-pressed"), everything.get_attribute("aria-pressed")) == ("true", "false")
    everything.focus()
    page.keyboard.press("Enter")
    assert [pytest.approx(one, abs=0.5) for one in page.evaluate(ranges)] == whole
    assert (corner.get_attribute("aria-pressed"), everything.get_attribute("aria-pressed")) == ("false", "true")
    # Who moves one figure by itself sees neither.
    page.evaluate(f"Plotly.relayout('tradeoff-ua-ra-{LINKED}', {{'xaxis.range': [10, 20]}})")
    until(page, "document.querySelectorAll('.zoom')[0].querySelectorAll('[aria-pressed=true]').length === 0")


def test_a_change_of_scheme_leaves_zoom_and_highlights(opened):
    page = opened(scheme="light")
    figure = trade_off(page)
    highlight(page, [CHOSEN])
    page.get_by_role("button", name="Corner (95–100%)").first.click()
    light = figure.evaluate("figure => figure.layout.font.color")
    page.emulate_media(color_scheme="dark")
    until(page, f"document.getElementById('tradeoff-ua-ra-{LINKED}').layout.font.color !== '{light}'")
    assert figure.evaluate("figure => figure.layout.xaxis.range[0]") > 90
    assert set(map(tuple, page.evaluate(HIGHLIGHTED, LINKED).values())) == {(CHOSEN,)}


def test_everything_is_drawn_in_light_colours_before_printing(opened):
    page = opened(width=2560, scheme="dark")
    highlight(page, [CHOSEN])
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("[data-figure]:not(.js-plotly-plot)").count() == 0
    inks = "() => Array.from(document.querySelectorAll('.js-plotly-plot'), figure => figure.layout.font.color)"
    widths = page.evaluate(
        "() => Array.from(document.querySelectorAll('.js-plotly-plot'), one => one._fullLayout.width)"
    )
    assert set(page.evaluate(inks)) == {"#1b1f24"}
    assert 250 < min(widths) <= max(widths) <= 640
    page.emulate_media(media="print")
    for hidden in (".picker", ".trial-panel", ".highlights", ".zoom button"):
        assert page.locator(hidden).first.is_hidden()
    assert page.locator(".legend button").first.is_visible()
    # One below the other: nothing is drawn over its neighbour.
    boxes = [page.locator(f"#tradeoff-ua-{metric}-{LINKED}").bounding_box() for metric in AGAINST]
    assert [one["y"] >= other["y"] + other["height"] for other, one in itertools.pairwise(boxes)] == [True, True]
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert "#1b1f24" not in page.evaluate(inks)


def test_the_panel_fits_a_narrow_screen(opened):
    page = opened(width=400)
    picker = page.get_by_label("Show a configuration").first
    picker.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog")
    panel.wait_for()
    box = panel.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    # The figures stay in sight above it.
    assert box["y"] >= 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
