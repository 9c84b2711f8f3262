from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from neglora.metrics import mann_whitney_auc, mia, mia_efficacy


def confidences(count: int, a: float, b: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(a, b, count)


RETAIN = confidences(120, 8, 1, 0)
TEST = confidences(120, 3, 1, 1)
FORGET = confidences(50, 2, 2, 2)


def by_hand(retain: np.ndarray, test: np.ndarray, forget: np.ndarray) -> tuple[float, float]:
    """The attack of Jia et al. on sides of equal length: efficacy and accuracy."""
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    values = np.concatenate([retain, test]).reshape(len(retain) + len(test), -1)
    members = np.array([1] * len(retain) + [0] * len(test))
    attack.fit(values, members)
    called_new = sum(1 for answer in attack.predict(forget.reshape(len(forget), -1)) if answer == 0)
    return called_new / len(forget), (attack.predict(values) == members).mean()


def slow_auc(higher: np.ndarray, lower: np.ndarray) -> tuple[float, float]:
    """The AUC and DeLong's variance from all pairs."""
    psi = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in lower] for x in higher]
    m, n = len(higher), len(lower)
    auc = sum(map(sum, psi)) / (m * n)
    v10 = [sum(row) / n for row in psi]
    v01 = [sum(psi[i][j] for i in range(m)) / m for j in range(n)]
    s10 = sum((v - auc) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - auc) ** 2 for v in v01) / (n - 1)
    return auc, s10 / m + s01 / n


def test_efficacy_is_the_svc_called_by_hand():
    attack = mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET)
    efficacy, accuracy = by_hand(RETAIN, TEST, FORGET)
    assert 0.1 < efficacy < 0.99, "a case that could fail"
    assert attack.efficacy == efficacy
    assert attack.attack_accuracy == accuracy
    assert attack.n_per_side == 120


def test_several_features_an_image():
    sides = [np.random.default_rng(seed).dirichlet([8, 1 + seed, 1], 60) for seed in range(3)]
    attack = mia_efficacy(retain=sides[0], test=sides[1], forget=sides[2])
    assert (attack.efficacy, attack.attack_accuracy) == by_hand(*sides)
    assert attack.attack_auc is attack.auc_interval is attack.has_signal is None


@pytest.mark.parametrize(
    "kind", [torch.tensor, list, lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True)]
)
def test_tensors_lists_and_arrays_are_taken_alike(kind):
    attack = mia_efficacy(retain=kind(RETAIN), test=kind(TEST), forget=kind(FORGET))
    assert attack == mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET)


@pytest.fixture
def fitted(monkeypatch):
    """Every sample that an attack was fitted on: a list of (values, members)."""
    seen = []

    class Watched(SVC):
        def fit(self, values, members):
            seen.append((values[:, 0].copy(), members.copy()))
            return super().fit(values, members)

    monkeypatch.setattr(mia, "SVC", Watched)
    return seen


@pytest.mark.parametrize("larger", ["retain", "test"])
def test_the_larger_side_is_sampled(fitted, larger):
    sides = {"retain": confidences(90, 8, 1, 0), "test": confidences(40, 3, 1, 1)}
    if larger == "test":
        sides = {"retain": sides["test"], "test": sides["retain"]}
    attack = mia_efficacy(**sides, forget=FORGET)
    assert attack.n_per_side == 40
    values, members = fitted[0]
    assert members.tolist() == [1] * 40 + [0] * 40
    drawn = {"retain": values[:40], "test": values[40:]}
    for side, taken in drawn.items():
        assert len(set(taken)) == 40, "without replacement"
        assert set(taken) <= set(sides[side])
    assert attack.attack_auc == pytest.approx(
        roc_auc_score(
            [1] * len(sides["retain"]) + [0] * len(sides["test"]), np.concatenate([sides["retain"], sides["test"]])
        )
    )


def test_the_sample_follows_the_seed_and_not_the_order_of_the_dataset(fitted):
    retain = confidences(300, 8, 1, 0)
    for seed in (0, 0, 1):
        mia_efficacy(retain=retain, test=TEST, forget=FORGET, seed=seed)
    first, again, other = (set(values[:120]) for values, _ in fitted)
    assert first == again
    assert first != other
    assert first != set(retain[:120])


