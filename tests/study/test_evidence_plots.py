"""Accuracy by class, confidences and answers: what figures show, that they draw it, and what the page says of it."""

import copy

import handmade
import pytest
from scipy.stats import fisher_exact

from study.drops import LEVEL, holm
from study.evidence import RECOMMENDED, RETRAIN, witnesses
from study.plots.called import MOST_ANSWERS, MOST_OF_SEVERAL, REST, called_figure, called_info, drawn
from study.plots.classes import MOST_KEPT, classes_info
from study.plots.classes_figure import PAID, classes_figure
from study.plots.confidences import NAMES, REGION, confidences_figure, confidences_info
from study.report import read_study
from study.sections.called import called_finding
from study.sections.classes import classes_finding
from study.sections.confidences import confidences_finding
from study.sections.evidence import evidence_html

V = handmade.values
CLASSES = 10


def details(right_train, right_test, called, *, total=100, tested=50, forget=(3,), low=0.0, region=((0.0, 0.4),)):
    """Details of a measurement, from right answers by class and what D_f is called."""
    sides = {"forget": sum(called), "retain": total * (len(right_train) - len(forget)), "test": tested * CLASSES}
    return {
        "class_names": [f"digit {index}" for index in range(len(right_train))],
        "classes": {
            "train": {"right": right_train, "total": [total] * len(right_train)},
            "test": {"right": right_test, "total": [tested] * len(right_test)},
        },
        "called": called,
        "confidences": {
            "forget": [sides["forget"], *[0] * 19],
            "retain": [round(low * sides["retain"]), *[0] * 18, sides["retain"] - round(low * sides["retain"])],
            "test": [0] * 19 + [sides["test"]],
        },
        "attack": {"report": {"non_member": [list(ends) for ends in region], "has_signal": True}},
    }


def calls(**counts):
    return [counts.get(f"d{index}", 0) for index in range(CLASSES)]


BASE = details([100] * 10, [49] * 10, calls(d3=100))
ORACLE = details([100] * 3 + [0] + [100] * 6, [49] * 3 + [0] + [49] * 6, calls(d8=60, d5=40))
#: Class 4 pays on both, class 2 on training images alone, class 9 a little.
AFTER = details(
    [100, 100, 88, 0, 70, 100, 100, 100, 100, 98],
    [49, 49, 48, 0, 30, 49, 49, 49, 49, 47],
    calls(d5=90, d8=10),
    low=0.03,
)


def records(*, forgets=(3,), after=(AFTER,), base=BASE, oracle=ORACLE):
    """Retrain and one trial on these forget sets, with these details."""
    retrain = handmade.retrain()
    made, own = [], []
    for seed, (forget, detail) in enumerate(zip(forgets, after, strict=True)):
        one = copy.deepcopy(retrain.replicates[0]) | {"forget": forget, "seed": seed, "details": oracle}
        for level in one["bases"]:
            level["details"] = base
        made.append(one)
        own.append(handmade.replicate(V(), V(), forget, seed, details=detail))
    retrain = handmade.record(method="retrain", params={}, replicates=made)
    return [retrain, handmade.record(0, params={"sparsity": 0.0}, replicates=own)]


def seen(**more):
    retrain, trial = records(**more)
    return witnesses(trial, retrain)


# Accuracy by class


def test_classes_that_paid_come_first_and_the_forgotten_one_stands_apart():
    info = classes_info(seen())
    assert [row.name for row in info.forgotten] == ["digit 3"]
    assert [row.name for row in info.kept[:3]] == ["digit 4", "digit 2", "digit 9"]
    assert len(info.kept) == 9
    assert info.models == ("Base", RETRAIN, RECOMMENDED)
    four = info.kept[0].shares["train"]
    assert (four["Base"].value, four[RETRAIN].value, four[RECOMMENDED].value) == (1.0, 1.0, 0.7)
    assert info.kept[0].drop("test", "Base") == pytest.approx(19 / 50)


