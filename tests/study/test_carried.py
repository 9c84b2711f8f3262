"""Whether a configuration holds up on pairs that its search never saw, on handmade records."""

import handmade
import pytest

from study.carried import MARGIN, as_plain, carried, ends, in_words, mean, retrain_pairs

V = handmade.values
PLACE = ("digits", "tinyvit_nano")


def tried(seen, unseen, **changes):
    """A trial with such gaps on the search's pairs and on unseen ones."""
    ones = [handmade.replicate(V(gap=gap), V(gap=gap), seed=seed) for seed, gap in enumerate(seen)]
    own = handmade.record(0, replicates=ones)
    confirmed = handmade.confirmed_line(own, [(5, seed, V(gap=gap)) for seed, gap in enumerate(unseen)], **changes)
    (one,) = carried([own, confirmed], *PLACE)
    return one


@pytest.mark.parametrize(
    ("seen", "unseen", "holds_up"),
    [
        ([0.02], [0.02 + MARGIN], True),
        ([0.02], [0.02 + MARGIN + 0.001], False),
        # Means decide, not a single pair.
        ([0.01, 0.03], [0.0, 0.0, 0.08], True),
        ([0.3], [0.0], True),
        ([None], [0.0], None),
        ([0.0], [0.0, None], None),
    ],
)
def test_the_rule_is_about_means_of_the_gap(seen, unseen, holds_up):
    one = tried(seen, unseen)
    assert one.holds_up is holds_up
    assert as_plain(one)["holds_up"] is holds_up
    words = {True: "It holds up: ", False: "It does not hold up: ", None: "Whether it holds up is not known: "}
    assert in_words(one).startswith(words[holds_up])


def test_values_are_the_report_halfs():
    own = handmade.record(0, metrics=V(gap=0.0), report=V(gap=0.05))
    confirmed = handmade.confirmed_line(own, [(5, 0, V(gap=0.0))])
    confirmed.replicates[0]["report"] = V(gap=0.055)
    (one,) = carried([own, confirmed], *PLACE)
    assert one.holds_up
    assert (as_plain(one)["searched_gap"], as_plain(one)["gap"]) == (0.05, 0.055)


def test_a_pair_that_diverged_is_no_mean_and_does_not_hold_up():
    one = tried([0.0], [0.0, 0.0], status="diverged")
    lost = one.confirmation.replicates[0]
    lost |= {"status": "diverged", "metrics": {}, "report": {}}
    own = handmade.record(0)
    (one,) = carried([own, one.confirmation], *PLACE)
    assert (one.holds_up, one.diverged, len(one.unseen)) == (False, 1, 1)
    assert as_plain(one)["gap"] is None
    assert [pair["status"] for pair in as_plain(one)["pairs"]] == ["diverged", "ok"]


def test_a_confirmation_that_failed_says_nothing():
    one = tried([0.0], [0.0], status="failed", reason="no memory")
    assert one.holds_up is None
    assert "failed (no memory)" in in_words(one)


def test_retrain_and_other_models_are_kept_apart():
    records = [*handmade.staged(6), *handmade.staged(6, model="resnet_nano")]
    for model in ("tinyvit_nano", "resnet_nano"):
        found = carried(records, "digits", model)
        assert [one.cell["method"] for one in found] == ["neggrad", "partial_neggrad", "neglora"]
        assert {one.cell["model"] for one in found} == {model}
        seen, unseen = retrain_pairs(records, "digits", model)
        assert (len(seen), len(unseen)) == (1, 4)
    assert carried(handmade.searched(4), *PLACE) == []
    assert retrain_pairs([], *PLACE) == ((), ())


def test_cells_are_named_by_their_axes():
    own = handmade.record(0, axes={"sparsity": 0.9})
    (one,) = carried([own, handmade.confirmed_line(own, [(5, 0, V())])], *PLACE)
    assert one.name == "neglora, sparsity 0.9"


def test_a_mean_needs_every_pair_and_a_range_any():
    one = tried([0.0], [0.25, None, 0.75])
    assert mean(one.unseen, "gap") is None
    assert ends(one.unseen, "gap") == (0.25, 0.75)
    assert mean((), "gap") is None
    assert ends((), "gap") is None
