"""What the figures of settings show, and that they draw it."""

import json
from itertools import pairwise

import handmade
import numpy as np
import pandas as pd
import pytest
from answering import measured, rows_of, uniform

from study.aggregate import trials_table
from study.effects import effect
from study.importance import Importance, Share, importance
from study.plots.axis import BINS, NOT_USED, bin_of, bins, short, ticked, ticks, wrapped
from study.plots.effects import MOST, effects_figure, effects_info
from study.plots.importance import importance_figure, importance_info
from study.plots.maps import map_figure, map_info
from study.plots.parallel import LINES, OUTCOMES, parallel_figure, parallel_info
from study.plots.parallel import NOT_USED as PASSED
from study.plots.picture import unknown
from study.plots.style import METHOD_MARKS
from study.recommend import candidates
from study.response import fit
from study.varied import Varied, varied

MARK = METHOD_MARKS["neglora"]
LR = Varied("lr", "log", (), 1e-4, 1e-2)
RANK = Varied("rank", "levels", (2, 4, 16), 0.0, 2.0)
NASTY = "<img src=x onerror=alert(1)>"
V = handmade.values


def test_ticks_are_round_and_where_their_values_are():
    assert ticks(LR) == [(0.0, "1e-4"), (pytest.approx(0.5), "0.001"), (1.0, "0.01")]
    assert ticks(RANK) == [(0.0, "2"), (0.5, "4"), (1.0, "16")]
    assert [text for _, text in ticks(Varied("x", "linear", (), 0.0, 0.5))] == ["0", "0.2", "0.4"]
    assert [text for _, text in ticks(Varied("lr", "log", (), 2e-4, 5e-3))] == ["3e-4", "0.001", "0.003"]
    assert len(ticks(Varied("lr", "log", (), 1e-9, 1.0))) <= 5
    assert len(ticks(Varied("rank", "levels", tuple(range(40)), 0.0, 39.0))) == 5
    assert len(ticks(Varied("x", "linear", (), 0.0071, 0.0079))) >= 2


def test_not_having_a_setting_is_marked():
    axis = ticked(Varied("rank", "levels", (2, 4), 0.0, 1.0, absent=0.5))
    assert axis["tickvals"][0] == NOT_USED
    assert axis["ticktext"][0] == "not<br>used"
    assert axis["range"][0] < NOT_USED


def test_values_are_written_short_and_texts_escaped():
    assert [short(value) for value in (3e-4, 1.2e-5, 0.0123456, 16, "ffn")] == [
        "3e-4",
        "1.2e-5",
        "0.0123",
        "16",
        "ffn",
    ]
    assert wrapped("last.attn_out+head") == "last.attn_<br>out+head"
    assert "<img" not in wrapped(NASTY)


def test_bins_hold_what_is_written_at_them():
    assert bins(RANK) == ["2", "4", "16"]
    assert [bin_of(RANK, value) for value in (2, 4, 16, None)] == [0, 1, 2, None]
    assert len(bins(LR)) == BINS
    assert bins(LR)[0] == "1e-4–<br>2.5e-4"
    # Both ends belong to the outermost bins.
    assert [bin_of(LR, value) for value in (1e-4, 1e-3, 1e-2, 1.0)] == [0, 2, BINS - 1, BINS - 1]


def share(name, total, low=None, high=None):
    return Share(name, total / 2, total, total if low is None else low, total if high is None else high)


def test_importance_shows_what_is_claimed_alone():
    claimed = {
        "neggrad": Importance("gap", 12, None, (), "12 trials"),
        "neglora": Importance("gap", 99, 0.9, (share("lr", 0.7, 0.6, 0.8), share("rank", 0.2, 0.1, 0.3))),
        "partial_neggrad": Importance("gap", 99, 0.9, (share("lr", 0.5, 0.3, 0.7), share("epochs", 0.4, 0.2, 0.6))),
    }
    info = importance_info(claimed)
    assert list(info.methods) == ["neglora", "partial_neggrad"]
    assert info.finding == (
        "For neglora, lr matters most: 70% of the differences (60% to 80%), then rank with 20%; for partial_neggrad, "
        "lr matters most: 50% of the differences (30% to 70%), not clearly more than epochs with 40%."
    )
    figure = importance_figure(info)
    whole, alone, interval = figure.data[:3]
    assert (list(whole.x), list(alone.x)) == ([70, 20], [35, 10])
    assert list(interval.error_x.array) == pytest.approx([10, 10])
    assert list(figure.layout.yaxis.ticktext) == ["lr", "rank", "lr", "epochs"]
    assert [note.text for note in figure.layout.annotations] == ["<b>neglora</b>", "<b>partial_neggrad</b>"]
    # No two rows or headings lie on one another.
    rows = [*figure.layout.yaxis.tickvals, *(note.y for note in figure.layout.annotations)]
    assert len(set(rows)) == len(rows) == 6
    assert importance_info({"neggrad": claimed["neggrad"]}).finding == ""


