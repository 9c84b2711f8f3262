"""Figures that compare methods, on handmade records: what they show, then that they draw it."""

import re

import handmade
import pytest

from study.aggregate import base_values, trials_table
from study.budget import method_curves
from study.plots.facets import (
    COLUMNS,
    facet_info,
    facets_figure,
    lines_of,
    out_of_view,
    ranges_of,
)
from study.plots.progress import is_share, progress_figure, progress_info, steps
from study.plots.ranks import ranks_figure
from study.plots.repeated import repeated_figure, repeated_info
from study.plots.style import METHOD_MARKS, RETRAIN_MARK
from study.ranks import Ranks

V = handmade.values
FOUR = ["ua", "ra", "ta", "mia"]


def facet_of(records, metric="ra", dataset="digits", model="tinyvit_nano", **more):
    table = trials_table(records)
    rows = table[(table["dataset"] == dataset) & (table["model"] == model) & (table["method"] != "retrain")]
    return facet_info(rows, dataset, model, metric, **more)


def test_progress_draws_only_where_something_changed():
    assert steps([0.1, 0.1, 0.4, 0.4, 0.4]) == [0, 2, 4]
    assert steps([0.0]) == [0]
    assert steps([]) == []


def test_what_enlarged_the_volume_is_a_trial_of_the_page():
    records = [handmade.record(0, status="diverged", reason="nan")]
    records += [handmade.record(number + 1, metrics=V(ua)) for number, ua in enumerate([0.5, 0.4, 0.9, 0.8])]
    (trace,) = progress_figure(progress_info(trials_table(records), ["ua"])).data
    assert trace.meta == "trials"
    assert list(trace.x) == [1, 2, 4, 5]
    assert [trial and trial[-4:] for trial in trace.customdata] == [None, "0001", "0003", None]


def test_progress_is_in_percent_with_a_line_for_retrain():
    curves = progress_info(trials_table(handmade.searched(8)), FOUR)
    figure = progress_figure(curves, "seconds", x_title="CPU-seconds spent", percent=True, retrain=0.97)
    assert [trace.name for trace in figure.data] == ["neggrad", "partial_neggrad", "neglora", "Retrain"]
    assert list(figure.data[-1].y) == [97.0, 97.0]
    assert figure.data[-1].line.color == RETRAIN_MARK.color
    for trace, curve in zip(figure.data, curves, strict=False):
        assert trace.x[-1] == pytest.approx(curve.seconds[-1])
        assert trace.y[-1] == pytest.approx(100 * curve.hypervolumes[-1], abs=1e-4)
        assert (trace.line.shape, len(trace.x)) == ("hv", len(trace.hovertext))
    assert (figure.layout.yaxis.ticksuffix, figure.layout.xaxis.ticksuffix) == ("%", "")
    assert figure.layout.xaxis.title.text == "CPU-seconds spent"


def test_a_volume_is_a_share_of_fractions_only():
    assert is_share(FOUR)
    assert not is_share(["ua", "speedup"])


def test_a_facets_fronts_are_the_selections_at_the_reports_values():
    records = [
        handmade.record(0, metrics=V(1.0, 0.9), report=V(1.0, 0.6)),
        handmade.record(1, metrics=V(0.5, 0.8), report=V(0.5, 1.0)),
        handmade.record(2, metrics=V(0.4, 0.95), report=V(0.4, 0.94)),
        handmade.record(0, method="neggrad", status="diverged", reason="nan"),
    ]
    facet = facet_of(records, recommended=records[0].trial)
    assert [(spot.x, spot.y) for spot in facet.fronts["neglora"]] == [(0.4, 0.94), (1.0, 0.6)]
    assert list(facet.fronts) == ["neglora"]
    assert (facet.recommended.trial, facet.recommended.y, facet.method) == (records[0].trial, 0.6, "neglora")
    assert facet.retrain is facet.base is None


def test_a_facet_has_retrain_and_the_dense_base():
    records = handmade.searched(6)
    facet = facet_of(records, "ta", retrain=records[0], bases=base_values(records, "digits", "tinyvit_nano"))
    assert (facet.retrain.x, facet.retrain.y) == (1.0, 0.97)
    assert (facet.base.x, facet.base.y) == (0.0, 0.975)
    assert facet.recommended is None


def named(dataset, model):
    return facet_of([handmade.record(0, dataset=dataset, model=model)], dataset=dataset, model=model)


def test_rows_are_datasets_and_columns_models():
    facets = [named(dataset, model) for dataset in ("a", "b") for model in ("m", "n", "o")]
    assert [[(one.dataset, one.model) for one in line] for line in lines_of(facets)] == [
        [("a", "m"), ("a", "n"), ("a", "o")],
        [("b", "m"), ("b", "n"), ("b", "o")],
    ]


def test_many_models_wrap_and_single_ones_share_lines():
    several = [named("a", f"m{index}") for index in range(COLUMNS + 1)] + [named("b", "m0"), named("b", "m1")]
    assert [len(line) for line in lines_of(several)] == [COLUMNS, 1, 2]
    single = [named(f"d{index}", "m") for index in range(COLUMNS + 1)]
    assert [len(line) for line in lines_of(single)] == [COLUMNS, 1]


