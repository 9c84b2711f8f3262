"""What figures show, on handmade records; then that they draw it."""

import json

import handmade
import pytest

from study.aggregate import base_values, retrain_record, trials_table
from study.carried import carried, retrain_pairs
from study.levels import at_sparsity, sparsities, with_epochs
from study.plots.carried import carried_figure, carried_info
from study.plots.panels import PANELS
from study.plots.progress import progress_figure, progress_info
from study.plots.sparsity import sparsity_figure, sparsity_info
from study.plots.style import BASE_MARK, METHOD_MARKS, OTHER_MARKS, RETRAIN_MARK, method_mark
from study.plots.tradeoff import AGAINST, Reference, tradeoff_info
from study.plots.tradeoff_figure import ON_SUBSETS, tradeoff_figure

V = handmade.values


def info_of(records, metric="ra", **more):
    return tradeoff_info(trials_table(records), records, metric, **more)


def test_positions_are_the_reports_and_the_front_is_the_selections():
    """On the report half the second beats the first; on the selection half it was the other way round."""
    records = [
        handmade.record(0, metrics=V(1.0, ta=0.9), report=V(1.0, ta=0.5)),
        handmade.record(1, metrics=V(1.0, ta=0.8), report=V(1.0, ta=0.6)),
    ]
    points = info_of(records, "ta").methods["neglora"]
    assert [(point.x, point.y, point.on_front) for point in points] == [(1.0, 0.5, True), (1.0, 0.6, False)]


def test_a_missing_report_value_falls_back_to_the_selection_half():
    (point,) = info_of([handmade.record(0, metrics=V(ta=0.9), report=V(ta=None))], "ta").methods["neglora"]
    assert point.y == 0.9


def test_trials_without_a_value_are_counted_not_invented():
    info = info_of([handmade.record(0, metrics=V(mia=None)), handmade.record(1)], "mia")
    assert [point.trial[-4:] for point in info.methods["neglora"]] == ["0001"]
    assert info.unmeasured == 1


def test_only_ok_trials_in_full_are_shown():
    records = [
        handmade.record(0, status="diverged", reason="nan"),
        handmade.record(1, fidelity="search"),
        handmade.record(2),
        handmade.retrain(),
    ]
    info = info_of(records)
    assert {method: len(points) for method, points in info.methods.items()} == {"neglora": 1}


def test_what_was_measured_on_subsets_only_is_hidden_and_on_no_front():
    full, left = handmade.record(0, metrics=V(0.8, 0.8)), handmade.record(1)
    records = [handmade.searched_line(full, ra=1.0), full, handmade.searched_line(left, ra=0.995)]
    records += [handmade.confirmed_line(full, [(5, 0, V())])]
    info = info_of(records)
    assert [(point.trial, point.y, point.on_front) for point in info.methods["neglora"]] == [(full.trial, 0.8, True)]
    assert [(point.trial, point.y, point.on_front) for point in info.unconfirmed["neglora"]] == [
        (left.trial, 0.995, False)
    ]
    figure = tradeoff_figure(info)
    (hidden,) = [trace for trace in figure.data if trace.visible == "legendonly"]
    assert (list(hidden.y), hidden.mode, hidden.name) == ([99.5], "markers", ON_SUBSETS)
    assert [trace.name for trace in figure.data if trace.showlegend] == ["neglora", ON_SUBSETS]


def test_one_legend_entry_shows_what_every_method_had_on_subsets():
    traces = [trace for trace in tradeoff_figure(info_of(handmade.staged(8))).data if trace.visible == "legendonly"]
    assert [trace.showlegend for trace in traces] == [True, False, False]
    assert {trace.legendgroup for trace in traces} == {ON_SUBSETS}
    assert [trace.marker.symbol for trace in traces] == ["square-open", "triangle-up-open", "circle-open"]


def test_references_are_retrain_then_the_bases():
    records = [handmade.retrain(), handmade.record(0)]
    info = info_of(
        records,
        retrain=retrain_record(records, "digits", "tinyvit_nano"),
        bases=base_values(records, "digits", "tinyvit_nano"),
    )
    assert info.references == [
        Reference("Retrain", 1.0, 1.0),
        Reference("Base", 0.0, 1.0),
        Reference("Base, 90% sparse", 0.0, pytest.approx(0.991)),
    ]