def test_balance():
    """Nine members for every five others turn the score of a forgotten set over: FIELD.md. Balanced, it stays."""
    retain, test = confidences(900, 4, 1.3, 0), confidences(500, 4, 1.6, 1)
    forget = confidences(100, 1, 6, 2)
    unbalanced, _ = by_hand(retain, test, forget)
    balanced = mia_efficacy(retain=retain, test=test, forget=forget).efficacy
    assert balanced > unbalanced + 0.5


def test_auc_is_sklearns_with_ties():
    generator = np.random.default_rng(0)
    higher, lower = generator.integers(2, 9, 70) / 8, generator.integers(0, 8, 45) / 8
    auc, _ = mann_whitney_auc(higher, lower)
    assert auc == pytest.approx(roc_auc_score([1] * 70 + [0] * 45, np.concatenate([higher, lower])), abs=1e-12)
    assert 1 - auc == pytest.approx(mann_whitney_auc(lower, higher)[0], abs=1e-12)


@pytest.mark.parametrize("steps", [8, 10**6])
def test_interval_is_delongs_from_all_pairs(steps):
    generator = np.random.default_rng(1)
    higher, lower = generator.integers(steps // 4, steps, 35), generator.integers(0, steps, 50)
    auc, variance = slow_auc(higher, lower)
    half = 1.959964 * variance**0.5
    found, (low, high) = mann_whitney_auc(higher.astype(float), lower.astype(float))
    assert found == pytest.approx(auc, abs=1e-12)
    assert (low, high) == pytest.approx((auc - half, auc + half), abs=1e-6)


def test_interval_is_about_the_bootstraps():
    _, (low, high) = mann_whitney_auc(RETAIN, TEST)
    generator = np.random.default_rng(2)
    drawn = [mann_whitney_auc(generator.choice(RETAIN, 120), generator.choice(TEST, 120))[0] for _ in range(1500)]
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.015)


def test_interval_stays_a_probability():
    higher = np.linspace(0.5, 1, 12)
    _, (low, high) = mann_whitney_auc(higher, np.append(np.linspace(0, 0.49, 11), 0.75))
    assert 0 <= low < high == 1.0


def test_signal():
    same = mia_efficacy(retain=RETAIN, test=RETAIN, forget=FORGET)
    assert same.attack_auc == pytest.approx(0.5)
    assert same.has_signal is False
    apart = mia_efficacy(retain=RETAIN, test=RETAIN - 1, forget=FORGET)
    assert apart.attack_auc == apart.attack_accuracy == 1.0
    assert apart.has_signal is True
    # Retained images less sure than test images is a difference too, which an attack can use.
    assert mia_efficacy(retain=TEST, test=RETAIN, forget=FORGET).has_signal is True


def test_all_alike_is_no_signal():
    ones = np.ones(30)
    attack = mia_efficacy(retain=ones, test=ones, forget=ones)
    assert attack.auc_interval == (0.5, 0.5)
    assert attack.has_signal is False
    assert attack.attack_accuracy == 0.5


def test_a_difference_within_chance_is_no_signal():
    """Twice the same distribution: the interval holds 0.5 in about 95 of 100 draws."""
    flagged = sum(
        not mann[0] <= 0.5 <= mann[1]
        for mann in (
            mann_whitney_auc(confidences(60, 5, 1, 2 * seed), confidences(60, 5, 1, 2 * seed + 1))[1]
            for seed in range(200)
        )
    )
    assert 2 <= flagged <= 22


@pytest.mark.parametrize("side", ["retain", "test", "forget"])
def test_bad_sides_are_named(side):
    sides = {"retain": RETAIN, "test": TEST, "forget": FORGET}
    with pytest.raises(ValueError, match=f"{side} has none"):
        mia_efficacy(**sides | {side: []})
    with pytest.raises(ValueError, match=f"{side} holds values that are not finite"):
        mia_efficacy(**sides | {side: [0.5, float("nan")]})
    if side != "retain":
        with pytest.raises(ValueError, match=f"{side} has 2 features an image, retain 1"):
            mia_efficacy(**sides | {side: np.zeros((5, 2))})


