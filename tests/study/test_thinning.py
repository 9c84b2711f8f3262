"""Thinning keeps what matters, and no more than there is room for."""

from itertools import pairwise

from study.thinning import thinned

TRIALS = [f"t-{number:04d}" for number in range(100)]


def test_few_trials_are_all_kept():
    assert thinned(TRIALS, limit=100) == TRIALS
    assert thinned([], limit=0) == []


def test_what_is_always_kept_is_kept_first_and_the_rest_is_spaced_evenly():
    found = thinned(TRIALS, {"t-0007", "t-0099"}, limit=12)
    assert len(found) == 12
    assert {"t-0007", "t-0099"} <= set(found)
    assert found == sorted(found)
    assert found[0] == "t-0000"
    others = [int(trial[2:]) for trial in found if trial not in ("t-0007", "t-0099")]
    assert all(8 <= after - before <= 13 for before, after in pairwise(others))


def test_more_than_there_is_room_for_are_kept_where_none_may_go():
    assert thinned(TRIALS, TRIALS[:20], limit=5) == TRIALS[:20]