def test_error_bars_only_over_several_replicates():
    ones = [handmade.replicate(V(ra=ra), V(ra=ra), seed=seed) for seed, ra in enumerate([0.9, 0.92])]
    several, one = handmade.record(0, replicates=ones), handmade.record(1)
    first, second = info_of([several, one]).methods["neglora"]
    assert first.y_error == pytest.approx(0.02 / 2**0.5)
    assert second.y_error is None
    trace = next(trace for trace in tradeoff_figure(info_of([several])).data if trace.mode == "lines+markers")
    assert list(trace.error_y.array) == [pytest.approx(2 / 2**0.5, abs=1e-4)]


@pytest.mark.parametrize("metric", AGAINST)
def test_the_figure_draws_percent_a_ring_and_every_trial(metric):
    records = handmade.searched(8)
    info = info_of(
        records,
        metric,
        retrain=records[0],
        bases=base_values(records, "digits", "tinyvit_nano"),
        recommended="digits-tinyvit_nano-neglora-0003",
    )
    figure = tradeoff_figure(info)
    markers = [trace for trace in figure.data if trace.meta == "trials"]
    assert {trial for trace in markers for trial in trace.customdata} == {
        point.trial for points in info.methods.values() for point in points
    }
    assert sum(len(trace.x) for trace in markers) == sum(map(len, info.methods.values())) == 23
    assert max(value for trace in markers for value in trace.x) == 100.0
    assert figure.layout.xaxis.ticksuffix == figure.layout.yaxis.ticksuffix == "%"
    names = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert names == ["neggrad", "partial_neggrad", "neglora", "Retrain", "Base", "Base, 90% sparse", "recommended"]


def test_the_front_is_drawn_from_left_to_right():
    records = [handmade.record(i, metrics=V(ua, ra)) for i, (ua, ra) in enumerate([(1.0, 0.5), (0.2, 1.0), (0.6, 0.8)])]
    line = next(trace for trace in tradeoff_figure(info_of(records)).data if trace.mode == "lines+markers")
    assert list(line.x) == [20.0, 60.0, 100.0]
    assert list(line.y) == [100.0, 80.0, 50.0]


def test_an_empty_table_draws_an_empty_figure():
    assert len(tradeoff_figure(info_of([])).data) == 0
    assert len(progress_figure(progress_info(trials_table([]), ["ua"])).data) == 0


def test_every_mark_has_its_own_colour_and_shape():
    marks = [*METHOD_MARKS.values(), *OTHER_MARKS, RETRAIN_MARK, BASE_MARK]
    assert len({mark.color for mark in marks}) == len({mark.symbol for mark in marks}) == len(marks)


def test_a_new_methods_mark_does_not_depend_on_ours():
    assert method_mark("scrub", ["neggrad", "scrub", "salun"]) == OTHER_MARKS[0]
    assert method_mark("salun", ["scrub", "neglora", "salun"]) == OTHER_MARKS[1]
    assert method_mark("neglora", ["neglora"]) == METHOD_MARKS["neglora"]


def test_progress_grows_with_what_joins_the_front():
    records = [
        handmade.record(0, metrics=V(1.0, 0.5)),
        handmade.record(1, metrics=V(0.9, 0.4)),
        handmade.record(2, status="diverged", reason="nan"),
        handmade.record(3, metrics=V(0.5, 1.0)),
    ]
    (curve,) = progress_info(trials_table(records), ["ua", "ra"])
    assert curve.trials == [1, 2, 3, 4]
    assert curve.hypervolumes == pytest.approx([0.5, 0.5, 0.5, 0.75])


def test_progress_of_trials_in_stages_is_what_the_search_was_told():
    first, second = handmade.record(0, metrics=V(1.0, 0.5)), handmade.record(1, metrics=V(0.5, 0.9))
    lost = handmade.record(2, status="diverged", reason="nan")
    records = [handmade.searched_line(second, ra=1.0), lost, first, handmade.searched_line(first, ra=0.6)]
    (curve,) = progress_info(trials_table([*records, handmade.confirmed_line(first, [(5, 0, V())])]), ["ua", "ra"])
    assert curve.trials == [1, 2, 3]
    assert curve.hypervolumes == pytest.approx([0.6, 0.8, 0.8])


