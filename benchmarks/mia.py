"""The membership attack, exact and fast, over kinds of score sets: time, efficacy, and whether it has signal.

    python benchmarks/mia.py                       # 1,000, 9,000 and 10,000 a side, about half an hour on one core
    python benchmarks/mia.py --sizes 1000 9000
    python benchmarks/mia.py --quick               # 300 a side, seconds

Prints a table as it goes and writes `benchmarks/mia.json`. Times are those of a processor, not of the wall, so that
other work on the machine counts less. `scikit-learn` is `SVC.fit`, `predict` on D_f and `score`, as the attack is
written where it was published; `exact` and `fast` are `neglora.metrics.mia_efficacy`. D_f has 1,000 images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from neglora.metrics import mia_efficacy

Scores = NDArray[numpy.float64]
Sides = tuple[Scores, Scores, Scores]
Generator = numpy.random.Generator

FORGET = 1_000


def saturated(g: Generator, n: int) -> Sides:
    others = numpy.where(g.random(n) < 0.1, g.random(n), 1 - 10 ** -g.uniform(2, 10, n))
    return 1 - 10 ** -g.uniform(4, 12, n), others, g.beta(1, 2, FORGET)


def saturated_everywhere(g: Generator, n: int) -> Sides:
    return 1 - 10 ** -g.uniform(5, 15, n), 1 - 10 ** -g.uniform(1, 15, n), 1 - 10 ** -g.uniform(0.3, 12, FORGET)


def logistic(g: Generator, n: int, *means_and_spreads: tuple[float, float], kind: str = "f8") -> Sides:
    counts = (n, n, FORGET)
    drawn = (g.normal(mean, spread, c) for (mean, spread), c in zip(means_and_spreads, counts, strict=True))
    retain, test, forget = (expit(values).astype(kind).astype("f8") for values in drawn)
    return retain, test, forget


def beta(g: Generator, n: int, *shapes: tuple[float, float]) -> Sides:
    retain, test, forget = (g.beta(a, b, count) for (a, b), count in zip(shapes, (n, n, FORGET), strict=True))
    return retain, test, forget


def identical(g: Generator, n: int) -> Sides:
    values = g.beta(8, 1, n)
    return values, values.copy(), g.beta(2, 2, FORGET)


def heavy_tailed(g: Generator, n: int) -> Sides:
    means, counts = (4, 2, -1), (n, n, FORGET)
    retain, test, forget = (expit(m + 2 * g.standard_t(1.5, c)) for m, c in zip(means, counts, strict=True))
    return retain, test, forget


def bimodal(g: Generator, n: int) -> Sides:
    def mixed(share: float, a: float, count: int) -> Scores:
        return numpy.where(g.random(count) < share, g.beta(a, 1, count), g.beta(1, 20, count))

    return mixed(0.9, 50, n), mixed(0.7, 30, n), mixed(0.2, 30, FORGET)


def surrounded(g: Generator, n: int) -> Sides:
    others = numpy.where(g.random(n) < 0.5, g.beta(3, 9, n), g.beta(12, 2, n))
    return g.beta(20, 20, n), others, g.random(FORGET)


def digits(g: Generator, n: int) -> Sides:
    """Confidences of logistic regressions on quarters of the digits; class 3 weighs a fifth, as if half forgotten."""
    images, labels = load_digits(return_X_y=True)
    parts: list[tuple[Scores, Scores, Scores]] = []
    while sum(len(part[0]) for part in parts) < n:
        x, x_test, y, y_test = train_test_split(
            images / 16, labels, train_size=0.25, random_state=int(g.integers(2**31))
        )
        model = LogisticRegression(C=30, max_iter=100, class_weight={3: 0.2} | {c: 1 for c in range(10) if c != 3})
        model.fit(x, y)

        def confidence(of: Scores, true: Scores, model: LogisticRegression = model) -> Scores:
            return model.predict_proba(of)[numpy.arange(len(true)), true]

        parts.append(
            (
                confidence(x[y != 3], y[y != 3]),
                confidence(x_test[y_test != 3], y_test[y_test != 3]),
                confidence(x[y == 3], y[y == 3]),
            )
        )
    retain, test, forget = (numpy.concatenate(part) for part in zip(*parts, strict=True))
    return retain[:n], test[:n], forget[:FORGET]


KINDS: dict[str, Callable[[Generator, int], Sides]] = {
    "saturated": saturated,
    "saturated everywhere": saturated_everywhere,
    "saturated float32": lambda g, n: logistic(g, n, (12, 4), (8, 5), (3, 5), kind="f4"),
    "float16": lambda g, n: logistic(g, n, (6, 2), (4, 3), (1, 3), kind="f2"),
    "identical": identical,
    "one value": lambda g, n: (numpy.ones(n), numpy.ones(n), numpy.ones(FORGET)),
    "one side one value": lambda g, n: (numpy.ones(n), g.beta(5, 1, n), g.beta(2, 2, FORGET)),
    "two values": lambda g, n: tuple(1.0 * (g.random(c) < p) for p, c in ((0.95, n), (0.8, n), (0.1, FORGET))),
    "tied": lambda g, n: tuple(g.binomial(10, p, c) / 10 for p, c in ((0.9, n), (0.8, n), (0.5, FORGET))),
    "separated": lambda g, n: (g.uniform(0.7, 1, n), g.uniform(0, 0.6, n), g.random(FORGET)),
    "touching": lambda g, n: (g.uniform(0.5, 1, n), g.uniform(0, 0.5, n), g.random(FORGET)),
    "overlapping": lambda g, n: beta(g, n, (8, 1), (3, 1), (2, 2)),
    "overlapping much": lambda g, n: beta(g, n, (8, 1), (6, 1), (2, 2)),
    "faint signal": lambda g, n: beta(g, n, (5, 1), (4.6, 1), (2, 2)),
    "D_f at the border": lambda g, n: (
        *beta(g, n, (8, 1), (3, 1), (1, 1))[:2],
        g.normal(0.82, 0.02, FORGET).clip(0, 1),
    ),
    "heavy-tailed": heavy_tailed,
    "bimodal": bimodal,
    "surrounded": surrounded,
    "reversed": lambda g, n: beta(g, n, (3, 1), (8, 1), (2, 2)),
    "all low": lambda g, n: beta(g, n, (1, 60), (1, 90), (1, 200)),
    "unequal sizes": lambda g, n: (g.beta(6, 1, 3 * n), g.beta(3, 1, n), g.beta(2, 2, FORGET)),
    "no signal": lambda g, n: beta(g, n, (8, 1), (8, 1), (2, 2)),
    "digits": digits,
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def scikit_learn(retain: Scores, test: Scores, forget: Scores) -> tuple[float, float]:
    """Efficacy and accuracy on sides of equal length, as published."""
    sample = numpy.concatenate([retain, test])[:, None]
    is_member = numpy.repeat([1, 0], len(retain))
    attack = SVC(C=3, gamma="auto", kernel="rbf").fit(sample, is_member)
    return float((attack.predict(forget[:, None]) == 0).mean()), float(attack.score(sample, is_member))


def rows(sizes: list[int]) -> Iterator[dict[str, Any]]:
    for size in sizes:
        for number, (kind, draw) in enumerate(KINDS.items()):
            retain, test, forget = draw(numpy.random.default_rng([number, size]), size)
            sides = {"retain": retain, "test": test, "forget": forget}
            fast_seconds, fast = min((timed(lambda: mia_efficacy(**sides, exact=False)) for _ in range(3)), key=first)  # noqa: B023
            exact_seconds, exact = timed(lambda: mia_efficacy(**sides))  # noqa: B023
            row = {
                "size": size,
                "kind": kind,
                "signal": exact.has_signal,
                "exact_seconds": exact_seconds,
                "fast_seconds": fast_seconds,
                "exact": exact.efficacy,
                "fast": fast.efficacy,
                "difference": fast.efficacy - exact.efficacy,
            }
            if len(retain) == len(test):
                row["sklearn_seconds"], by_hand = timed(lambda: scikit_learn(retain, test, forget))  # noqa: B023
                row["ratio"] = row["sklearn_seconds"] / fast_seconds
                row["equal"] = by_hand == (exact.efficacy, exact.attack_accuracy)
            yield row


def first(pair: tuple[float, Any]) -> float:
    return pair[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 9_000, 10_000], help="images a side")
    parser.add_argument("--quick", action="store_true", help="300 a side")
    arguments = parser.parse_args()
    sizes = [300] if arguments.quick else arguments.sizes
    out = Path(__file__).with_suffix(".json")
    print(f"{'a side':>6}  {'kind':21} {'sklearn s':>9} {'exact s':>8} {'fast s':>7} {'ratio':>6}  "
          f"{'exact':>6} {'fast':>6} {'diff':>7}  signal  exact is sklearn's")  # fmt: skip
    done: list[dict[str, Any]] = []
    for row in rows(sizes):
        done.append(row)
        print(
            f"{row['size']:6}  {row['kind']:21} {row.get('sklearn_seconds', float('nan')):9.3f} "
            f"{row['exact_seconds']:8.3f} {row['fast_seconds']:7.3f} {row.get('ratio', float('nan')):6.0f}  "
            f"{row['exact']:6.3f} {row['fast']:6.3f} {row['difference']:+7.4f}  {row['signal']!s:6}  "
            f"{row.get('equal', '')}",
            flush=True,
        )
        out.write_text(json.dumps(done, indent=1))
    for size in sizes:
        of_size = [row for row in done if row["size"] == size]
        ratios = [row["ratio"] for row in of_size if "ratio" in row]
        saved = [row["sklearn_seconds"] / row["exact_seconds"] for row in of_size if "ratio" in row]
        worst = {
            s: max((abs(r["difference"]) for r in of_size if r["signal"] is s), default=0.0) for s in (True, False)
        }
        print(
            f"{size} a side: fast {median(ratios):.0f} times (at least {min(ratios):.0f}), exact {median(saved):.1f} "
            f"times; largest difference {worst[True]:.4f} with signal, {worst[False]:.4f} without; exact equals "
            f"scikit-learn's in {sum(row.get('equal', False) for row in of_size)} of {len(ratios)}"
        )


if __name__ == "__main__":
    main()
