import pytest

from neglora.verdict import WORDS, is_above, verdict


def said(ua=1.0, ra=0.99, audits=None, retrain=None, test_images=55):
    return verdict(
        ua=ua,
        ra=ra,
        audits={"relearn": 0.0, "probe": 0.9} if audits is None else audits,
        retrain={"ra": 1.0, **({"relearn": 0.0, "probe": 0.91} if retrain is None else retrain)},
        test_images=test_images,
    )


def test_a_class_that_comes_back_at_once_is_hidden():
    found = said(audits={"relearn": 0.98, "probe": 0.96})
    assert found.words == "forgets at the output, not in the features"
    assert found.because == "relearn 98.0% beside Retrain's 0.0%"


def test_either_audit_is_enough():
    assert said(audits={"relearn": 0.0, "probe": 0.9}, retrain={"relearn": 0.0, "probe": 0.5}).says == "hidden"


def test_values_like_retrains_leave_no_trace():
    found = said()
    assert found.words == "no trace found by these audits"
    assert "relearn 0.0% beside Retrain's 0.0%" in found.because


def test_below_retrain_is_no_trace():
    assert said(audits={"relearn": 0.1}, retrain={"relearn": 0.9}).says == "clear"


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"ua": None}, "UA was not measured"),
        ({"ua": 0.9, "audits": {"relearn": 0.98}}, "it still names 10% of D_f"),
        ({"audits": {}}, "no audit was asked for"),
        ({"test_images": 0}, "no test images of the forget class"),
        ({"ra": None}, "RA was not measured on it"),
        ({"retrain": {"ra": None, "relearn": 0.0, "probe": 0.9}}, "RA was not measured on Retrain"),
        ({"ra": 0.36}, "names 36% of the retained images, Retrain 100%"),
        ({"retrain": {}}, "relearn was not measured on Retrain"),
        ({"audits": {"relearn": None, "probe": 0.9}}, "relearn was not measured on it"),
    ],
)
def test_what_cannot_be_said_has_a_reason(changes, because):
    found = said(**changes)
    assert found.words == "cannot be said"
    assert because in found.because


def test_a_trace_counts_where_another_audit_is_missing():
    assert said(audits={"relearn": 0.98, "probe": None}).says == "hidden"


def test_a_ruined_model_may_still_be_caught():
    assert said(ra=0.36, audits={"relearn": 0.98}).says == "hidden"


def test_ua_of_95_percent_is_forgotten():
    assert said(ua=0.95).says == "clear"
    assert said(ua=0.9499).says == "unknown"


def test_newcombes_own_example():
    """56/70 against 48/80: 0.2, of which the interval is 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    from neglora.intervals import wilson

    low, high = wilson(56 / 70, 70)[0], wilson(48 / 80, 80)[1]
    bound = 0.2 - ((56 / 70 - low) ** 2 + (high - 48 / 80) ** 2) ** 0.5
    assert bound == pytest.approx(0.0524, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "mark", "test_images", "expected"),
    [
        (1.0, 0.0, 3, True),
        (1.0, 0.0, 1, False),  # one image says nothing
        (0.4, 0.2, 10, False),  # twenty points, of ten images
        (0.4, 0.2, 1000, True),
        (0.95, 0.90, 100_000, False),  # certain, and too little
        (0.5, 0.5, 10, False),
    ],
)
def test_above_means_by_enough_and_by_more_than_chance(value, mark, test_images, expected):
    assert is_above(value, mark, test_images) is expected


def test_every_verdict_has_words():
    assert len(set(WORDS.values())) == 3