def test_progress_has_a_curve_per_cell_and_dashes_per_axis():
    records = [
        handmade.record(0, method=method, axes={"sparsity": level})
        for method in ("neggrad", "neglora")
        for level in (0.0, 0.9)
    ]
    figure = progress_figure(progress_info(trials_table(records), ["ua"]))
    assert [trace.name for trace in figure.data] == [
        "neggrad, sparsity 0.0",
        "neggrad, sparsity 0.9",
        "neglora, sparsity 0.0",
        "neglora, sparsity 0.9",
    ]
    looks = {(trace.line.color, trace.line.dash) for trace in figure.data}
    assert len(looks) == 4


def sparse(number, ra, sparsity, **more):
    params = {"lr": 0.1, "epochs": 1, "sparsity": sparsity}
    return handmade.record(number, metrics=V(1.0, ra), params=params, **more)


def sparsity_of(records, **more):
    table = trials_table(records)
    return sparsity_info(table[table["method"] != "retrain"], records, **more)


def test_levels_are_found_whether_axis_or_parameter():
    searched = [sparse(0, 0.9, 0.0), sparse(1, 0.8, 0.9), handmade.record(2, params={"lr": 0.1})]
    axes = [handmade.record(0, params={"epochs": 2}, axes={"sparsity": level}) for level in (0.95, 0.5)]
    assert sparsities(trials_table(searched)) == [0.0, 0.9]
    # A method without the parameter starts from the dense base, and unlearns for no number of epochs.
    assert len(at_sparsity(trials_table(searched), 0.0)) == 2
    assert len(with_epochs(trials_table(searched), 1)) == 2
    assert sparsities(trials_table(axes)) == [0.5, 0.95]
    assert len(with_epochs(trials_table(axes), 2)) == 2
    assert sparsities(trials_table([])) == []


def test_each_sparsity_has_its_recommended_configuration():
    records = [handmade.retrain(), sparse(0, 0.8, 0.0), sparse(1, 0.9, 0.0), sparse(2, 0.7, 0.9)]
    info = sparsity_of(records)
    assert [(level.sparsity, level.trial[-4:]) for level in info.methods["neglora"]] == [(0.0, "0001"), (0.9, "0002")]
    assert info.drawable


def test_one_sparsity_is_nothing_to_draw():
    assert not sparsity_of([handmade.retrain(), sparse(0, 0.9, 0.9)]).drawable
    assert not sparsity_of([handmade.retrain()]).drawable
    lost = sparse(1, 0.9, 0.0, status="diverged", reason="nan")
    assert not sparsity_of([handmade.retrain(), sparse(0, 0.9, 0.9), lost]).drawable


def test_a_sparsity_without_a_recommendation_is_said_not_drawn():
    lost = sparse(2, 0.9, 0.75, status="diverged", reason="nan")
    info = sparsity_of([handmade.retrain(), sparse(0, 0.9, 0.0), sparse(1, 0.8, 0.9), lost])
    assert info.sparsities == (0.0, 0.75, 0.9)
    assert info.missing == (("neglora", 0.75, "every trial diverged or failed"),)
    line = next(trace for trace in sparsity_figure(info).data if trace.name == "neglora" and trace.yaxis == "y2")
    assert list(line.y) == [90.0, None, 80.0]


def test_sparsity_values_are_the_reports_with_their_spread():
    ones = [handmade.replicate(V(ra=0.5), V(ra=ra), seed=seed) for seed, ra in enumerate([0.9, 0.92])]
    (level,) = sparsity_of([handmade.record(0, replicates=ones), handmade.retrain()]).methods["neglora"]
    assert level.values["ra"] == pytest.approx(0.91)
    assert level.errors["ra"] == pytest.approx(0.02 / 2**0.5)


def test_the_sparsity_figure_has_a_panel_per_metric_and_one_legend():
    records = handmade.searched(16, (0, 1))
    info = sparsity_of(records, retrain=records[0], bases=base_values(records, "digits", "tinyvit_nano"))
    figure = sparsity_figure(info)
    assert len({trace.yaxis for trace in figure.data}) == len(PANELS) == 4
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(legend) == ["Base before unlearning", "Retrain (dense)", "neggrad", "neglora", "partial_neggrad"]
    # The base stands in the panels of RA and TA alone.
    assert sum(trace.name == "Base before unlearning" for trace in figure.data) == 2
    dashed = [trace for trace in figure.data if trace.name == "Retrain (dense)"]
    assert [trace.y[0] for trace in dashed] == [100.0, 100.0, 97.0, 100.0]
    assert {trace.line.dash for trace in dashed} == {"dash"}
    assert list(figure.layout.xaxis.ticktext) == ["0", "90"]
    for trace in figure.data:
        low, high = figure.layout[f"yaxis{trace.yaxis[1:]}"].range
        assert all(low < value < high for value in trace.y if value is not None)


