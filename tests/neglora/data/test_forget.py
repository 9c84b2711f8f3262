import math

import pytest

from neglora.data import DatasetInfo, ForgetError, ForgetSet, forget_class, parse_forget

PETS = DatasetInfo("pets", ("cat", "dog", "eel"), 2, 1)


@pytest.mark.parametrize(("forget", "index"), [(1, 1), ("dog", 1), ("2", 2), (0, 0)])
def test_class_by_index_or_name(forget, index):
    assert forget_class(PETS, forget) == index


def test_a_name_of_digits_is_a_name_first():
    assert forget_class(DatasetInfo("swapped", ("1", "0"), 2, 1), "1") == 0


@pytest.mark.parametrize("forget", [1, 2, 10])
def test_a_number_that_names_another_class_is_refused(forget):
    numbered = DatasetInfo("numbered", ("1", "10", "11", "3", "2"), 2, 1)
    with pytest.raises(ForgetError, match=f'quote the name, "{forget}"'):
        parse_forget(numbered, [forget])
    assert numbered.classes[forget_class(numbered, str(forget))] == str(forget)
    assert forget_class(numbered, 3) == 3, "name and index are one"
    assert forget_class(numbered, 0) == 0, "no name"


@pytest.mark.parametrize("forget", [3, -1, "3", "-1", "cow", "", "1.0", True, 1.0, None])
def test_a_class_that_is_not_there_is_named_with_those_that_are(forget):
    with pytest.raises(ForgetError) as raised:
        forget_class(PETS, forget)
    assert repr(forget) in str(raised.value)
    if isinstance(forget, int | str) and not isinstance(forget, bool):
        assert "cat, dog, eel" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "expected", "plain"),
    [
        (1, ForgetSet((1,)), 1),
        ("dog", ForgetSet((1,)), 1),
        ("2", ForgetSet((2,)), 2),
        ([1], ForgetSet((1,)), 1),
        ([2, 0], ForgetSet((0, 2)), [0, 2]),
        (["eel", "cat"], ForgetSet((0, 2)), [0, 2]),
        (("cat", 1), ForgetSet((0, 1)), [0, 1]),
        ({"random": 0.1}, ForgetSet(share=0.1), {"random": 0.1, "seed": 0}),
        ({"seed": 3, "random": 0.25}, ForgetSet(share=0.25, seed=3), {"random": 0.25, "seed": 3}),
    ],
)
def test_what_a_user_names(given, expected, plain):
    parsed = parse_forget(PETS, given)
    assert parsed == expected
    assert parsed.plain == plain
    assert parse_forget(PETS, parsed) is parsed
    assert parse_forget(PETS, parsed.plain) == parsed, "the plain form names the same set"


def test_equal_sets_are_equal_keys():
    assert len({parse_forget(PETS, given) for given in ("dog", 1, "1", [1], ["dog"])}) == 1
    assert len({parse_forget(PETS, given) for given in (0, [0, 1], {"random": 0.5}, {"random": 0.5, "seed": 1})}) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "names no class"),
        ((), "names no class"),
        ([1, 1], "'dog' is named twice"),
        ([1, "dog"], "'dog' is named twice"),
        (["1", 0, 1], "'dog' is named twice"),
        ([0, 1, 2], "all classes of pets"),
        (["cat", "cow"], "no class 'cow'; it has 3 classes, 0 to 2: cat, dog, eel"),
        ([0, 3], "no class 3"),
        ([0, True], "index or name, got True"),
        ([0, [1]], r"index or name, got \[1\]"),
        ([{"random": 0.5}], "index or name, got {'random': 0.5}"),
        ({}, r"share of the training images in \(0, 1\), got None"),
        ({"seed": 1}, "got None"),
        ({"random": 0.1, "classes": [1], "of": 2}, "'random' and 'seed', got classes, of too"),
        ({"random": 0}, "got 0"),
        ({"random": 0.0}, "got 0.0"),
        ({"random": 1}, "got 1"),
        ({"random": 1.0}, "got 1.0"),
        ({"random": -0.1}, "got -0.1"),
        ({"random": 10}, "got 10"),
        ({"random": math.nan}, "got nan"),
        ({"random": math.inf}, "got inf"),
        ({"random": True}, "got True"),
        ({"random": "0.1"}, "got '0.1'"),
        ({"random": 0.1, "seed": -1}, "whole number >= 0, got -1"),
        ({"random": 0.1, "seed": 1.0}, "whole number >= 0, got 1.0"),
        ({"random": 0.1, "seed": True}, "whole number >= 0, got True"),
        ({"random": 0.1, "seed": None}, "whole number >= 0, got None"),
    ],
)
def test_mistakes_are_named(given, said):
    with pytest.raises(ForgetError, match=said):
        parse_forget(PETS, given)


def test_many_classes_are_not_all_listed():
    info = DatasetInfo("many", tuple(f"c{number}" for number in range(100)), 2, 1)
    with pytest.raises(ForgetError, match=r"100 classes, 0 to 99: c0, .*c11, \.\.\.$"):
        parse_forget(info, 100)
