import numpy as np
import pytest

from neglora.metrics import efficacy_interval, mia_efficacy
from neglora.metrics.efficacy_interval import BINS, binned

RETAIN_TOTAL, TEST_TOTAL = 1_200, 500


def population(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "retain": generator.beta(8, 1, RETAIN_TOTAL),
        "test": generator.beta(3, 1, TEST_TOTAL),
        "forget": generator.beta(2, 2, 200),
    }


def sampled(sides: dict[str, np.ndarray], retain: int, test: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return sides | {
        "retain": generator.choice(sides["retain"], retain, replace=False),
        "test": generator.choice(sides["test"], test, replace=False),
    }


def interval(sides: dict[str, np.ndarray], seed: int = 0, **totals: int) -> tuple[float, float]:
    return efficacy_interval(**sides, seed=seed, **{"retain_total": RETAIN_TOTAL, "test_total": TEST_TOTAL} | totals)


def test_it_holds_what_all_images_give():
    held, widths = 0, []
    for seed in range(30):
        sides = population(seed)
        low, high = interval(sampled(sides, 300, 150, seed), seed)
        held += low <= mia_efficacy(**sides, seed=seed).efficacy <= high
        widths.append(high - low)
    assert held >= 26, "of 30: fewer come with a chance of 2 in 100 at a coverage of 95 percent"
    assert np.median(widths) < 0.2


def test_larger_samples_say_more():
    def width(retain: int, test: int) -> float:
        bounds = [interval(sampled(population(seed), retain, test, seed), seed) for seed in range(8)]
        return float(np.mean([high - low for low, high in bounds]))

    assert width(1_000, 450) < 0.7 * width(120, 120)


def test_everything_has_no_width():
    sides = population(0)
    efficacy = mia_efficacy(**sides, seed=3, exact=False).efficacy
    assert interval(sides, seed=3) == (efficacy, efficacy)


def test_the_balanced_sample_alone_has_a_width():
    """All test images, and as many retained ones: those of the attack on all images will be others."""
    low, high = interval(sampled(population(0), TEST_TOTAL, TEST_TOTAL))
    assert low < high


def test_all_that_may_be_noise_is_open():
    generator = np.random.default_rng(0)
    alike = {side: generator.beta(8, 1, 200) for side in ("retain", "test", "forget")}
    assert interval(alike) == (0.0, 1.0)
    ones = np.ones(50)
    assert interval({"retain": ones, "test": ones, "forget": ones}) == (0.0, 1.0)


def test_one_image_a_side_says_nothing_or_little():
    low, high = interval({"retain": np.array([0.9]), "test": np.array([0.2]), "forget": np.array([0.1, 0.5])})
    assert 0 <= low <= high <= 1


def test_it_follows_the_seed():
    sides = sampled(population(0), 200, 100)
    assert interval(sides) == interval(sides)
    assert interval(sides) != interval(sides, seed=1)


def test_a_fit_that_does_not_end_leaves_it_open(monkeypatch):
    monkeypatch.setattr("neglora.metrics.gaussian_svm.MOST_STEPS", 1)
    assert interval(sampled(population(0), 200, 100)) == (0.0, 1.0)


def test_values_too_far_apart_leave_it_open():
    sides = sampled(population(0), 200, 100)
    assert interval({side: 100 * values for side, values in sides.items()}) == (0.0, 1.0)


def test_bad_sides_are_refused():
    sides = sampled(population(0), 200, 100)
    with pytest.raises(ValueError, match="test holds values that are not finite"):
        interval(sides | {"test": np.array([0.5, np.nan])})
    with pytest.raises(ValueError, match="a sample of 200 retained images cannot be of 150"):
        interval(sides, retain_total=150)
    with pytest.raises(ValueError, match="a sample of 100 test images cannot be of 99"):
        interval(sides, test_total=99)
    with pytest.raises(ValueError, match="one feature an image, got 2"):
        interval({side: np.zeros((5, 2)) for side in sides})


def test_bins_keep_counts_and_means():
    values = np.random.default_rng(0).beta(8, 1, 1_001)
    points, counts = binned(values)
    assert len(points) == len(counts) == BINS
    assert counts.sum() == 1_001
    assert counts.max() - counts.min() <= 1
    assert (points * counts).sum() == pytest.approx(values.sum())
    assert (np.diff(points) > 0).all()
    points, counts = binned(np.array([0.5, 0.1, 0.5]))
    assert (points.tolist(), counts.tolist()) == ([0.1, 0.5], [1.0, 2.0])
