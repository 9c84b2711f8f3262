import numpy as np
import pytest
from sklearn.svm import SVC

from neglora.metrics import efficacy_interval
from neglora.metrics.gaussian_svm import MOST_TERMS, expansion, fit


def points(kind: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "overlapping": lambda: (generator.beta(8, 1, count), generator.beta(3, 1, count)),
        "separated": lambda: (generator.uniform(0.7, 1, count), generator.uniform(0, 0.6, count)),
        "surrounded": lambda: (generator.beta(20, 20, count), generator.beta(0.5, 0.5, count)),
        "tied": lambda: (generator.binomial(9, 0.9, count) / 9, generator.binomial(9, 0.7, count) / 9),
        "tiny": lambda: (generator.random(count) * 2e-9, generator.random(count) * 1e-9),
    }[kind]()


def decisions(pluses, minuses, limits, at):
    features = expansion(pluses, minuses, at)
    signs = np.repeat([1.0, -1.0], [len(pluses), len(minuses)])
    weights, intercepts = fit(features(np.concatenate([pluses, minuses])), signs, limits)
    return features(at) @ weights.T + intercepts


@pytest.mark.parametrize("length", [0.0, 1e-6, 1.0, 4.6])
def test_features_multiply_to_the_kernel(length):
    x, y = np.random.default_rng(0).uniform(3, 3 + length, (2, 40))
    features = expansion(x, y)
    assert features.terms < MOST_TERMS
    assert features(x) @ features(y).T == pytest.approx(np.exp(-((x[:, None] - y) ** 2)), abs=1e-11)


def test_a_dozen_features_hold_confidences_and_long_intervals_are_refused():
    assert 10 <= expansion(np.array([0.0, 1.0])).terms <= 15
    assert expansion(np.array([0.0, 20.0])) is None


@pytest.mark.parametrize("kind", ["overlapping", "separated", "surrounded", "tied", "tiny"])
@pytest.mark.parametrize("seed", range(3))
def test_decisions_are_libsvms(kind, seed):
    pluses, minuses = points(kind, 150, seed)
    at = np.linspace(0, max(pluses.max(), minuses.max()), 101)
    svc = SVC(C=3, gamma=1, tol=1e-7).fit(np.concatenate([pluses, minuses])[:, None], np.repeat([1, 0], 150))
    found = decisions(pluses, minuses, np.full((1, 300), 3.0), at)[:, 0]
    assert found == pytest.approx(svc.decision_function(at[:, None]), abs=1e-4)


def test_weights_stand_for_repeated_points():
    pluses, minuses = points("tied", 200, 0)
    at = np.linspace(0, 1, 51)
    distinct = [np.unique(side, return_counts=True) for side in (pluses, minuses)]
    counts = np.concatenate([count for _, count in distinct])
    merged = decisions(distinct[0][0], distinct[1][0], 3.0 * counts[None], at)
    assert merged == pytest.approx(decisions(pluses, minuses, np.full((1, 400), 3.0), at), abs=1e-5)


def test_machines_do_not_depend_on_their_company():
    pluses, minuses = points("overlapping", 80, 0)
    limits = 3 * np.random.default_rng(0).gamma(1, size=(6, 160)).clip(1e-5)
    at = np.linspace(0, 1, 21)
    together = decisions(pluses, minuses, limits, at)
    assert together.std(1).max() > 0.05, "machines that differ"
    for number, row in enumerate(limits):
        assert together[:, number] == pytest.approx(decisions(pluses, minuses, row[None], at)[:, 0], abs=1e-5)


def test_of_equally_good_intercepts_the_middle():
    # Alike on both sides: no slope helps, and every intercept between the two margins costs the same.
    same = np.linspace(0.2, 0.8, 9)
    assert decisions(same, same, np.full((1, 18), 3.0), same) == pytest.approx(0.0, abs=1e-6)


def test_steps_do_not_go_round_in_circles():
    """Corrected in full they do on one of these weightings, the only one of some thousand draws."""
    generator = np.random.default_rng(9)
    pluses = 1 - 10 ** -generator.uniform(4, 12, 1_130)
    minuses = np.where(
        generator.random(1_130) < 0.1, generator.random(1_130), 1 - 10 ** -generator.uniform(2, 10, 1_130)
    )
    forget = generator.beta(1, 2, 1_000)
    sample = {"retain": generator.choice(pluses, 200, False), "test": generator.choice(minuses[:245], 100, False)}
    low, high = efficacy_interval(**sample, forget=forget, seed=9, retain_total=1_130, test_total=245)
    assert 0.9 < low <= high <= 1.0
