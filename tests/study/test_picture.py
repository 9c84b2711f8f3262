"""Still pictures of figures: what is drawn stands where its values are, and nothing is silently left out."""

import base64
import io
import json
import re
import subprocess
import sys
import warnings

import handmade
import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from study.plots.picture import PictureError, picture_png, picture_svg, unknown
from study.plots.picture.scales import Scale
from study.plots.picture.words import colour, number_text, values, words
from study.plots.style import layout
from study.report import render
from study.sections.source import Source

RED, BLUE, GREEN = "#ff0000", "#0000ff", "#00aa00"
BARE = {"visible": False}


def spec(*traces, **own):
    return json.loads(go.Figure(traces, layout=own).update_layout(template=None).to_json())


def framed(*traces, **own):
    """A figure without ticks, from 0 to 10 both ways, so that places are known: pixels 6 to 714, and 6 to 434."""
    axes = {"xaxis": BARE | {"range": [0, 10]}, "yaxis": BARE | {"range": [0, 10]}}
    return spec(*traces, **(axes | {"showlegend": False, "height": 440, "margin": dict.fromkeys("lrtb", 6)} | own))


def where(picture, ink):
    """Rows (downwards) and columns of the pixels of a colour, in units of `framed`; at least one."""
    image = np.asarray(Image.open(io.BytesIO(picture_png(picture))).convert("RGB"), dtype=int)
    wanted = np.array([round(255 * part) for part in colour(ink)[:3]])
    rows, columns = np.nonzero(np.abs(image - wanted).max(axis=2) < 24)
    assert len(rows), f"nothing of {ink}"
    return (columns + 0.5 - 6) / 70.8, (434 - rows - 0.5) / 42.8


def middle(picture, ink):
    return tuple(float(np.mean(own)) for own in where(picture, ink))


def ends(picture, ink):
    x, y = where(picture, ink)
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def near(*expected, by=0.06):
    return pytest.approx(expected, abs=by)


