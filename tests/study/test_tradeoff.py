"""What the trade-offs say beside their points: areas, attainment, the corner, the finding, legend and zoom."""

import random

import handmade
import pytest

from study.aggregate import base_values, trials_table
from study.pareto import hypervolume
from study.plots.corner import corner_of
from study.plots.staircase import between, corners, covered
from study.plots.style import METHOD_MARKS, OTHER_MARKS, Mark
from study.plots.tradeoff import AGAINST, Point, Reference, Tradeoff, tradeoff_info
from study.plots.tradeoff_figure import reference_mark, tradeoff_figure
from study.sections.legend import Entry, legend_html, mark_svg, zoom_html
from study.sections.source import Source
from study.sections.tradeoff import caption, finding, tradeoff_html

V = handmade.values


def info_of(records, metric="ra", **more):
    retrain = next((one for one in records if one.cell["method"] == "retrain"), None)
    own = trials_table([one for one in records if one is not retrain])
    return tradeoff_info(own, records, metric, retrain=retrain, **more)


def shoelace(outline):
    xs, ys = outline
    turns = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in turns)) / 2


@pytest.mark.parametrize("seed", range(8))
def test_outlines_have_the_area_that_the_front_dominates(seed):
    generator = random.Random(seed)
    outer = [(generator.randint(1, 9), generator.randint(1, 9)) for _ in range(12)]
    inner = [(x - generator.randint(0, 1), y - generator.randint(0, 1)) for x, y in outer]
    volumes = [hypervolume(points, [0, 0], ["maximize"] * 2) for points in (outer, inner)]
    assert shoelace(covered(corners(outer), (0, 0))) == pytest.approx(volumes[0])
    assert shoelace(between(corners(outer), corners(inner), (0, 0))) == pytest.approx(volumes[0] - volumes[1])


def test_corners_are_the_undominated_points_each_once():
    assert corners([(1, 3), (2, 2), (1, 3), (1, 2), (2, 1), (3, 0)]) == [(1, 3), (2, 2), (3, 0)]
    assert corners([]) == []


def several(number, ras, uas=None, selection=None):
    uas = uas or [1.0] * len(ras)
    ones = [
        handmade.replicate(selection or V(ua, ra), V(ua, ra), seed=seed)
        for seed, (ua, ra) in enumerate(zip(uas, ras, strict=True))
    ]
    return handmade.record(number, replicates=ones)


def test_attainment_is_that_of_the_front_over_replicates():
    records = [
        several(0, [0.9, 0.8, 0.7]),
        several(1, [0.95, 0.9, 0.97], [0.5, 0.6, 0.4]),
        several(2, [0.1, 0.99, 0.1]),
    ]
    (one,) = info_of(records).attainment.values()
    assert one.runs == 3
    # The third is beaten on average, so that its lucky replicate counts for nothing.
    assert one.best == [(0.4, 0.97), (0.5, 0.95), (1.0, 0.9)]
    assert one.median == [(0.4, 0.95), (0.6, 0.9), (1.0, 0.8)]
    assert one.worst == [(0.4, 0.9), (1.0, 0.7)]
    assert info_of([handmade.record(0)]).attainment == {}


def test_replicates_that_not_all_of_the_front_has_are_no_runs():
    first, second = several(0, [0.9, 0.8]), several(1, [0.99, 0.98], [0.5, 0.5])
    assert info_of([first, second]).attainment["neglora"].runs == 2
    fewer = several(1, [0.99], [0.5])
    assert info_of([first, fewer]).attainment == {}


def test_thinned_trials_are_counted_and_fronts_stay():
    records = [handmade.record(number, metrics=V(1.0, 0.5 + number / 100)) for number in range(5)]
    front = records[-1].trial
    info = info_of(records, drawn={front, records[0].trial})
    assert [point.trial for point in info.methods["neglora"]] == [records[0].trial, front]
    assert info.thinned == 3
    assert "2 of 5 trials are drawn, every front whole." in caption(info)


def test_the_best_that_forgets_is_chosen_on_the_selection_half():
    records = [
        handmade.retrain(),
        handmade.record(0, metrics=V(0.96, 0.90), report=V(0.96, 0.99)),
        handmade.record(1, metrics=V(0.96, 0.95), report=V(0.90, 0.94)),
        handmade.record(2, metrics=V(0.90, 0.99), report=V(0.99, 0.999)),
        handmade.record(0, metrics=V(0.5, 1.0), method="neggrad"),
        handmade.record(0, metrics=V(1.0, 0.80), method="partial_neggrad"),
    ]
    info = info_of(records)
    assert info.reached["neglora"].best.trial == records[2].trial
    assert finding(info) == (
        "Best RA while at least 95% is forgotten: neglora 94.00% (6.00 points below Retrain), partial_neggrad 80.00%; "
        "neggrad never forgets so much; Retrain has 100.00%."
    )


def test_the_finding_without_retrain_ties_and_without_anybody_who_forgets():
    level = [handmade.record(0, metrics=V(1.0, 0.9), method=method) for method in ("neglora", "neggrad")]
    assert finding(info_of(level)) == "Best RA while at least 95% is forgotten: neglora and neggrad 90.00%."
    assert finding(info_of([handmade.retrain(), handmade.record(0)])).endswith(
        "neglora 100.00% (level with Retrain); Retrain has 100.00%."
    )
    assert finding(info_of([handmade.record(0, metrics=V(0.4, 0.9))])) == (
        "No configuration forgets 95% of the images: the most is UA 40.00%."
    )
    assert finding(info_of([])) == "No configuration was measured in full yet."