def test_drops_are_tested_together_as_scipy_would():
    info = classes_info(seen())
    asked = {
        (row.name, part): fisher_exact(
            [
                [row.shares[part][model].right, row.shares[part][model].total - row.shares[part][model].right]
                for model in ("Base", RECOMMENDED)
            ],
            alternative="greater",
        ).pvalue
        for row in info.kept
        for part in ("train", "test")
    }
    assert info.compared == len(asked) == 18
    expected = dict(zip(asked, holm(list(asked.values())), strict=True))
    found = {(row.name, part): value for row in info.kept for part, value in row.p_values.items()}
    assert found == {key: pytest.approx(value, rel=1e-6) for key, value in expected.items()}
    assert {row.name: row.paid for row in info.paid} == {"digit 4": ("train", "test"), "digit 2": ("train",)}
    assert min(value for value in found.values() if value > LEVEL) > 0.5


def test_the_finding_names_who_paid_and_how_much():
    assert classes_finding(classes_info(seen())) == (
        "2 of 9 classes that stay paid, by more than chance explains: digit 4, digit 2. The largest drop is that of "
        "digit 4 on test images, from 98.00% to 60.00% of 50 images."
    )
    little = details([100] * 3 + [0] + [100] * 5 + [97], [49] * 3 + [0] + [49] * 6, calls(d5=100))
    assert classes_finding(classes_info(seen(after=(little,)))) == (
        "None of the 9 classes that stay lost more than chance explains; the largest drop is that of digit 9 on "
        "training images, from 100.00% to 97.00% of 100 images."
    )
    assert classes_finding(classes_info(seen(after=(ORACLE,)))) == "None of the 9 classes that stay lost accuracy."


def test_replicates_are_summed_but_their_images_counted_once():
    """A drop of 6 in 100 is not more sure because the same images were asked thrice."""
    once = details([100] * 3 + [0] + [94] + [100] * 5, [49] * 3 + [0] + [49] * 6, calls(d5=100))
    one, three = classes_info(seen(after=(once,))), classes_info(seen(forgets=(3,) * 3, after=(once,) * 3))
    assert three.replicates == 3
    assert three.kept[0].shares["train"][RECOMMENDED].total == 300
    assert three.kept[0].p_values == one.kept[0].p_values
    assert not three.paid


def test_a_class_that_some_replicates_forgot_has_two_rows():
    other = details([0] + [100] * 9, [0] + [49] * 9, calls(d6=100), forget=(0,))
    info = classes_info(seen(forgets=(3, 0), after=(AFTER, other)))
    assert [row.name for row in info.forgotten] == ["digit 0", "digit 3"]
    assert {"digit 0", "digit 3"} <= {row.name for row in info.kept}
    zero = next(row for row in info.kept if row.name == "digit 0")
    assert zero.shares["train"][RECOMMENDED].value == 1.0, "of the replicate that kept it"


def test_of_a_random_share_only_test_images_are_judged():
    info = classes_info(seen(forgets=({"random": 0.1, "seed": 0},)))
    assert info.of_share
    layout = classes_figure(info).layout.to_plotly_json()
    assert {name for name in layout if "axis" in name} == {"xaxis", "yaxis", "xaxis2", "yaxis2"}
    assert [axes["ticktext"][0] for axes in (layout["yaxis"], layout["yaxis2"])] == ["digit 3 *"] * 2
    assert info.forgotten == ()
    assert {part for row in info.kept for part in row.p_values} == {"test"}
    assert info.compared == 10


def test_without_a_base_or_a_known_class_there_is_no_before():
    retrain, trial = records()
    assert classes_info(witnesses(trial, None)) is None
    assert classes_info(seen(forgets=("a class of no name",))) is None
    assert classes_info(witnesses(trial, retrain)) is not None