REPORTS = {
    "searched": lambda: (handmade.searched(8), {}),
    "staged": lambda: (handmade.staged(8), handmade.STAGED),
    "grid": lambda: (handmade.grid(4), handmade.GRID),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_every_figure_of_a_report_has_its_picture(kind):
    records, own = REPORTS[kind]()
    page = render([Source(handmade.study(**own), records, "ab" * 32)])
    drawn = re.findall(r'data-figure="([^"]+)"', page)
    texts = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page))
    assert len(drawn) > 5
    strangers = {name: found for name in drawn if (found := unknown(json.loads(texts[name])))}
    assert strangers == {}
    pictures = re.findall(r'<noscript><img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    assert len(pictures) == len(drawn)
    sizes = [len(base64.b64decode(image)) for image, _ in pictures]
    assert 2_000 < min(sizes) <= max(sizes) < 60_000
    assert sum(sizes) / len(sizes) < 16_000
    assert all(len(text) > 20 for _, text in pictures)


def test_the_same_figure_gives_the_same_bytes_in_every_process():
    own = framed(go.Scatter(x=[1, 2], y=[3, 4], name="a"), go.Bar(x=[5], y=[6]), showlegend=True)
    program = (
        "import json, sys, hashlib; from study.plots.picture import *; own = json.load(sys.stdin);"
        "print(hashlib.sha256(picture_png(own) + picture_svg(own, 'x').encode()).hexdigest())"
    )
    run = [sys.executable, "-c", program]
    said = [subprocess.run(run, input=json.dumps(own), capture_output=True, text=True, check=True).stdout for _ in "ab"]
    assert said[0] == said[1] != ""


def test_neither_time_nor_program_is_in_them():
    own = framed(go.Scatter(x=[1], y=[1]))
    text = picture_svg(own, "what it shows")
    assert "<dc:date>" not in text
    assert "matplotlib.org/" not in text.replace("matplotlib.org/stable", "")
    assert "what it shows" in text
    image = Image.open(io.BytesIO(picture_png(own)))
    assert image.size == (720, 440)
    assert not {"Software", "date"} & set(image.info)
    assert Image.open(io.BytesIO(picture_png(own, scale=2))).size == (1440, 880)


def test_settings_of_the_user_neither_count_nor_change():
    own = framed(go.Scatter(x=[1, 5], y=[1, 5]), xaxis={})
    before = picture_png(own)
    with matplotlib.rc_context({"lines.linewidth": 20, "font.size": 30, "svg.hashsalt": None}):
        assert picture_png(own) == before
        assert matplotlib.rcParams["lines.linewidth"] == 20


def test_marks_stand_at_their_values():
    own = framed(go.Scatter(x=[2, 7], y=[3, 8], mode="markers", marker={"color": [RED, BLUE], "size": 16}))
    assert middle(own, RED) == near(2, 3)
    assert middle(own, BLUE) == near(7, 8)
    left, right, *_ = ends(own, RED)
    assert 70.8 * (right - left) == pytest.approx(16, abs=3)


@pytest.mark.parametrize("symbol", ["circle", "square", "diamond", "cross", "triangle-up", "star", "x", "pentagon"])
def test_open_marks_are_empty(symbol):
    def ink(name):
        trace = go.Scatter(x=[5], y=[5], mode="markers", marker={"color": RED, "symbol": name, "size": 30})
        return len(where(framed(trace), RED)[0])

    assert 0 < ink(f"{symbol}-open") < 0.6 * ink(symbol)


def test_lines_step_as_they_should_and_break_at_gaps():
    def line(shape, y=(2, 8)):
        trace = {"x": [2, 8], "y": y, "mode": "lines", "line": {"color": RED, "width": 4, "shape": shape}}
        return where(framed(go.Scatter(trace)), RED)

    x, y = line("hv")
    assert y[(x > 3) & (x < 7)].max() < 2.3
    x, y = line("vh")
    assert y[(x > 3) & (x < 7)].min() > 7.7
    x, y = line("linear")
    assert np.abs(x - y).max() < 0.3
    broken = go.Scatter(x=[1, 3, 5, 7, 9], y=[5, 5, None, 5, 5], mode="lines", line={"color": RED, "width": 4})
    x, _ = where(framed(broken), RED)
    assert not ((x > 3.2) & (x < 6.8)).any()


def test_dashes_leave_gaps():
    def ink(dash):
        trace = go.Scatter(x=[1, 9], y=[5, 5], mode="lines", line={"color": RED, "width": 3, "dash": dash})
        return len(where(framed(trace), RED)[0])

    assert ink("dot") < ink("dash") < ink("solid")


def test_areas_reach_to_zero_to_the_line_before_and_around():
    flat = go.Scatter(x=[2, 8], y=[6, 6], mode="lines", fill="tozeroy", fillcolor=RED, line={"width": 0})
    assert ends(framed(flat), RED) == near(2, 8, 0, 6)
    low = go.Scatter(x=[2, 8], y=[3, 3], mode="lines", line={"width": 0})
    high = go.Scatter(x=[2, 8], y=[7, 7], mode="lines", fill="tonexty", fillcolor=RED, line={"width": 0})
    assert ends(framed(low, high), RED) == near(2, 8, 3, 7)
    corners = {"x": [1, 3, 3, 1, None, 6, 9, 9, 6], "y": [1, 1, 3, 3, None, 6, 6, 9, 9]}
    around = go.Scatter(**corners, mode="lines", fill="toself", fillcolor=RED, line={"width": 0})
    x, y = where(framed(around), RED)
    assert not ((x > 3.2) & (x < 5.8)).any()
    assert (x.max(), y.max()) == near(9, 9)


def test_error_bars_reach_as_far_as_they_say():
    errors = {"type": "data", "array": [2, None], "arrayminus": [1, None], "color": RED, "thickness": 3, "width": 0}
    trace = go.Scatter(x=[3, 6], y=[5, 5], mode="markers", marker={"color": BLUE}, error_y=errors)
    left, right, low, high = ends(framed(trace), RED)
    assert (low, high) == near(4, 7, by=0.12)
    assert (left + right) / 2 == pytest.approx(3, abs=0.06)


def test_opacity_of_a_trace_lightens_it():
    trace = go.Scatter(x=[5], y=[5], mode="markers", marker={"color": RED, "size": 40}, opacity=0.5)
    assert middle(framed(trace), "#ff8080") == near(5, 5)


def test_bars_stand_beside_on_and_from_one_another():
    def both(mode, **own):
        one = go.Bar(x=[5], y=[4], marker={"color": RED})
        two = go.Bar(x=[5], y=[2], marker={"color": BLUE}, **own)
        made = framed(one, two, barmode=mode, bargap=0.2)
        return ends(made, RED), ends(made, BLUE)

    assert both("group") == (near(4.6, 5, 0, 4), near(5, 5.4, 0, 2))
    assert both("stack") == (near(4.6, 5.4, 0, 4), near(4.6, 5.4, 4, 6))
    lying = go.Bar(y=["a", "b"], x=[4, 8], orientation="h", marker={"color": [RED, BLUE]})
    own = framed(lying, yaxis=BARE)
    assert ends(own, RED)[:2] == near(0, 4)
    assert ends(own, BLUE)[:2] == near(0, 8)
    assert middle(own, RED)[1] < middle(own, BLUE)[1], "the first category is the lowest"


def test_cells_of_a_heatmap_have_their_colours():
    scale = [[0, "#ffffff"], [0.5, RED], [1, BLUE]]
    cells = go.Heatmap(z=[[0, 1], [None, 2]], x=["a", "b"], y=["c", "d"], colorscale=scale, showscale=False)
    own = framed(cells, xaxis=BARE, yaxis=BARE)
    assert middle(own, RED) == near(7.5, 2.5)
    assert middle(own, BLUE) == near(7.5, 7.5)
    explained = framed(cells.update(showscale=True), xaxis=BARE, yaxis=BARE)
    assert ends(explained, BLUE)[1] > 9, "the bar of colours is at the right"


def test_panels_stand_in_their_domains():
    axes = {"xaxis": BARE | {"domain": [0, 0.4]}, "xaxis2": BARE | {"domain": [0.6, 1]}}
    axes |= {"yaxis": BARE | {"range": [0, 10]}, "yaxis2": BARE | {"range": [0, 10], "anchor": "x2"}}
    marks = {"mode": "markers", "marker": {"size": 12}}
    one = go.Scatter(x=[1, 2, 3], y=[5, 5, 5], **marks).update(marker_color=RED)
    two = go.Scatter(x=[1, 2, 3], y=[5, 5, 5], xaxis="x2", yaxis="y2", **marks).update(marker_color=BLUE)
    own = framed(one, two, **axes)
    assert middle(own, RED) == near(2, 5)
    assert middle(own, BLUE) == near(8, 5)


def test_a_second_axis_over_the_first():
    axes = {"yaxis2": {"overlaying": "y", "side": "right", "range": [0, 100], "visible": False}}
    one = go.Scatter(x=[3], y=[5], mode="markers", marker={"color": RED, "size": 12})
    two = go.Scatter(x=[7], y=[50], yaxis="y2", mode="markers", marker={"color": BLUE, "size": 12})
    own = framed(one, two, **axes)
    assert middle(own, RED) == near(3, 5)
    assert middle(own, BLUE) == near(7, 5)


def test_logarithmic_axes():
    axes = {"xaxis": BARE | {"type": "log", "range": [-4, 0]}}
    shown = {"x": -1, "y": 8, "text": "here", "showarrow": False, "font": {"color": BLUE}, "bgcolor": BLUE}
    own = framed(
        go.Scatter(x=[1e-2], y=[5], mode="markers", marker={"color": RED, "size": 12}), annotations=[shown], **axes
    )
    assert middle(own, RED) == near(5, 5)
    assert middle(own, BLUE)[0] == pytest.approx(7.5, abs=0.1)


def test_shapes_and_texts_stand_on_axes_and_on_the_whole():
    trace = go.Scatter(x=[1], y=[1], mode="markers", marker={"color": "#888888"})
    shapes = [
        {"type": "rect", "x0": 2, "x1": 4, "y0": 0, "y1": 1, "yref": "paper", "fillcolor": RED, "line": {"width": 0}},
        {"type": "line", "x0": 0, "x1": 1, "xref": "x domain", "y0": 7, "y1": 7, "line": {"color": BLUE, "width": 4}},
    ]
    own = framed(trace, shapes=shapes)
    assert ends(own, RED)[:2] == near(2, 4)
    assert ends(own, RED)[2:] == near(0, 10)
    assert ends(own, BLUE)[:2] == near(0, 10, by=0.2)
    noted = {
        "x": 0.5,
        "y": 0.5,
        "xref": "paper",
        "yref": "paper",
        "text": "<b>m</b>",
        "showarrow": False,
        "bgcolor": GREEN,
    }
    assert middle(framed(trace, annotations=[noted]), GREEN) == near(5, 5, by=0.2)


def test_texts_of_points_are_drawn():
    trace = go.Scatter(
        x=[5], y=[5], mode="text", text=["<b>MMM</b>"], textposition="top center", textfont={"color": RED}
    )
    _, _, low, _ = ends(framed(trace), RED)
    assert 5 < low < 5.6


def test_the_legend_lists_what_is_drawn_below_the_panels():
    traces = [
        go.Scatter(x=[5], y=[5], name="one", mode="markers", marker={"color": RED, "size": 9}),
        go.Scatter(x=[5], y=[8], name="hidden", visible="legendonly", mode="markers", marker={"color": BLUE}),
        go.Scatter(x=[5], y=[7], name="unnamed", showlegend=False, mode="markers", marker={"color": GREEN, "size": 9}),
    ]
    own = framed(*traces, showlegend=True)
    assert where(own, RED)[1].min() < 0.6, "its key is below"
    assert where(own, GREEN)[1].min() > 5
    with pytest.raises(AssertionError, match="nothing of"):
        where(own, BLUE)


def test_many_entries_take_several_lines_and_none_is_lost():
    inks = [f"#{red:02x}00{blue:02x}" for red in (255, 130, 0) for blue in (255, 130, 0)][:-1]
    traces = [
        go.Scatter(x=[i], y=[5], name=f"a long name {i}", mode="markers", marker={"color": ink, "size": 9})
        for i, ink in enumerate(inks)
    ]
    own = framed(*traces, showlegend=True)
    assert len({round(float(where(own, ink)[1].min()), 1) for ink in inks}) > 1


def test_labels_that_would_not_fit_make_room():
    long = "a configuration with a very long name"
    bars = go.Bar(y=[long], x=[4], orientation="h", marker={"color": RED})
    left, right, *_ = ends(framed(bars, yaxis={}), RED)
    assert left > 2.5
    assert right < 9.99


def test_typed_arrays_are_read():
    own = framed(go.Scatter(x=np.array([2.0]), y=np.array([3], dtype="i4"), mode="markers", marker={"color": RED}))
    assert "bdata" in own["data"][0]["x"]
    assert middle(own, RED) == near(2, 3)
    block = json.loads(go.Figure(go.Heatmap(z=np.arange(6).reshape(2, 3))).to_json())["data"][0]["z"]
    assert values(block) == [[0, 1, 2], [3, 4, 5]]


def test_labels_are_plain_text():
    assert words("<b>UA</b><br>a &lt; b <i>&amp;</i> <span style='x'>c</span>") == "UA\na < b & c"
    assert words("a < b and c > d") == "a < b and c > d"
    # What looks like a formula, or is in another script, is a text all the same.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture_png(spec(go.Scatter(x=[1, 2], y=[1, 2], name="$x^2_$ 忘"), xaxis={"title": {"text": "$\\frac"}}))


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.5, None, "0.5"), (-0.5, None, "−0.5"), (12345.0, None, "12.35k"), (0.123, ".0%", "12%"),
        (1234.5, ",.1f", "1,234.5"), (3.0, "d", "3"), (0.25, ".3~f", "0.25"), (2e6, "~s", "2M"),
    ],
)  # fmt: skip
def test_numbers_of_axes(value, form, text):
    assert number_text(value, form) == text