def grid_facets(metric="ra"):
    records = handmade.grid(6, (0, 1))
    return [
        facet_of(
            records,
            metric,
            dataset,
            model,
            retrain=records[0],
            bases=base_values(records, dataset, model),
            recommended=f"{dataset}-{model}-neglora-0001",
        )
        for dataset in ("digits", "cifar10")
        for model in ("tinyvit_nano", "resnet_nano")
    ]


def test_all_panels_share_their_axes_and_one_legend():
    facets = grid_facets()
    figure = facets_figure(facets, "ra")
    axes = {name: axis for name, axis in figure.layout.to_plotly_json().items() if re.fullmatch(r"[xy]axis\d*", name)}
    assert len(axes) == 8
    assert len({tuple(axis["range"]) for name, axis in axes.items() if name.startswith("y")}) == 1
    assert {axis.get("matches") for name, axis in axes.items() if name.startswith("x")} == {None, "x"}
    assert sum(axis["showticklabels"] for axis in axes.values()) == 4
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(legend) == sorted(["neggrad", "partial_neggrad", "neglora", "Retrain", "Base", "recommended"])
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0] == "<b>tinyvit_nano</b><br>digits"
    assert len(titles) == 4
    drawn = sum(len(trace.x) for trace in figure.data if trace.mode == "lines+markers")
    assert drawn == sum(len(front) for facet in facets for front in facet.fronts.values()) > 20


def test_panels_do_not_overlap():
    layout = facets_figure(grid_facets(), "ra").layout
    assert layout.xaxis.domain[1] < layout.xaxis2.domain[0]
    assert layout.yaxis3.domain[1] < layout.yaxis.domain[0]
    assert layout.yaxis3.domain[0] == pytest.approx(0.0)
    assert layout.height > 2 * 180


def test_a_tail_does_not_press_the_rest_into_a_corner():
    records = [
        handmade.record(0, metrics=V(1.0, 0.1)),
        handmade.record(1, metrics=V(0.99, 0.97)),
        handmade.record(2, metrics=V(0.2, 1.0)),
    ]
    facets = [facet_of(records, recommended=records[1].trial)]
    _, (low, high) = ranges_of(facets)
    assert 90 < low < 97
    assert high > 100
    assert out_of_view(facets) == (1, 3)
    assert out_of_view([facet_of([])]) == (0, 0)
    assert ranges_of([facet_of([])]) == (None, None)


def test_a_recommended_trial_off_the_front_has_its_methods_mark():
    """It is on the front of four metrics, not of these two."""
    records = [handmade.record(0, metrics=V(1.0, 1.0, 0.5)), handmade.record(1, metrics=V(0.9, 0.9, 0.97))]
    figure = facets_figure([facet_of(records, recommended=records[1].trial)], "ra")
    marks = [trace for trace in figure.data if trace.marker.symbol == METHOD_MARKS["neglora"].symbol]
    assert [list(trace.x) for trace in marks] == [[100.0], [90.0]]
    assert [trace.showlegend for trace in marks] == [True, False]


def test_names_from_data_are_escaped():
    facet = named("<b>d</b>", "m & m")
    figure = facets_figure([facet], "ra")
    assert figure.layout.annotations[0].text == "<b>m &amp; m</b><br>&lt;b&gt;d&lt;/b&gt;"


def test_ranks_are_drawn_with_the_critical_difference():
    ranks = Ranks(("neglora", "partial_neggrad", "neggrad"), (1.1, 2.0, 2.9), 9, 14.9, 0.0006, 1.1)
    figure = ranks_figure(ranks)
    points = {trace.name: (trace.x[0], trace.y[0]) for trace in figure.data if trace.mode == "markers"}
    assert points == {"neglora": (1.1, 0), "partial_neggrad": (2.0, 1), "neggrad": (2.9, 2)}
    bars = [tuple(trace.x) for trace in figure.data if trace.mode == "lines"]
    assert bars == [(1.1, 2.0), (2.0, 2.9)]
    (difference,) = [trace for trace in figure.data if trace.name.startswith("critical")]
    assert difference.x[1] - difference.x[0] == pytest.approx(1.1)
    assert list(figure.layout.yaxis.ticktext) == ["neglora", "partial_neggrad", "neggrad"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]


def runs(*volumes):
    """Repetitions whose neglora reaches these values, trial by trial."""
    return [
        method_curves(
            trials_table([handmade.record(index, metrics=V(ua)) for index, ua in enumerate(own)]),
            ["ua"],
        )
        for own in volumes
    ]


def test_repetitions_have_a_band_per_method():
    bands = repeated_info(runs([0.1, 0.5], [0.3, 0.4], [0.2, 0.9]), "trials")
    (own,) = bands
    assert (own.method, own.x, own.repetitions) == ("neglora", [1.0, 2.0], 3)
    assert [*own.low, *own.middle, *own.high] == pytest.approx([0.1, 0.4, 0.2, 0.5, 0.3, 0.9])
    figure = repeated_figure(bands, x_title="trials", percent=True)
    low, high, middle, end = figure.data
    assert (low.fill, high.fill) == (None, "tonexty")
    assert list(middle.y) == pytest.approx([20.0, 50.0])
    assert (list(end.x), end.marker.symbol, end.showlegend) == ([2.0], METHOD_MARKS["neglora"].symbol, None)


def test_a_method_that_one_repetition_lacks_has_no_band():
    other = method_curves(trials_table([handmade.record(0, method="neggrad")]), ["ua"])
    assert repeated_info([*runs([0.1]), other], "trials") == []
    assert repeated_info([], "trials") == []