def test_of_many_classes_those_that_paid_most_are_drawn():
    many = [100] * 60
    before = details(many, many, [100] + [0] * 59, tested=100)
    after = details([0, *range(41, 100)], [0] + [100] * 59, [0] * 59 + [100], tested=100)
    retrain, trial = records(forgets=(0,), after=(after,), base=before, oracle=before)
    info = classes_info(witnesses(trial, retrain))
    assert len(info.kept) == 59
    assert [row.name for row in info.drawn] == ["digit 0", *(f"digit {index}" for index in range(1, 1 + MOST_KEPT))]
    figure = classes_figure(info)
    assert len(figure.layout.yaxis3.ticktext) == MOST_KEPT
    assert figure.layout.yaxis.ticktext == ("digit 0<br>(forgotten)",)


def test_the_figure_draws_the_way_of_each_class_and_marks_who_paid():
    figure = classes_figure(classes_info(seen()))
    assert list(figure.layout.yaxis3.ticktext[:3]) == ["digit 4 *", "digit 2 *", "digit 9"]
    ways = [trace for trace in figure.data if trace.mode == "lines" and trace.xaxis == "x3"]
    thick = [trace for trace in ways if trace.line.width > 3]
    assert [list(trace.x) for trace in thick] == [[100.0, 70.0, None, 100.0, 88.0, None]]
    marks = [trace for trace in figure.data if trace.mode == "markers" and trace.xaxis == "x3"]
    assert [trace.name for trace in marks] == ["Base", RETRAIN, RECOMMENDED]
    assert len({trace.marker.symbol for trace in marks}) == 3
    legend = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert legend == ["Base", RETRAIN, RECOMMENDED, PAID]
    assert figure.layout.xaxis.range == (-6, 108), "forgotten classes on a scale of their own"
    assert figure.layout.xaxis3.range[0] > 50


# Confidences


def test_histograms_are_shares_of_all_replicates():
    info = confidences_info(seen(forgets=(3, 3), after=(AFTER, AFTER | {"attack": {}})))
    assert [panel.name for panel in info.panels] == ["Base", RETRAIN, RECOMMENDED]
    own = info.recommended
    assert own.shares["forget"] == (1.0,) + (0.0,) * 19
    assert (own.share("retain", 0, 0.5), own.share("retain", 0.95, 1)) == pytest.approx((0.03, 0.97))
    assert own.region is None, "one of its attacks is not recorded"
    assert info.panels[1].region == ((0.0, 0.4),)
    for panel in info.panels:
        assert all(sum(shares) == pytest.approx(1) for shares in panel.shares.values())


def test_what_all_attacks_agree_on_is_shaded_with_its_borders():
    other = AFTER | {"attack": {"report": {"non_member": [[0.1, 0.3], [0.9, 1.0]], "has_signal": False}}}
    info = confidences_info(seen(forgets=(3, 3), after=(AFTER, other)))
    assert info.recommended.region == ((0.1, 0.3),)
    assert info.recommended.borders == (0.1, 0.3)
    assert info.recommended.has_signal == (1, 2)
    figure = confidences_figure(info)
    shaded = [list(trace.x) for trace in figure.data if trace.fill == "toself" and trace.xaxis == "x3"]
    assert shaded == [[10.0, 30.0, 30.0, 10.0, 10.0]]
    texts = [note.text for note in figure.layout.annotations]
    assert {
        "<b>Base</b>",
        "<b>Retrain</b>",
        "<b>Recommended</b>: the attack has signal in 1 of 2",
        "40%",
        "30%",
    } <= set(texts)


def test_each_panel_has_three_lines_that_differ_in_more_than_colour():
    figure = confidences_figure(confidences_info(seen()))
    for axis in ("x", "x2", "x3"):
        steps = [trace for trace in figure.data if trace.line.shape == "hv" and trace.xaxis == axis]
        assert [trace.name for trace in steps] == list(NAMES.values())
        assert len({trace.line.dash for trace in steps}) == 3
        assert [len(trace.x) for trace in steps] == [21] * 3
    legend = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert sorted(legend) == sorted([*NAMES.values(), REGION])


