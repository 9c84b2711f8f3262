import math

import pytest

from neglora.methods import METHODS
from neglora.parameters import PARAMETERS, Parameter

NAMES = {
    "retrain": set(),
    "neggrad": {"lr", "epochs", "batch_size", "batchnorm", "sparsity", "retract"},
    "partial_neggrad": {"lr", "epochs", "batch_size", "batchnorm", "sparsity", "retract", "targets"},
    "neglora": {
        "lr",
        "epochs",
        "batch_size",
        "batchnorm",
        "sparsity",
        "retract",
        "rank",
        "alpha",
        "dropout",
        "targets",
        "merge",
    },
}

GOOD = {
    "lr": [1e-12, 1, 10.0],
    "epochs": [1, 2.0, 50],
    "batch_size": [1, 256],
    "batchnorm": ["frozen", "update"],
    "sparsity": [0, 0.0, 0.9, 0.999],
    "retract": [None, 0.99, 1, 1e-3],
    "rank": [1, 16.0],
    "alpha": [0.5, 32],
    "dropout": [0, 0.1, 0.99],
    "targets": ["ffn", "last.attn_out+head", ["a.b"], ("a", "b")],
    "merge": ["dense", "masked"],
}

BAD = {
    "lr": [0, 0.0, -1e-3, math.nan, math.inf, "0.1", None, True],
    "epochs": [0, -1, 1.5, "1", None, True, math.inf],
    "batch_size": [0, 0.5],
    "batchnorm": ["off", None, True],
    "sparsity": [1, 1.0, -0.1, math.nan, "0.5"],
    "retract": [0, 1.01, -0.5, math.nan, "0.9", True],
    "rank": [0, -4, 2.5, None],
    "alpha": [0, -1, None],
    "dropout": [1, 1.0, -0.1],
    "targets": ["", "  ", [], [1], [""], None, 3],
    "merge": ["sparse", None],
}

BY_NAME = {parameter.name: parameter for parameters in PARAMETERS.values() for parameter in parameters}


def test_every_method_takes_its_parameters():
    assert {name: {parameter.name for parameter in taken} for name, taken in PARAMETERS.items()} == NAMES
    assert {name: method.parameters for name, method in METHODS.items()} == PARAMETERS
    assert set(GOOD) == set(BAD) == set(BY_NAME)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_values(name, value):
    assert BY_NAME[name].problem(value) is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_say_what_was_expected_and_what_came(name, value):
    problem = BY_NAME[name].problem(value)
    assert problem == f"expected {BY_NAME[name].expected}, got {value!r}"


@pytest.mark.parametrize("name", BY_NAME)
def test_defaults_are_good(name):
    assert BY_NAME[name].problem(BY_NAME[name].default) is None
    assert BY_NAME[name].about


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr", "a number > 0"),
        ("epochs", "a whole number >= 1"),
        ("sparsity", "a number in [0, 1)"),
        ("merge", "one of dense, masked"),
        ("retract", "a number in (0, 1], or null"),
        ("targets", "a text such as 'ffn' or 'last.attn_out+head', or a list of module names"),
    ],
)
def test_bounds_in_words(name, expected):
    assert BY_NAME[name].expected == expected


def test_other_bounds_in_words():
    assert Parameter("x", "float", 0.0, "x").expected == "a number"
    assert Parameter("x", "float", 0.5, "x", low=0, high=1, low_open=True).expected == "a number in (0, 1]"


def test_resolving_fills_in_defaults():
    resolved = METHODS["neglora"].resolve({"rank": 4})
    assert resolved == {name: p.default for name, p in BY_NAME.items()} | {"rank": 4}
    assert METHODS["retrain"].resolve({}) == {}


def test_a_whole_number_comes_out_as_an_integer():
    """A sampler or a YAML file may write 2.0 for epochs, which `range` would not take."""
    resolved = METHODS["neglora"].resolve({"rank": 4.0, "epochs": 2.0, "lr": 1})
    assert isinstance(resolved["rank"], int)
    assert isinstance(resolved["epochs"], int)


def test_all_problems_are_told_together():
    with pytest.raises(ValueError) as raised:
        METHODS["neglora"].resolve({"rank": 0, "lr": -1, "beta": 3})
    message = str(raised.value)
    assert "rank: expected a whole number >= 1, got 0" in message
    assert "lr: expected a number > 0, got -1" in message
    assert "neglora has no parameter 'beta'; it has lr, epochs" in message
