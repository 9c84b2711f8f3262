"""The dial and the audits in the report: what they say of handmade ones, and the slider in a browser."""

import handmade
import pytest
from browsing import chromium, draw_all, watched

from neglora.dial import Dial, Point
from study.dialed import write_dial
from study.place import Place
from study.plots.dial import HAND, add_path, dial_figure, dial_info, finding
from study.report import read_study, write_report
from study.sections.audits import audited, audits_html
from study.sections.dial import dial_html, dials_of
from study.sections.source import Source

TRIAL = "digits-tinyvit_nano-neglora-0003"
SLUG = "handmade-digits-tinyvit_nano"


def dial(trial=TRIAL, recorded=0.25, **changes):
    scales = (0.0, 0.125, 0.25, 0.5, 1.0)
    points = tuple(
        Point(
            scale,
            handmade.values(min(4 * scale, 1.0), 1 - 0.8 * scale**2, 0.97 - 0.7 * scale**2, min(4 * scale, 1)),
            {},
        )
        for scale in scales
    )
    known = {
        "trial": trial,
        "method": "neglora",
        "forget": 3,
        "seed": 0,
        "recorded": recorded,
        "points": points,
        "retrain": {"metrics": handmade.RETRAIN, "report": {}},
        "counts": handmade.COUNTS,
        "unsettled": 0,
        "from_kept": True,
        "seconds": 1.0,
        "provenance": {"host": "handmade"},
    }
    return Dial(**(known | changes))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = handmade.write_study(tmp_path_factory.mktemp("dialed") / "study", handmade.searched(16))
    write_dial(Place.of(str(folder)), dial())
    return folder


def test_what_is_shown_of_a_dial():
    info = dial_info(dial(), "d")
    assert info.scales == (0.0, 0.125, 0.25, 0.5, 1.0)
    assert info.values["ua"] == (0.0, 0.5, 1.0, 1.0, 1.0)
    assert info.recorded == 2
    assert info.nearest == 2
    assert info.retrain == handmade.RETRAIN
    assert finding(info) == "0.25 of the update forgets 99%: RA 95.0%, TA 92.6%; all of it: RA 20.0%, TA 27.0%."
    without = dial_info(
        dial(retrain=None, points=tuple(Point(s, {"ua": 0.5}, {}) for s in (0.0, 1.0)), recorded=1.0), "d"
    )
    assert (without.retrain, without.nearest) == ({}, None)
    assert finding(without) == "At no scale is 99% forgotten: the most is UA 50.00%."


def test_the_hand_stands_at_the_recorded_scale_and_knows_all_others():
    figure = dial_figure(dial_info(dial(), "d"))
    hands = [trace for trace in figure.data if trace.meta == "dial d"]
    assert len(hands) == 4
    assert [list(trace.x) for trace in hands] == [[0.25]] * 4
    assert hands[0].y[0] == 100.0
    assert len(hands[0].customdata) == 5
    add_path(figure, dial_info(dial(), "d"), "ra")
    assert list(figure.data[-2].x) == [0, 50, 100, 100, 100]
    assert figure.data[-1].marker.color == HAND


def test_a_dial_stands_with_its_own_group(study):
    source = read_study(study)
    assert [one.trial for one in source.dials] == [TRIAL]
    assert [info.trial for info in dials_of(source.groups[0], source)] == [TRIAL]
    told = str(dial_html(source.groups[0], source))
    assert "nearest to Retrain" in told
    assert "full ascent" in told
    other = Source(handmade.study(), handmade.searched(4), dials=(dial("digits-resnet_nano-neglora-0000"),))
    assert dial_html(other.groups[0], other) is None


def test_what_audits_say_is_told_beside_retrain_and_base():
    oracle = handmade.retrain()
    audits = {"relearn": 0.0, "probe": 0.9}
    for half in (oracle.metrics, oracle.report, oracle.replicates[0]["bases"][0]["report"]):
        half |= audits
    values = handmade.values(ra=1.0) | {"relearn": 0.98, "probe": 0.95}
    source = Source(handmade.study(), [oracle, handmade.record(0, metrics=values)])
    rows = {one.name: one for one in audited(source.groups[0], source)}
    assert list(rows) == ["neglora", "Retrain", "Base"]
    assert rows["neglora"].values["relearn"] == 0.98
    assert rows["neglora"].says.words == "forgets at the output, not in the features"
    assert rows["Retrain"].says is None
    assert "forgets at the output, not in the features" in str(audits_html(source.groups[0], source))
    without = Source(handmade.study(), [handmade.retrain(), handmade.record(0)])
    assert audits_html(without.groups[0], without) is None


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.mark.browser
def test_the_slider_moves_the_marks_and_says_the_numbers(browser, study, tmp_path):
    report = write_report([study], tmp_path / "report.html")
    with watched(browser, report) as opened:
        page = opened()
        draw_all(page)
        slider = page.locator("input[data-dial]")
        slider.focus()
        output = page.locator(".slider output")
        assert output.inner_text().startswith("0.25 of the update: UA 100.00%, RA 95.00%")
        slider.press("End")
        assert output.inner_text().startswith("1 of the update: UA 100.00%, RA 20.00%")
        where = """id => document.getElementById(id).data
            .filter(trace => String(trace.meta).startsWith("dial")).map(trace => [trace.x[0], trace.y[0]])"""
        assert page.evaluate(where, f"tradeoff-ua-ra-{SLUG}") == [[100, 20]]
        assert page.evaluate(where, f"dial-{SLUG}-0-figure")[0][0] == 1