def test_the_region_is_in_the_legend_where_only_later_panels_have_one():
    unknown = BASE | {"attack": {}}
    figure = confidences_figure(confidences_info(seen(base=unknown)))
    assert [trace.name for trace in figure.data if trace.showlegend is not False].count(REGION) == 1


def test_the_finding_of_confidences():
    text = confidences_finding(confidences_info(seen()))
    assert "what 100.0% of the forgotten images are (Base: 100.0%; Retrain: 100.0%), and 3.0% of the retained" in text
    assert text.endswith("the attack takes a confidence of 0 to 40% for 'not in training'.")


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ({"non_member": [[0.0, 0.4]], "has_signal": False}, "its attack has no signal"),
        ({"non_member": [], "has_signal": True}, "takes no confidence for 'not in training'"),
        ({"has_signal": True}, "is not recorded"),
    ],
)
def test_an_attack_that_says_nothing_is_said_to(side, words):
    info = confidences_info(seen(after=(AFTER | {"attack": {"report": side}},)))
    assert words in confidences_finding(info)
    assert confidences_figure(info).data


# Answers


def test_answers_are_shares_of_the_forgotten_images():
    (one,) = called_info(seen()).sets
    assert (one.title, one.images) == ("digit 3", 100)
    assert one.right == {"Base": 1.0, RETRAIN: 0.0, RECOMMENDED: 0.0}
    assert [(answer.name, answer.own, answer.shares[RECOMMENDED]) for answer in one.answers] == [
        ("digit 5", False, 0.9),
        ("digit 8", False, 0.1),
        ("digit 3", True, 0.0),
    ]
    assert called_finding(called_info(seen())) == (
        "None of the images of digit 3 are still called what they are, 90.0% are called digit 5; Retrain most "
        "often calls them digit 8 (60.0%)."
    )


def test_classes_that_are_numbers_say_so():
    named = copy.deepcopy(ORACLE) | {"class_names": [str(index) for index in range(CLASSES)]}
    found = seen(forgets=("3",), oracle=named)
    assert found.forgotten(found.recommended[0]) == (3,)
    assert called_finding(called_info(found)).startswith("None of the images of class 3 are still")
    assert classes_info(found).kept[0].name == "class 4"


def test_what_all_are_called_still_is_not_said_twice():
    text = called_finding(called_info(seen(after=(BASE,))))
    assert text == (
        "All of the images of digit 3 are still called what they are; Retrain most often calls them digit 8 (60.0%)."
    )
    assert called_finding(called_info(seen(after=(ORACLE,)))).endswith(
        "60.0% are called digit 8, as Retrain calls 60.0%."
    )


def test_seeds_are_summed_and_forget_sets_are_not():
    second = details([0] + [100] * 9, [0] + [49] * 9, calls(d6=100), forget=(0,))
    info = called_info(seen(forgets=(3, 0, 3), after=(AFTER, second, ORACLE)))
    assert [one.title for one in info.sets] == ["digit 3", "digit 0"]
    shares = {answer.name: answer.shares[RECOMMENDED] for answer in info.sets[0].answers}
    assert shares["digit 5"] == pytest.approx(130 / 200)
    assert info.sets[1].answers[0].shares[RECOMMENDED] == 1.0
    figure = called_figure(info)
    assert figure.layout.yaxis.ticktext[0] == "digit 3 → digit 5"
    assert "digit 0 → digit 6" in figure.layout.yaxis.ticktext


def test_several_classes_forgotten_together_are_one_set():
    both = details([0, 100, 100, 40] + [100] * 6, [0, 49, 49, 20] + [49] * 6, calls(d3=90, d6=110), forget=(0, 3))
    info = called_info(seen(forgets=([0, 3],), after=(both,), base=both, oracle=both))
    (one,) = info.sets
    assert one.title == "digit 0 and digit 3"
    assert one.right[RECOMMENDED] == pytest.approx(40 / 200), "and not the 90 that are called a forgotten class"
    assert [answer.own for answer in one.answers] == [False, True]