def effects_of(settings, values, **more):
    rows = rows_of(settings)
    metric = measured(rows, gap=values)
    response = fit(rows, {}, ("gap",), metric)
    if isinstance(response, str):
        response, claimed = None, Importance("gap", len(rows), None, (), response)
    else:
        claimed = importance(response, "gap")
    found = [effect(one, rows, metric["gap"], response if claimed.shares else None) for one in varied(rows, {})]
    return effects_info("neglora", "gap", "gap to Retrain", found, claimed)


def test_the_settings_that_matter_most_are_shown_with_their_trials():
    settings = uniform(120, "abcdef")
    info = effects_of(settings, 0.1 * settings["d"] + 0.3 * settings["b"])
    assert [one.parameter.name for one in info.effects[:2]] == ["b", "d"]
    assert len(info.effects) == MOST
    assert len(info.left_out) == 6 - MOST
    assert info.finding.startswith("neglora: gap to Retrain is lowest at b 0.0")
    figure = effects_figure(info, MARK)
    points = [trace for trace in figure.data if trace.meta == "trials"]
    assert len(points) == MOST
    for trace, one in zip(points, info.effects, strict=True):
        assert list(trace.customdata) == [f"t{index:04d}" for index in range(120)]
        assert list(trace.x) == pytest.approx(
            [one.parameter.place(value) for value in settings[one.parameter.name]], abs=1e-4
        )
    assert sum(trace.fill == "toself" for trace in figure.data) == MOST
    assert figure.layout.yaxis.range[0] == 0
    domains = [figure.layout[f"yaxis{number}"].domain for number in ("", 2, 3, 4)]
    assert all(low > high for (low, _), (_, high) in pairwise(domains))


def test_too_few_trials_are_shown_without_a_course():
    info = effects_of({"lr": [1e-3, 2e-3, 4e-3], "targets": ["ffn", "attn", "ffn"]}, [0.3, 0.1, 0.2])
    assert info.finding == "neglora: the lowest gap to Retrain of 3 trials is 10.0%, at lr 0.002."
    assert {trace.meta for trace in effects_figure(info, MARK).data} == {"trials"}
    assert effects_info("neglora", "gap", "gap", [], Importance("gap", 0, None, (), "none")) is None


def test_trials_on_one_level_stand_beside_one_another():
    info = effects_of({"rank": [2] * 5 + [4] * 5}, np.linspace(0.1, 0.2, 10))
    (trace,) = effects_figure(info, MARK).data
    assert len(set(trace.x)) == 10
    assert max(trace.x[:5]) < 0.5 < min(trace.x[5:])


def test_a_map_has_the_mean_the_best_and_the_number_of_each_combination():
    rows = rows_of({"rank": [2, 2, 2, 16, 16, 16, 4], "alpha": [8, 8, 8, 32, 32, 32, 8]})
    gaps = pd.Series([0.1, 0.2, 0.3, 0.01, 0.02, 0.03, np.nan], index=rows.index)
    info = map_info("alpha", "rank", {"neglora": (rows, varied(rows, {})), "neggrad": (rows, [])}, gaps)
    (panel,) = info.panels
    found = [(tile.column, tile.row, tile.trials, tile.mean, tile.best, tile.best_trial) for tile in panel.tiles]
    assert found == [
        (0, 0, 3, pytest.approx(0.2), 0.1, "t0000"),
        (1, 2, 3, pytest.approx(0.02), 0.01, "t0003"),
    ]
    assert info.finding == (
        "neglora comes nearest to Retrain at alpha 32 and rank 16: a gap of 2.0% on average of 3 trials; farthest at "
        "alpha 8 and rank 2: 20.0%."
    )
    figure = map_figure(info)
    (tiles,) = figure.data
    assert [list(line) for line in tiles.z] == [[20.0, None], [None, None], [None, 2.0]]
    written = [note.text for note in figure.layout.annotations]
    assert written == ["<b>neglora</b>", "<b>20.0%</b><br>3", "<b>2.0%</b><br>3"]
    # Dark tiles have light texts.
    assert [note.font.color for note in figure.layout.annotations[1:]] == ["#000000", "#ffffff"]


def test_tiles_of_few_trials_are_shown_and_not_compared():
    rows = rows_of({"rank": [2, 4], "alpha": [8, 16]})
    info = map_info("alpha", "rank", {"neglora": (rows, varied(rows, {}))}, pd.Series([0.1, 0.2], index=rows.index))
    assert info.finding == "neglora has too few trials in each tile to compare them."


def test_no_map_where_one_setting_was_fixed():
    rows = rows_of({"rank": [2, 4], "alpha": [8, 8]})
    gaps = pd.Series([0.1, 0.2], index=rows.index)
    assert map_info("alpha", "rank", {"neglora": (rows, varied(rows, {}))}, gaps) is None


