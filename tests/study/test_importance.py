"""Shares against closed forms, against an ablation of the function itself, and against Optuna's evaluators."""

import numpy as np
import optuna
import pytest
from answering import measured, rows_of, uniform
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

from study.importance import importance
from study.response import LEAST_R2, fit


def shares(settings, values, space=None):
    rows = rows_of(settings)
    found = importance(fit(rows, space or {}, ("gap",), measured(rows, gap=values)), "gap")
    return found, {share.parameter: share for share in found.shares}


def test_an_additive_function_divides_as_in_closed_form():
    """2a + b over the unit square: variances 4/12 and 1/12, so that a has 4/5, b 1/5, c nothing; none interact."""
    settings = uniform(300)
    found, own = shares(settings, 2 * settings["a"] + settings["b"])
    assert [share.parameter for share in found.shares] == ["a", "b", "c"]
    for name, share in (("a", 0.8), ("b", 0.2), ("c", 0.0)):
        assert own[name].total == pytest.approx(share, abs=0.04)
        assert own[name].alone == pytest.approx(share, abs=0.04)
        assert 0 <= own[name].low <= own[name].total <= own[name].high <= 1
    assert found.r2 > 0.95
    assert found.reason is None


def test_what_settings_make_together_counts_for_both():
    """(a - 1/2)(b - 1/2) has no course over either alone: first-order shares 0, total shares 1."""
    settings = uniform(300)
    _, own = shares(settings, (settings["a"] - 0.5) * (settings["b"] - 0.5))
    for name in "ab":
        assert own[name].alone < 0.05
        assert own[name].total > 0.9
    assert own["c"].total < 0.05


def test_the_ishigami_functions_shares():
    """Ishigami and Homma 1990; Saltelli et al. 2008, eq. 4.34: first-order .31, .44, 0; total .56, .44, .24.

    A forest of 400 trials smooths the function's three periods: the tolerance is wide, the order of the shares is not.
    """
    settings = uniform(400)
    x, y, z = (np.pi * (2 * settings[name] - 1) for name in "abc")
    found, own = shares(settings, np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x))
    assert [share.parameter for share in found.shares] == ["a", "b", "c"]
    for name, total in (("a", 0.56), ("b", 0.44), ("c", 0.24)):
        assert own[name].total == pytest.approx(total, abs=0.15)
    assert own["c"].alone < 0.05
    assert own["c"].total - own["c"].alone > 0.05


def response_of(lr, epochs, rank, targets):
    """As gaps look: steps in the product of several settings, and a choice that shifts them."""
    strength = np.log10(lr) + np.log10(epochs) - 0.5 * np.log10(rank) + 0.5 * (targets == "attn")
    return 0.5 / (1 + np.exp(4 * (strength + 3)))


def drawn(count, seed):
    generator = np.random.default_rng(seed)
    return {
        "lr": 10 ** generator.uniform(-4, -2, count),
        "epochs": generator.choice([1, 2, 4], count),
        "rank": generator.choice([2, 8], count),
        "targets": generator.choice(["ffn", "attn", "head"], count),
    }


LOG = {"methods": {"neglora": {"lr": {"log": [1e-4, 1e-2]}}}}


def test_shares_agree_with_an_ablation_of_the_function_itself():
    """Drawing one setting anew and keeping the others changes the value by twice the total share (Jansen 1999)."""
    settings = drawn(400, 0)
    _, own = shares(settings, response_of(**settings), LOG)
    one, other = drawn(50_000, 1), drawn(50_000, 2)
    value = response_of(**one)
    assert len(own) == 4
    for name in own:
        changed = response_of(**(one | {name: other[name]}))
        assert own[name].total == pytest.approx(np.mean((value - changed) ** 2) / 2 / value.var(), abs=0.07)