def test_random_shares_and_unknown_classes_are_left_out():
    info = called_info(seen(forgets=({"random": 0.1, "seed": 2},)))
    assert (info.sets, info.shares) == ((), ("a random 10% (seed 2)",))
    assert called_info(seen(forgets=("nobody",))).sets == ()


def test_of_many_answers_the_rest_is_one_bar_but_never_the_class_itself():
    spread = list(range(60, 0, -1))
    spread[40], spread[3] = 1000, 2
    after = details([100] * 60, [49] * 60, spread, total=sum(spread))
    oracle = details([100] * 60, [49] * 60, [0] * 59 + [100])
    info = called_info(seen(after=(after,), base=after, oracle=oracle))
    ((one, answers),) = drawn(info)
    assert answers[0].name == "digit 40"
    names = [answer.name for answer in answers]
    assert {"digit 3", "digit 59"} <= set(names), "itself, and Retrain's favourite"
    assert names[-1] == f"{len(one.answers) - len(answers) + 1} {REST}"
    assert MOST_ANSWERS <= len(answers) <= MOST_ANSWERS + 2
    for model in info.models:
        assert sum(answer.shares[model] for answer in answers) == pytest.approx(1)
    twice = called_info(seen(forgets=(3, 4), after=(after, after), base=after, oracle=oracle))
    assert all(len(answers) <= MOST_OF_SEVERAL + 2 for _, answers in drawn(twice))


def test_bars_are_told_apart_by_more_than_colour():
    figure = called_figure(called_info(seen()))
    assert [trace.name for trace in figure.data] == ["Base", RETRAIN, RECOMMENDED]
    assert len({trace.marker.pattern.shape for trace in figure.data}) == 3
    assert list(figure.data[2].x) == [90.0, 10.0, 0.0]


# The page


def section(tmp_path, lines, **changes):
    study = read_study(handmade.write_study(tmp_path / "study", lines, **changes))
    (group,) = study.groups
    return evidence_html(group, study)


def test_the_page_has_three_figures_with_their_tables(tmp_path):
    text = section(tmp_path, handmade.searched(8, (0, 1)))
    for kind in ("classes", "called", "confidences"):
        assert f'id="{kind}-handmade-digits-tinyvit_nano"' in text
    for caption in ("Accuracy by class", "What forgotten images are called", "Share of images by confidence"):
        assert f'aria-label="{caption}' in text
    assert "Membership attack on the report half" in text


@pytest.mark.parametrize("name", ["classes", "called", "confidences"])
def test_older_records_have_a_sentence_in_their_place(tmp_path, name):
    lines = handmade.searched(4)
    for line in lines:
        for replicate in line.replicates:
            replicate["details"].pop(name)
            for base in replicate.get("bases") or []:
                base.pop("details")
    text = section(tmp_path, lines)
    assert "are not recorded" in text
    assert "<figure" not in text
    assert "Membership attack on the report half" in text


def test_without_retrain_only_what_needs_no_base_is_shown(tmp_path):
    text = section(tmp_path, handmade.searched(4)[1:])
    assert 'id="classes-' not in text
    assert "there is no record of the base" in text
    assert 'id="confidences-' in text
    assert 'id="called-' in text


def test_texts_from_data_are_escaped_and_the_page_is_the_same_twice(tmp_path):
    evil = "<script>alert(1)</script>"
    lines = handmade.searched(4)
    for replicate in lines[0].replicates:
        replicate["details"]["class_names"] = [f"{evil} {index}" for index in range(10)]
    text = section(tmp_path, lines)
    assert "alert(1)" in text
    assert "<script>alert(1)" not in text
    assert section(tmp_path, lines) == text