def drawn(kind: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(sum(map(ord, kind)))
    beta = generator.beta
    return {
        "overlapping": lambda: (beta(8, 1, count), beta(3, 1, count), beta(2, 2, 400)),
        "separated": lambda: (beta(40, 2, count), beta(2, 40, count), generator.random(400)),
        "reversed": lambda: (beta(3, 1, count), beta(8, 1, count), beta(2, 2, 400)),
        "saturated": lambda: tuple(
            1 - 10 ** -generator.uniform(low, 15, n) for low, n in ((5, count), (1, count), (0.3, 400))
        ),
        "tied": lambda: tuple(generator.binomial(9, p, n) / 9 for p, n in ((0.9, count), (0.8, count), (0.4, 400))),
        "float16": lambda: tuple(
            side.astype("f2") for side in (beta(9, 0.3, count), beta(4, 0.4, count), beta(1, 1, 400))
        ),
        "one value against many": lambda: (np.ones(count), beta(5, 1, count), beta(2, 2, 400)),
        "border": lambda: (beta(8, 1, count), beta(3, 1, count), generator.normal(0.82, 0.02, 400)),
    }[kind]()


KINDS = ["overlapping", "separated", "reversed", "saturated", "tied", "float16", "one value against many", "border"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [7, 60, 700])
def test_the_exact_attack_is_the_svc_to_the_last_answer(kind, count):
    retain, test, forget = (np.asarray(side, dtype=float) for side in drawn(kind, count))
    attack = mia_efficacy(retain=retain, test=test, forget=forget)
    assert (attack.efficacy, attack.attack_accuracy) == by_hand(retain, test, forget)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_attack_is_the_svc(kind):
    retain, test, forget = (np.asarray(side, dtype=float) for side in drawn(kind, 900))
    attack = mia_efficacy(retain=retain, test=test, forget=forget, exact=False)
    assert attack.has_signal is True
    assert attack.efficacy == pytest.approx(by_hand(retain, test, forget)[0], abs=0.005)
    assert attack.attack_accuracy == pytest.approx(by_hand(retain, test, forget)[1], abs=0.005)
    assert attack == mia_efficacy(retain=retain, test=test, forget=forget, exact=False)


def test_the_fast_attack_balances_and_judges_as_the_exact_one_does():
    sides = {"retain": confidences(300, 8, 1, 0), "test": TEST, "forget": FORGET}
    fast, exact = (mia_efficacy(**sides, seed=5, exact=exact) for exact in (False, True))
    assert (fast.efficacy, fast.attack_accuracy) == pytest.approx((exact.efficacy, exact.attack_accuracy), abs=0.005)
    assert (fast.attack_auc, fast.auc_interval, fast.n_per_side) == (exact.attack_auc, exact.auc_interval, 120)


def test_the_fast_attack_fits_no_svc(fitted):
    mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET, exact=False)
    assert fitted == []


@pytest.mark.parametrize("exact", [True, False])
def test_degenerate_sides(exact):
    one = np.array([0.5])
    alike = mia_efficacy(retain=one, test=one, forget=one, exact=exact)
    assert (alike.efficacy, alike.attack_accuracy, alike.has_signal) == (0.0, 0.5, False)
    single = mia_efficacy(retain=[0.9], test=[0.1], forget=[0.95, 0.05, 0.8], exact=exact)
    assert (single.efficacy, single.attack_accuracy) == (1 / 3, 1.0)
    constant = mia_efficacy(retain=np.ones(20), test=np.zeros(20), forget=[0.2, 0.9], exact=exact)
    assert (constant.efficacy, constant.has_signal) == (0.5, True)
    with pytest.raises(ValueError, match="test holds values that are not finite"):
        mia_efficacy(retain=RETAIN, test=[np.nan], forget=FORGET, exact=exact)