def parallel_of(records, **more):
    rows = candidates(trials_table(records))
    return parallel_info(rows, {}, {one.trial: one for one in records if one.fidelity == "full"}, **more)


def test_lines_pass_their_values_and_what_came_of_them():
    records = [
        handmade.retrain(),
        handmade.record(0, params={"lr": 1e-3, "rank": 2}, metrics=V(0.5, 1.0, 0.9, 0.5)),
        handmade.record(1, params={"lr": 1e-3, "rank": 8}, metrics=V(1.0, 0.9, 0.8, 1.0)),
        handmade.record(0, method="neggrad", params={"lr": 1e-3, "x": 1}, metrics=V(0.75, 0.95, 0.85, 0.75)),
        handmade.record(1, method="neggrad", params={"lr": 1e-3, "x": 2}, metrics=V(0.75, 0.95, 0.85, None)),
    ]
    first = records[1].trial
    info = parallel_of(records, retrain=records[0], fronts={first}, recommended={records[2].trial})
    assert [axis.name for axis in info.axes] == ["rank", "x", *OUTCOMES]
    assert info.settings == 2
    assert [axis.missed for axis in info.axes[:2]] == [True, True]
    by_trial = {line.trial: line for line in info.lines}
    line = by_trial[first]
    assert (line.on_front, line.recommended) == (True, False)
    assert line.places[:4] == (0.0, None, 0.0, 1.0)
    assert by_trial[records[4].trial].places[-2] is None
    # Retrain's TA of 97% is beyond all trials: the axis reaches it.
    assert info.axes[4].retrain == 1.0
    figure = parallel_figure(info)
    thick = [trace for trace in figure.data if trace.meta == "trials" and trace.line.width == 4]
    assert [set(trace.customdata) for trace in thick] == [{records[2].trial, None}]
    # A gap after each line: no line goes on as another.
    for trace in (trace for trace in figure.data if trace.meta == "trials"):
        places = list(zip(trace.x, trace.y, trace.customdata, strict=True))
        assert len(places) % (len(info.axes) + 1) == 0
        assert [place for place in places if place[2] is None] == [(None, None, None)] * (
            len(places) // (len(info.axes) + 1)
        )
    passed = next(trace for trace in figure.data if trace.customdata is not None and first in trace.customdata)
    assert PASSED in passed.x


def test_of_many_trials_fronts_and_some_others_are_drawn():
    records = handmade.searched(80)
    fronts = {one.trial for one in records[1:60] if one.status == "ok"}
    info = parallel_of(records, fronts=fronts)
    assert len(info.lines) == LINES < info.trials
    assert fronts <= {line.trial for line in info.lines}


def test_what_fronts_have_in_common_is_said():
    records = [
        handmade.record(index, params={"lr": 1e-4 * (index + 1), "rank": 2 if index % 2 else 8}) for index in range(20)
    ]
    info = parallel_of(records, fronts={one.trial for one in records[:4]})
    assert info.finding == "4 of 20 trials are on a front; they keep to half or less of what was tried in lr."


def test_one_trial_or_nothing_varied_is_nothing_to_draw():
    assert parallel_of([handmade.record(0)]) is None
    assert parallel_of([handmade.record(0), handmade.record(1)]) is None


def figures():
    settings = uniform(60, "ab") | {"targets": [NASTY, "ffn", None] * 20}
    info = effects_of(settings, settings["a"] + 0.2 * settings["b"])
    rows = rows_of({"rank": [2, 4] * 3, "alpha": [8, 8, 16] * 2}, method=NASTY)
    tiles = map_info("alpha", "rank", {NASTY: (rows, varied(rows, {}))}, pd.Series([0.1] * 6, index=rows.index))
    records = [*handmade.searched(8), handmade.record(99, method=NASTY, params={"targets": NASTY, NASTY: 2})]
    records += [handmade.record(98, method=NASTY, params={"targets": NASTY, NASTY: 3})]
    return {
        "importance": importance_figure(importance_info({NASTY: info.importance})),
        "effects": effects_figure(info, MARK),
        "map": map_figure(tiles),
        "parallel": parallel_figure(parallel_of(records, retrain=records[0])),
    }


def test_figures_are_strict_json_escaped_and_have_pictures():
    def refuse(name):
        raise AssertionError(name)

    made = figures()
    assert len(made) == 4
    for figure in made.values():
        text = figure.to_json()
        drawn = json.loads(text, parse_constant=refuse)
        assert drawn["data"]
        assert unknown(drawn) == []
        assert "\\u003cimg" not in text
        assert "<img" not in text
        assert all(trace["type"] in ("scatter", "bar", "heatmap") for trace in drawn["data"])