def test_a_trial_that_has_no_value_is_not_the_best():
    records = [handmade.record(0, metrics=V(mia=None)), handmade.record(1, metrics=V(mia=0.7))]
    assert info_of(records, "mia").reached["neglora"].best.trial == records[1].trial


def spots(points, references=()):
    own = [Point(str(place), x, y, None, None, True) for place, (x, y) in enumerate(points)]
    return Tradeoff("ra", {"neglora": own}, [Reference(*one) for one in references], None, 0)


def test_the_corner_begins_where_something_lies():
    base = ("Base", 0.0, 1.0)
    corner = corner_of(spots([(0.96, 0.97), (0.5, 0.2)], [base]))
    assert (corner.ua, corner.other) == (0.95, 0.95)
    assert corner.x_range == (94.75, 100.25)
    assert corner_of(spots([(0.91, 0.72)], [base])).ua == 0.9
    low = corner_of(spots([(1.0, 0.55), (1.0, 0.52)], [base]))
    assert low.other == 0.5
    # What nothing reaches is not drawn.
    assert 55 < low.y_range[1] < 56


def test_the_corner_has_retrain_in_it():
    corner = corner_of(spots([(0.99, 0.99), (0.1, 0.1)], [("Retrain", 1.0, 0.76), ("Base", 0.0, 1.0)]))
    assert corner.y_range[0] < 76
    assert corner.y_range[1] > 100


def test_there_is_no_corner_where_there_is_nothing_to_see_closer():
    assert corner_of(spots([])) is None
    assert corner_of(spots([(0.05, 0.9)])) is None
    assert corner_of(spots([(1.0, 0.05)])) is None
    assert corner_of(spots([(0.99, 0.99), (0.97, 1.0)], [("Retrain", 1.0, 1.0)])) is None
    written = zoom_html({"a": None, "b": None}, "Part")
    assert 'title="There is nothing to see closer"' in written
    assert "disabled" in written


def test_bands_are_drawn_where_there_are_replicates_and_belong_to_their_method():
    records = handmade.searched(8, (0, 1, 2))
    figure = tradeoff_figure(info_of(records))
    filled = [trace for trace in figure.data if trace.fill == "toself"]
    assert [trace.legendgroup for trace in filled] == [name for name in METHOD_MARKS for _ in range(2)]
    assert sum(trace.line.dash == "dot" for trace in figure.data) == 3
    one = [trace for trace in tradeoff_figure(info_of(handmade.searched(8))).data if trace.fill == "toself"]
    assert len(one) == 3
    # What is no trial says nothing on hovering, and is none.
    assert {(trace.hoverinfo, trace.meta) for trace in filled} == {("skip", None)}


def test_references_are_named_in_the_plot_unless_names_would_cover_one_another():
    records = handmade.searched(8)
    info = info_of(records, bases=base_values(records, "digits", "tinyvit_nano"))
    named = {trace.name: trace.text for trace in tradeoff_figure(info).data if trace.name in {"Retrain", "Base"}}
    assert named == {"Retrain": ("<b>Retrain</b>",), "Base": ("<b>Base</b>",)}
    (sparse,) = [trace for trace in tradeoff_figure(info).data if trace.name == "Base, 90% sparse"]
    assert (sparse.mode, sparse.marker.symbol) == ("markers", "cross-open")


def test_one_legend_names_everything_that_the_three_figures_show():
    source = Source(handmade.study(), handmade.staged(16))
    (group,) = source.groups
    page = tradeoff_html(group, source)
    groups = set()
    for metric in AGAINST:
        info = tradeoff_info(
            group.table,
            source.records,
            metric,
            retrain=group.retrain,
            bases=group.bases,
            recommended=group.recommendation.trial,
        )
        groups |= {trace.legendgroup for trace in tradeoff_figure(info).data}
    assert groups == {*METHOD_MARKS, "Retrain", "Base", "Base, 90% sparse", "recommended", "on subsets only"}
    for name in groups:
        assert page.count(f'data-legend="{name}"') == 1
    assert page.count('aria-pressed="false"') == 2
    assert page.count("data-at-load") == 3


def test_every_mark_is_drawn_in_the_legend_and_is_its_own():
    marks = [*METHOD_MARKS.values(), *OTHER_MARKS, *(reference_mark(name) for name in ("Retrain", "Base", "Base, 50%"))]
    drawn = {mark_svg(mark) for mark in marks}
    shapes = {svg[svg.index("<", 1) : svg.index(" fill")] for svg in drawn}
    assert len(drawn) == len(marks)
    # The sparse base's mark is the base's, hollow.
    assert len(shapes) == len(marks) - 1
    assert 'fill="none"' in mark_svg(Mark("#808080", "cross-open"))


def test_legends_escape_what_comes_from_data():
    written = legend_html([Entry("&lt;b&gt;", "<b>", Mark("#000000", "circle"))], "<i>")
    assert "<b>" not in written
    assert 'data-legend="&amp;lt;b&amp;gt;"' in written