@pytest.mark.parametrize("scale", [3, 1_000])
def test_features_far_apart(scale):
    """Entropies reach some units; where the expansion would be long the attack is LIBSVM's, fast or not."""
    retain, test, forget = scale * RETAIN, scale * TEST, scale * FORGET
    expected = by_hand(retain, test, forget)
    for exact in (True, False):
        attack = mia_efficacy(retain=retain, test=test, forget=forget, exact=exact)
        assert (attack.efficacy, attack.attack_accuracy) == pytest.approx(expected, abs=0 if exact else 0.005)


def test_several_features_are_always_exact():
    sides = [np.random.default_rng(seed).dirichlet([8, 1 + seed, 1], 60) for seed in range(3)]
    attack = mia_efficacy(retain=sides[0], test=sides[1], forget=sides[2], exact=False)
    assert (attack.efficacy, attack.attack_accuracy) == by_hand(*sides)


def test_a_fast_fit_that_does_not_end_is_made_exactly(monkeypatch):
    monkeypatch.setattr("neglora.metrics.gaussian_svm.MOST_STEPS", 1)
    attack = mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET, exact=False)
    assert (attack.efficacy, attack.attack_accuracy) == by_hand(RETAIN, TEST, FORGET)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [7, 60, 700])
def test_what_is_called_non_member_is_what_the_svc_calls_so(kind, count):
    """On a grid of its own, but for what lies within a hair of an end, since ends are rounded, or of the border."""
    retain, test, forget = (np.asarray(side, dtype=float).clip(0, 1) for side in drawn(kind, count))
    attack = mia_efficacy(retain=retain, test=test, forget=forget, between=(0.0, 1.0))
    sample = np.concatenate([retain, test])[:, None]
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(sample, [1] * count + [0] * count)
    grid = np.linspace(0, 1, 1237)
    ends = np.array([end for stretch in attack.non_member for end in stretch if 0 < end < 1])
    sure = np.ones(len(grid), bool) if not len(ends) else abs(grid[:, None] - ends).min(1) > 2e-6
    sure &= abs(machine.decision_function(grid[:, None])) > 1.1e-6
    inside = np.any([(low <= grid) & (grid <= high) for low, high in attack.non_member] + [grid < 0], axis=0)
    assert sure.sum() > 1200
    assert ((machine.predict(grid[:, None]) == 0) == inside)[sure].all()
    assert list(attack.non_member) == sorted(attack.non_member)


def test_some_attack_has_a_border_and_one_has_two():
    found = {}
    for kind in KINDS:
        sides = [np.asarray(side, dtype=float).clip(0, 1) for side in drawn(kind, 700)]
        attack = mia_efficacy(retain=sides[0], test=sides[1], forget=sides[2], between=(0.0, 1.0))
        found[kind] = len({end for stretch in attack.non_member for end in stretch if 0 < end < 1})
    assert min(found.values()) <= 1 <= max(found.values())
    both = [0.5] * 60, np.concatenate([np.full(30, 0.05), np.full(30, 0.95)])
    (low, high) = mia_efficacy(retain=both[0], test=both[1], forget=FORGET, between=(0.0, 1.0)).non_member
    assert (low[0], high[1]) == (0.0, 1.0)
    assert (0.5 - low[1], high[0] - 0.5) == pytest.approx((0.2, 0.2), abs=0.15)


def test_asking_for_it_changes_nothing_else():
    plain = mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET)
    asked = mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET, between=(0.0, 1.0))
    assert plain.non_member is None
    assert asked.non_member
    assert replace(asked, non_member=None) == plain
    assert mia_efficacy(retain=RETAIN, test=TEST, forget=FORGET, exact=False, between=(0.0, 1.0)).non_member is None


@pytest.mark.parametrize("side", [0.0, 0.5, 1.0])
def test_on_sides_that_are_alike_the_signs_of_rounding_are_no_borders(side):
    one = np.full(9, side)
    assert mia_efficacy(retain=one, test=one, forget=one, between=(0.0, 1.0)).non_member == ()
    assert mia_efficacy(retain=TEST, test=TEST, forget=FORGET, between=(0.0, 1.0)).non_member == ()
