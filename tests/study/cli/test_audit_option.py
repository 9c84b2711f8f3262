"""What `neglora unlearn --audit` says of its model in words."""

import pytest

from study.cli.unlearn_command import _retracted, _verdict


@pytest.mark.parametrize(
    ("relearn", "retrain", "words"),
    [
        (0.98, {"relearn": 0.0, "ra": 1.0}, "forgets at the output, not in the features (relearn 98.0% beside"),
        (0.02, {"relearn": 0.0, "ra": 1.0}, "no trace found by these audits (relearn 2.0% beside Retrain's 0.0%)"),
        (0.98, None, "cannot be said (relearn was not measured on Retrain)"),
    ],
)
def test_the_verdict_is_told_in_words(relearn, retrain, words):
    result = {
        "metrics": {"ua": 1.0, "ra": 0.99, "relearn": relearn},
        "retrain": retrain,
        "details": {"counts": {"test_forget": 55}},
    }
    assert _verdict(result, ["relearn"]).startswith(words)


FOUND = {"target": 0.99, "scale": 0.094, "already": False, "reached": True, "monotone": True}


def test_a_retracted_model_that_was_not_audited_is_said_to_hold_the_class():
    hint = "may still hold the class: --audit relearn --retrain asks"
    assert _retracted(FOUND, False).startswith("Retracted to 0.094 of the ascent, which keeps UA at 99% or more.")
    assert hint in _retracted(FOUND, False)
    assert hint not in _retracted(FOUND, True)
    assert "may do as well" in _retracted({**FOUND, "monotone": False}, True)
    for changed, words in (({"already": True}, "the base itself gets 99%"), ({"reached": False}, "raise lr or epochs")):
        told = _retracted({**FOUND, "scale": 1.0, **changed}, False)
        assert told.startswith("Not retracted: ")
        assert words in told
        assert hint not in told
