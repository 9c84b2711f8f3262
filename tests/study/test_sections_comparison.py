"""What the page says when methods are compared, on handmade records."""

import dataclasses
import html
import random
import re

import handmade
import pytest

from study.aggregate import trials_table
from study.budget import method_curves
from study.plots.facets import Facet, Spot
from study.ranks import compare_ranks
from study.sections.across import across_html, facets_finding, gaps, gaps_finding, ranks_finding, too_few
from study.sections.comparison import comparison_html
from study.sections.dominance import dominance_html
from study.sections.equal import equal_html
from study.sections.progress import progress_finding, progress_html
from study.sections.repeated import repeated_html
from study.sections.source import Source

V = handmade.values
#: Of a page without anything to compare: nothing is drawn.
NOTHING: tuple = ()


def source_of(records, place=0, **changes):
    return Source(handmade.study(**changes), records, None, place)


def text_of(made):
    without = re.sub(r"<script.*?</script>", "", made or "", flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", without)).split())


def figures_of(made):
    return re.findall(r'id="([^"]+)" class="figure"', made or "")


def on(records, device):
    """The same, on another device."""
    return [dataclasses.replace(record, cost=record.cost | {"device": device}) for record in records]


def test_progress_is_drawn_by_trials_and_by_seconds_of_the_device():
    source = source_of(handmade.searched(8))
    made = progress_html(source.groups[0], source)
    slug = source.groups[0].slug
    assert figures_of(made) == [f"progress-{slug}", f"progress-seconds-{slug}"]
    assert "CPU-seconds of workers on cpu, 1 thread" in text_of(made)
    assert "GPU" not in text_of(made)


def test_a_gpus_seconds_are_called_so():
    source = source_of(on(handmade.searched(8), "NVIDIA H100 80GB"), resources={"cpus": 1, "gpus": 0.5})
    text = text_of(progress_html(source.groups[0], source))
    assert "GPU-seconds of workers on NVIDIA H100 80GB" in text
    assert "a second here is a worker's, not a whole GPU's" in text
    assert "CPU" not in text


def test_seconds_of_different_devices_are_not_compared():
    records = handmade.searched(8)
    source = source_of([*on(records[:9], "NVIDIA A100"), *records[9:]])
    made = progress_html(source.groups[0], source)
    assert figures_of(made) == [f"progress-{source.groups[0].slug}"]
    assert "Trials ran on NVIDIA A100 and cpu, 1 thread: seconds of different devices are not compared" in text_of(made)
    assert "Within as many" not in text_of(equal_html(source.groups[0], source))


def test_the_finding_ranks_what_the_cells_cover_at_equal_spending():
    records = [handmade.record(0, metrics=V(0.8)), handmade.record(1, metrics=V(0.9))]
    records += [handmade.record(0, method="neggrad", metrics=V(0.85))]
    curves = method_curves(trials_table(records), ["ua"])
    told = progress_finding(curves, "trials", percent=True)
    assert told == "After 1 trial each, neggrad covers 85.00% and neglora covers 80.00%."
    told = progress_finding(curves[:1], "trials", percent=True)
    assert told == "After 2 trials, neglora covers 90.00%."
    told = progress_finding(curves, "seconds", unit="CPU-seconds", percent=True)
    assert told.startswith("Within 2.0 CPU-seconds each, neggrad covers")


def test_equal_spending_names_the_nearest_and_marks_it():
    records = [handmade.retrain()]
    for number in range(9):
        records.append(handmade.record(number, metrics=V(gap=0.3 - 0.01 * number)))
        records.append(handmade.record(number, method="neggrad", metrics=V(gap=0.25)))
    source = source_of(records)
    made = equal_html(source.groups[0], source)
    assert (
        "With 9 trials each, neglora comes nearest to Retrain, 22.00 points away on average, before neggrad with 25.00"
    ) in text_of(made)
    # After 8 trials and 9; within a quarter of the seconds, a half and all of them.
    bold = re.findall(r"<strong[^>]*>(\d+\.\d\d%)</strong>", made)
    assert bold == ["23.00%", "22.00%", "22.00%", "25.00%", "25.00%"]


def test_what_one_image_is_worth_is_said():
    source = source_of(handmade.searched(8, (0, 1)))
    text = text_of(equal_html(source.groups[0], source))
    # 128 images on each of two replicates, one metric of four.
    assert "One image to forget more or less, of 256, moves the distance by 0.10 points." in text


def test_equals_share_the_praise():
    records = [handmade.record(0, metrics=V(gap=0.2)), handmade.record(0, method="neggrad", metrics=V(gap=0.2))]
    source = source_of(records)
    made = equal_html(source.groups[0], source)
    assert "With 1 trial each, neglora and neggrad are equally near to Retrain" in text_of(made)
    assert not re.findall(r"<strong[^>]*>\d", made)


def test_without_retrain_no_distance_is_claimed():
    source = source_of([handmade.record(0, metrics=V(gap=None), report=V(gap=None))])
    text = text_of(equal_html(source.groups[0], source))
    assert "No distance to Retrain is known" in text
    assert "—" in text


def test_nothing_was_tried():
    source = source_of([handmade.retrain()])
    assert equal_html(source.groups[0], source) is None
    assert dominance_html(source.groups[0], source) is None


def test_one_replicate_claims_no_probability():
    source = source_of(handmade.searched(8))
    text = text_of(dominance_html(source.groups[0], source))
    assert "of one replicate no probability can be claimed" in text
    assert "Probability that the first covers more" not in text
    assert re.search(r"neglora against neggrad .* \d+ of \d+ \d+ of \d+", text)


def test_several_replicates_do():
    source = source_of(handmade.searched(8, (0, 1, 2)))
    text = text_of(dominance_html(source.groups[0], source))
    assert "Probability that the first covers more" in text
    assert re.search(r"covers more with a probability of (over |under )?\d+% when replicates are drawn again", text)
    assert "of 3" in text


def test_one_method_has_no_opponent():
    source = source_of([handmade.record(0)])
    assert dominance_html(source.groups[0], source) is None


def test_the_comparison_keeps_the_papers_table_and_says_how_to_get_bands():
    source = source_of(handmade.searched(8))
    text = text_of(comparison_html(source.groups[0], source))
    places = [
        text.index(part)
        for part in (
            "Distance to Retrain after equal",
            "Front against front",
            "search.seed",
            "Recommended in every cell",
        )
    ]
    assert places == sorted(places)
    assert "Methods in the paper's shape" in text


def test_what_only_diverged_is_not_compared():
    source = source_of([handmade.record(0, status="diverged", reason="nan")])
    made = comparison_html(source.groups[0], source)
    assert figures_of(made) == []
    assert "Recommended in every cell" in text_of(made)


@pytest.fixture(scope="module")
def grid():
    return source_of(handmade.grid(6, (0, 1)), **handmade.GRID)


def test_across_is_for_several_groups_only(grid):
    assert across_html(source_of(handmade.searched(4))) is None
    made = across_html(grid)
    assert figures_of(made) == ["facets-ua-ra-grid", "facets-ua-ta-grid"]
    text = text_of(made)
    assert "would need 5 combinations of dataset and model and 3 methods" in text
    assert "here there are 4 and 3" in text
    assert made.count('href="#') == 4


def test_across_has_the_distance_that_the_group_shows(grid):
    found = gaps(grid)
    assert [list(block) for block in found] == [["neggrad", "partial_neggrad", "neglora"]] * 4
    for block, group in zip(found, grid.groups, strict=True):
        record = grid.by_trial[group.recommendation.trial]
        assert block[record.cell["method"]] == pytest.approx(record.report["gap"])


def test_two_studies_of_one_name_have_figures_of_their_own(grid):
    other = dataclasses.replace(grid, place=1)
    assert figures_of(across_html(other)) == ["facets-ua-ra-grid-1", "facets-ua-ta-grid-1"]


def test_the_winners_are_counted():
    blocks = [{"a": 0.1, "b": 0.2}, {"a": 0.3, "b": 0.2}, {"a": 0.1, "b": None}, {"a": None, "b": None}]
    assert gaps_finding(blocks) == "Nearest to Retrain over 3 combinations of dataset and model: a on 2, b on 1."
    assert "ties counting for each" in gaps_finding([{"a": 0.1, "b": 0.1}])
    assert "No distance" in gaps_finding([{"a": None}])


def test_what_is_paid_is_said():
    facets = [
        Facet("d", "m", {}, Spot(1.0, 0.9), None, Spot(1.0, 0.85, "t")),
        Facet("d", "n", {}, Spot(1.0, 0.9), None, Spot(1.0, 0.91, "u")),
    ]
    assert facets_finding(facets, "ra") == (
        "The recommended settings' RA is 1.00 points above Retrain's at best (n on d) and 5.00 points below it at "
        "worst (m on d)."
    )
    assert "None of 1" in facets_finding([Facet("d", "m", {}, None, None, None)], "ra")


def test_ranks_are_drawn_when_there_are_enough():
    datasets = ("digits", "cifar10", "cifar100")
    models = ("tinyvit_nano", "resnet_nano")
    records = handmade.grid(3, (0,), datasets, models)
    source = source_of(records, study="six", datasets=list(datasets), models=list(models))
    made = across_html(source)
    assert figures_of(made)[-1] == "ranks-six"
    assert "critical difference" in text_of(made)


def test_ranks_are_told_in_words():
    always = [{"a": 0.1, "b": 0.2, "c": 0.3 + index / 100} for index in range(9)]
    told = ranks_finding(compare_ranks(always))
    assert told.startswith("Over 9 combinations, a (1.00) has the best average rank (Friedman's test, p < 0.001)")
    assert told.endswith("ahead of c by more than chance.")
    mixed = [{"a": 0.1, "b": 0.2, "c": 0.3}, {"a": 0.3, "b": 0.2, "c": 0.1}] * 3
    assert "no more apart than chance" in ranks_finding(compare_ranks(mixed))
    assert "here there are 1 and 2" in too_few([{"a": 0.1, "b": 0.2}])


def repetition(seed, **more):
    """The same study with another order of its trials."""
    records = handmade.searched(9)
    generator = random.Random(seed)
    made = [records[0]]
    for method in ("neggrad", "partial_neggrad", "neglora"):
        own = [record for record in records[1:] if record.cell["method"] == method]
        ids = [record.trial for record in own]
        generator.shuffle(own)
        made += [dataclasses.replace(record, trial=trial) for record, trial in zip(own, ids, strict=True)]
    search = {"sampler": "tpe", "trials": 9, "seed": seed, "batch": 4}
    return source_of(made, place=seed, **({"study": f"again{seed}", "search": search} | more))


def test_repetitions_are_reported_together():
    made = repeated_html([repetition(seed) for seed in range(3)])
    slug = "again0-digits-tinyvit_nano"
    assert figures_of(made) == [f"repeated-trials-{slug}", f"repeated-seconds-{slug}"]
    text = text_of(made)
    assert "3 repetitions of one search" in text
    assert "again0 (0), again1 (1), again2 (2)" in text
    assert "bands go from the smallest to the largest" in text
    assert "After 9 trials, over 3 repetitions, neglora covers" in text
    assert "Probability that the first covers more" in text
    assert "of 9 pairs" in text


def test_five_have_bands_of_quartiles():
    assert "bands go from the lower to the upper quartile" in text_of(repeated_html([repetition(s) for s in range(5)]))


def test_one_study_or_different_ones_are_no_repetitions():
    assert repeated_html([repetition(0)]) is None
    assert repeated_html([repetition(0), repetition(1, objectives=["ua"])]) is None
    assert repeated_html([]) is None


def test_repetitions_without_trials_yet_are_left_out():
    empty = dataclasses.replace(repetition(1), records=NOTHING)
    assert repeated_html([repetition(0), empty]) is None
    made = repeated_html([repetition(0), empty, repetition(2)])
    assert "tinyvit_nano on digits: over 2 repetitions" in text_of(made)


def test_the_same_studies_give_the_same_text(grid):
    again = source_of(handmade.grid(6, (0, 1)), **handmade.GRID)
    assert across_html(grid) == across_html(again)
    assert comparison_html(grid.groups[0], grid) == comparison_html(again.groups[0], again)