def test_ticks_have_their_suffix_and_lie_within():
    scale = Scale("y", {"range": [92.5, 101], "ticksuffix": "%"})
    at, texts = scale.ticks(300)
    assert texts[-1] == "100%"
    assert len(at) > 3
    assert all(92.5 <= place <= 101 for place in at)
    named = Scale("x", {"tickvals": [0, 1, 7], "ticktext": ["<b>a</b>", "b", "c"], "range": [-1, 2]})
    assert named.ticks(300) == ([0.0, 1.0], ["a", "b"])


@pytest.mark.parametrize(
    ("own", "part"),
    [
        ({"data": [{"type": "scattergl", "x": [1], "y": [1]}]}, "scattergl"),
        ({"data": [{"type": "violin", "y": [1]}]}, "violin"),
        ({"data": [{"x": [1], "y": [1], "mode": "markers", "marker": {"symbol": "hourglass"}}]}, "hourglass"),
        ({"data": [{"x": [1, 2], "y": [1, 2], "mode": "lines", "line": {"shape": "spline"}}]}, "spline"),
        ({"data": [{"x": [1, 2], "y": [1, 2], "mode": "lines", "line": {"dash": "5px"}}]}, "5px"),
        ({"data": [{"x": [1, 2], "y": [1, 2], "fill": "tonext"}]}, "tonext"),
        ({"data": [{"x": [1], "y": [1]}], "layout": {"xaxis": {"type": "date"}}}, "date"),
        ({"data": [{"y": [1]}], "layout": {"shapes": [{"type": "path", "x0": 0, "x1": 1, "y0": 0, "y1": 1}]}}, "path"),
        ({"data": [{"x": [1], "y": [1], "line": {"color": "nocolour"}}]}, "nocolour"),
    ],
)  # fmt: skip
def test_what_no_picture_shows_is_an_error(own, part):
    with pytest.raises(PictureError, match=part):
        picture_png(own)


def test_unknown_attributes_are_named():
    own = spec(
        go.Scatter(x=[1], y=[1], stackgroup="a", line={"smoothing": 1.3}),
        go.Box(y=[1]),
        xaxis={"rangeslider": {"visible": True}},
        annotations=[{"text": "a", "x": 1, "y": 1, "clicktoshow": "onoff"}],
        images=[{"source": "data:,"}],
    )
    told = " ".join(unknown(own))
    for part in ("stackgroup", "line.smoothing", "type box", "rangeslider.visible", "clicktoshow", "images"):
        assert part in told
    usual = spec(
        go.Scatter(x=[1], y=[1], meta="trials", customdata=["a"], hovertext=["b"]), **layout("x", "y", percent=True)
    )
    assert unknown(usual) == []