def test_small_differences_are_not_drawn_as_cliffs():
    figure = sparsity_figure(sparsity_of([handmade.retrain(), sparse(0, 1.0, 0.0), sparse(1, 0.999, 0.9)]))
    low, high = figure.layout.yaxis2.range
    assert high - low >= 5


def test_the_sparsity_figures_hover_is_escaped():
    records = [sparse(0, 0.9, level, method="<img src=x>") for level in (0.0, 0.9)]
    texts = [text for trace in sparsity_figure(sparsity_of(records)).data for text in (*trace.hovertext, trace.name)]
    assert texts
    assert not [text for text in texts if "<img" in text]


def compared(records):
    return carried_info(*(made(records, "digits", "tinyvit_nano") for made in (carried, retrain_pairs)))


def test_pairs_stand_side_by_side_with_retrains():
    info = compared(handmade.staged(8))
    assert [one.name for one in info] == ["neggrad", "partial_neggrad", "neglora", "Retrain"]
    for one in info:
        assert [(pair.forget, pair.seed) for pair in one.sides[0]] == [(3, 0)]
        assert [(pair.forget, pair.seed) for pair in one.sides[1]] == [(5, 0), (5, 1), (8, 0), (8, 1)]
    figure = carried_figure(info)
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(dots) == len(PANELS) * 4
    assert all(len(trace.x) == len(set(trace.x)) == 5 for trace in dots)
    # No configuration's dots reach into those beside it, nor one side's into the other's.
    first = [trace for trace in dots if trace.xaxis == "x"]
    for side in (0, 1):
        spots = [[x for x in trace.x if side - 0.5 < x < side + 0.5] for trace in first]
        assert sum(map(len, spots)) == 4 * (1, 4)[side]
        ends = [end for own in spots for end in (min(own), max(own))]
        assert ends == sorted(ends)
    assert [trace.name for trace in figure.data if trace.showlegend] == [one.name for one in info]
    (line,) = [
        trace for trace in figure.data if trace.mode == "lines" and trace.xaxis == "x3" and trace.line.dash == "dash"
    ]
    assert list(line.y) == [pytest.approx(97.0), pytest.approx(100 * (0.975 - 0.006))]
    for trace in dots:
        low, high = figure.layout[f"yaxis{trace.yaxis[1:]}"].range
        assert all(low < value < high for value in trace.y)


def test_without_unseen_pairs_of_retrain_the_others_are_drawn():
    records = [one for one in handmade.staged(8) if (one.cell["method"], one.fidelity) != ("retrain", "confirm")]
    retrain = compared(records)[-1]
    assert (retrain.name, len(retrain.sides[0]), len(retrain.sides[1])) == ("Retrain", 1, 0)
    assert compared(handmade.searched(4))[:-1] == []


def test_two_configurations_of_one_method_are_told_apart():
    records = [handmade.record(number) for number in (0, 1)]
    records += [handmade.confirmed_line(one, [(5, 0, V())]) for one in records]
    assert [one.name for one in compared(records)] == [f"neglora ({one.trial})" for one in records[:2]]


def test_pairs_that_were_not_measured_are_left_out_and_texts_are_escaped():
    own = handmade.record(0)
    figure = carried_figure(compared([own, handmade.confirmed_line(own, [("<img src=x>", 0, V(mia=None))])]))
    dots = {trace.xaxis: trace for trace in figure.data if trace.mode == "markers"}
    assert (len(dots["x"].x), len(dots["x4"].x)) == (2, 1)
    assert "&lt;img src=x&gt; with seed 0" in dots["x"].hovertext[1]


def test_figures_are_strict_json():
    def refuse(name):
        raise AssertionError(name)

    records = [handmade.record(0, metrics=V(mia=None)), *handmade.searched(4)]
    for metric in AGAINST:
        drawn = json.loads(tradeoff_figure(info_of(records, metric)).to_json(), parse_constant=refuse)
        assert drawn["data"]
    drawn = json.loads(sparsity_figure(sparsity_of(records)).to_json(), parse_constant=refuse)
    assert drawn["data"]
