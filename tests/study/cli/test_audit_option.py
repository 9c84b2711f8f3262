"""What `neglora unlearn --audit` says of its model in words."""

import pytest

from study.cli.unlearn_command import _verdict


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