def optuna_study(settings, values, distributions, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for index, value in enumerate(values):
        own = {name: column[index] for name, column in settings.items() if column[index] is not None}
        own = {name: getattr(item, "item", lambda item=item: item)() for name, item in own.items()}
        kept = {name: distributions[name] for name in own}
        study.add_trial(optuna.trial.create_trial(params=own, distributions=kept, value=float(value)))
    return study


def test_shares_alone_agree_with_optunas_fanova_where_nothing_is_conditional():
    settings = uniform(200)
    values = 2 * settings["a"] + settings["b"] + 2 * (settings["a"] - 0.5) * settings["c"]
    _, own = shares(settings, values)
    unit = optuna.distributions.FloatDistribution(0, 1)
    theirs = FanovaImportanceEvaluator(n_trees=16, seed=0).evaluate(
        optuna_study(settings, values, dict.fromkeys("abc", unit))
    )
    assert set(theirs) == set("abc")
    for name, share in theirs.items():
        assert own[name].alone == pytest.approx(float(share), abs=0.06)


def test_a_conditional_parameter_that_drives_its_method_is_found_where_optuna_gives_it_nothing():
    """Only neglora has dropout, which makes nearly all of its differences; neggrad is always better. PED-ANOVA compares
    the best trials with all, of which none has dropout: 0. Optuna's fANOVA leaves it out."""
    generator = np.random.default_rng(0)
    lr, is_neglora, dropout = generator.random(200), generator.random(200) < 0.5, generator.random(200)
    values = np.where(is_neglora, 0.2 + 0.5 * dropout, 0.1) + 0.02 * lr
    together = {
        "method": np.where(is_neglora, "neglora", "neggrad"),
        "lr": lr,
        "dropout": [value if own else None for value, own in zip(dropout, is_neglora, strict=True)],
    }
    unit = optuna.distributions.FloatDistribution(0, 1)
    names = optuna.distributions.CategoricalDistribution(["neggrad", "neglora"])
    study = optuna_study(together, values, {"method": names, "lr": unit, "dropout": unit})
    assert PedAnovaImportanceEvaluator().evaluate(study)["dropout"] == 0.0
    assert "dropout" not in FanovaImportanceEvaluator(n_trees=4, seed=0).evaluate(study)
    _, own = shares({"lr": lr[is_neglora], "dropout": dropout[is_neglora]}, values[is_neglora])
    assert own["dropout"].low > 0.9
    assert own["lr"].high < 0.1


def test_not_having_a_parameter_is_a_level_of_it():
    """The half of the trials without alpha is worse by .4: all of the differences are alpha's."""
    generator = np.random.default_rng(0)
    has = generator.random(200) < 0.5
    settings = {"alpha": [float(a) if own else None for a, own in zip(generator.random(200), has, strict=True)]}
    settings["lr"] = generator.random(200)
    _, own = shares(settings, np.where(has, 0.1, 0.5) + 0.001 * settings["lr"])
    assert own["alpha"].total > 0.95
    assert own["lr"].total < 0.05


def test_a_range_of_logarithms_is_even_in_the_logarithm():
    """A step at 1e-3 halves (1e-4, 1e-2) in the logarithm and leaves a tenth of it below otherwise."""
    generator = np.random.default_rng(0)
    lr, other = 10 ** generator.uniform(-4, -2, 300), generator.random(300)
    # lr has variance 1/4 where halves are even, other 1/12: 3/4 and 1/4. Evenly over the numbers, lr would have .52.
    _, own = shares({"lr": lr, "other": other}, (lr > 1e-3) + other, LOG)
    assert own["lr"].total == pytest.approx(0.75, abs=0.04)


def test_nothing_is_claimed_of_noise():
    claims = 0
    for seed in range(10):
        settings = uniform(30 + 10 * seed, "abcd", seed)
        found, own = shares(settings, np.random.default_rng(100 + seed).normal(size=len(settings["a"])))
        claims += bool(own)
        assert bool(own) == (found.r2 >= LEAST_R2)
        assert "of the differences between trials" in found.reason
    assert claims == 0


def test_weak_trials_have_wider_intervals():
    settings = uniform(300)
    values = settings["a"] + settings["b"] + np.random.default_rng(1).normal(size=300) / 10
    few = {name: column[:40] for name, column in settings.items()}
    (_, own), (_, fewer) = shares(settings, values), shares(few, values[:40])
    assert fewer["a"].high - fewer["a"].low > 1.5 * (own["a"].high - own["a"].low)


def test_too_few_trials_say_nothing():
    rows = rows_of(uniform(19))
    assert fit(rows, {}, ("gap",), measured(rows, gap=rows["param_a"])) == "19 trials measured in full, fewer than 20"
    rows = rows_of(uniform(40))
    values = measured(rows, gap=[0.1] * 15 + [np.nan] * 25)
    assert fit(rows, {}, ("gap",), values) == "15 trials measured in full, fewer than 20"


def test_trials_that_are_all_alike_say_nothing():
    rows = rows_of(uniform(30))
    assert fit(rows, {}, ("gap",), measured(rows, gap=[0.1] * 30)) == "all trials came out alike"
    rows = rows_of({"lr": [1e-3] * 30})
    assert fit(rows, {}, ("gap",), measured(rows, gap=range(30))) == "all trials have the same settings"


def test_several_metrics_are_explained_by_one_forest():
    """UA is all a's, RA is all b's; MIA does not vary."""
    rows = rows_of(uniform(200))
    response = fit(rows, {}, ("ua", "ra", "mia"), measured(rows, ua=rows["param_a"], ra=rows["param_b"], mia=1.0))
    for metric, name in (("ua", "a"), ("ra", "b")):
        first = importance(response, metric).shares[0]
        assert first.parameter == name
        assert first.total > 0.9
    assert importance(response, "mia").reason == "all trials came out alike"


def test_the_same_trials_in_another_order_give_the_same_shares():
    settings = uniform(60)
    values = settings["a"] * settings["b"]
    rows = rows_of(settings)
    back = rows.iloc[::-1]
    one = importance(fit(rows, {}, ("gap",), measured(rows, gap=values)), "gap")
    other = importance(fit(back, {}, ("gap",), measured(rows, gap=values)), "gap")
    assert one == other


def test_runs_that_differ_in_epochs_alone_are_seen_or_not_together():
    """Noise that both snapshots of a run share would pass for something that settings explain."""
    generator = np.random.default_rng(0)
    lr, noise = np.repeat(generator.random(40), 2), np.repeat(generator.normal(size=40), 2)
    found, own = shares({"lr": lr, "epochs": [1, 2] * 40}, noise)
    assert found.r2 < LEAST_R2
    assert not own


def test_intervals_hold_the_true_share_more_often_than_not():
    """Not in 95% of studies: a forest's own bias is in no interval."""
    held = []
    for seed in range(10):
        settings = uniform(100, seed=seed)
        noise = np.random.default_rng(100 + seed).normal(size=100) / 4
        _, own = shares(settings, 2 * settings["a"] + settings["b"] + noise)
        held += [own[name].low <= share <= own[name].high for name, share in (("a", 0.8), ("b", 0.2))]
    assert sum(held) >= 12
