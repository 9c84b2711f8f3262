"""Handmade records: studies that never ran, with the shape that the ledger gives them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from neglora.objectives import GAP_METRICS, gap_to_reference, tug_of_war
from neglora.record import Record, mean_measured, trial_id
from study.aggregate import trials_table
from study.recommend import recommend

RETRAIN = {"ua": 1.0, "ra": 1.0, "ta": 0.97, "mia": 1.0}
COUNTS = {"forget": 128, "retain": 1129, "test": 243, "test_report": 243, "test_forget": 55}
PROVENANCE = {
    "neglora": "0.1.0",
    "python": "3.11.2",
    "torch": "2.10.0",
    "timm": "1.0.20",
    "peft": "0.18.0",
    "optuna": "5.0.0",
    "ray": "2.60.0",
    "numpy": "2.4.6",
    "revision": "0123abc",
    "host": "handmade",
    "time": "2026-01-02T03:04:05+00:00",
}


def study(**changes: Any) -> dict[str, Any]:
    """A resolved space as study.yaml holds it."""
    space: dict[str, Any] = {
        "study": "handmade",
        "datasets": ["digits"],
        "models": ["tinyvit_nano"],
        "replicates": {"forget": [3], "seeds": [0]},
        "selection": {"holdout": 0.5, "seed": 0},
        "objectives": ["ua", "ra", "ta", "mia"],
        "constraints": {},
        "search": {"sampler": "tpe", "trials": 16, "seed": 0, "batch": 4},
        "resources": {"cpus": 1, "gpus": 0},
        "methods": {"neggrad": {}, "partial_neggrad": {}, "neglora": {}},
        "axes": {},
        "training": {},
    }
    return space | changes


def values(ua: float = 1.0, ra: float = 1.0, ta: float = 0.97, mia: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """Metrics with the distances that follow from them."""
    four = {"ua": ua, "ra": ra, "ta": ta, "mia": mia}
    return {
        **four,
        "ua_test": ua,
        "runner_up": 0.25,
        "gap": gap_to_reference(four, RETRAIN),
        "tow": tug_of_war(four, RETRAIN),
        "rte": 0.02,
        "rte_epoch": 0.15,
        "speedup": 50.0,
        "mia_accuracy": 0.6,
        "mia_auc": 0.62,
        "mia_has_signal": True,
    } | more


def replicate(metrics: dict[str, Any], report: dict[str, Any], forget: Any = 3, seed: int = 0, **more: Any) -> dict:
    """One replicate as the runner records it."""
    side = {"n_per_side": 243, "accuracy": 0.6, "auc": 0.62, "auc_low": 0.57, "auc_high": 0.67, "has_signal": True}
    seen = evidence(report or metrics)
    return {
        "forget": forget,
        "seed": seed,
        "status": "ok",
        "reason": None,
        "metrics": metrics,
        "report": report,
        "cost": {
            "unlearn_seconds": 0.5,
            "prefix_seconds": 0.1,
            "evaluate_seconds": 1.5,
            "attack_seconds": 0.25,
            "peak_memory_bytes": 2**28,
            "trainable_parameters": 9216,
            "device": "cpu",
            "threads": 1,
        },
        "details": {
            "counts": COUNTS,
            "attack": {"selection": side, "report": side | {"non_member": [[0.0, 0.42]]}},
            **seen,
            "sparsity": {"before": 0.0, "after": 0.0, "merged": 0.0},
            "loss_before": 0.01,
            "loss_after": 12.0,
            "steps": 8,
            "epochs": 2,
        },
    } | more


def evidence(of: dict[str, Any], forget: int = 3, classes: int = 10) -> dict[str, Any]:
    """What a full measurement keeps of single images, in keeping with its metrics as far as rounding lets it.

    The classes beside the forgotten one pay more than the others.
    """
    if any(of.get(name) is None for name in ("ua", "ra", "ta")):
        return {}
    named = [f"digit {index}" for index in range(classes)]
    train = [126 if index < 3 else 125 for index in range(classes)]
    train[forget] = COUNTS["forget"]
    test = [27] * classes
    test[forget] = COUNTS["test_forget"]

    def right(totals: list[int], kept: float, forgot: float) -> list[int]:
        shares = [kept - (0.02 if abs(index - forget) == 1 else 0.0) for index in range(classes)]
        shares[forget] = 1 - forgot
        return [round(total * min(max(share, 0.0), 1.0)) for total, share in zip(totals, shares, strict=True)]

    trained = right(train, of["ra"], of["ua"])
    gone = COUNTS["forget"] - trained[forget]
    called = [0] * classes
    called[forget], called[(forget + 5) % classes] = trained[forget], gone - gone // 4
    called[(forget + 2) % classes] += gone // 4
    return {
        "class_names": named,
        "classes": {
            "train": {"right": trained, "total": train},
            "test": {"right": right(test, of["ta"], of.get("ua_test") or 0.0), "total": test},
        },
        "called": called,
        "confidences": {
            "forget": _bins(COUNTS["forget"], 1 - of["ua"]),
            "retain": _bins(COUNTS["retain"], of["ra"]),
            "test": _bins(COUNTS["test_report"], of["ta"]),
        },
    }


def _bins(total: int, high: float, bins: int = 20) -> list[int]:
    """A histogram over [0, 1] with that share in its upper half, most of it at the ends."""
    upper = round(total * min(max(high, 0.0), 1.0))
    counts = [0] * bins
    counts[-1], counts[-2] = upper - upper // 5, upper // 5
    counts[0], counts[1] = total - upper - (total - upper) // 5, (total - upper) // 5
    return counts


def record(
    number: int = 0,
    *,
    method: str = "neglora",
    metrics: dict[str, Any] | None = None,
    report: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    status: str = "ok",
    dataset: str = "digits",
    model: str = "tinyvit_nano",
    axes: dict[str, Any] | None = None,
    replicates: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Record:
    """One record; by default a trial that is level with Retrain."""
    cell = {"dataset": dataset, "model": model, "method": method, **(axes or {})}
    if status != "ok":
        metrics = report = {}
        replicates = replicates or []
    if replicates is None:
        metrics = values() if metrics is None else metrics
        features = {
            f"mia_{name}": metrics.get("mia") for name in ("correctness", "entropy", "modified_entropy", "full")
        }
        report = {**metrics, **features} if report is None else report
        replicates = [replicate(metrics, report)]
    elif replicates:
        metrics = mean_measured([item["metrics"] for item in replicates])
        report = mean_measured([item["report"] for item in replicates])
    cost = dict(replicates[0]["cost"]) if replicates else {}
    params = {"lr": 1e-3, "epochs": 2, "sparsity": 0.0} if params is None else params
    return Record(
        trial=trial_id(cell, number),
        cell=cell,
        params=params | (axes or {}),
        status=status,
        metrics=metrics,
        report=report,
        replicates=replicates,
        cost=cost,
        provenance=PROVENANCE,
        **more,
    )


def retrain(
    dataset: str = "digits",
    model: str = "tinyvit_nano",
    sparsities: tuple[float, ...] = (0.0, 0.9),
    seeds: tuple[int, ...] = (0,),
) -> Record:
    """The oracle's record, with the bases at every sparsity."""
    own = values(**RETRAIN, ua_test=1.0, runner_up=0.1, rte=1.0, rte_epoch=1.0, speedup=1.0)
    bases = [
        {
            "sparsity": level,
            "metrics": values(0.0, 1.0 - level / 100, 0.98, 0.05, rte=None, rte_epoch=None, speedup=None),
            "report": values(0.0, 1.0 - level / 100, 0.975, 0.05, rte=None, rte_epoch=None, speedup=None),
            "cost": {"train_seconds": 25.0 if level == 0 else 8.0},
            "parameters": 550_000,
            "details": evidence(values(0.0, 1.0 - level / 100, 0.975))
            | {"attack": {"report": {"has_signal": True, "non_member": [[0.0, 0.875]]}}},
        }
        for level in sparsities
    ]
    cost = {
        "unlearn_seconds": 25.0,
        "evaluate_seconds": 1.5,
        "peak_memory_bytes": 2**29,
        "trainable_parameters": 550_000,
        "device": "cpu",
        "threads": 1,
    }
    features = {"mia_correctness": 1.0, "mia_entropy": 0.98, "mia_modified_entropy": 1.0, "mia_full": 1.0}
    return record(
        method="retrain",
        params={},
        dataset=dataset,
        model=model,
        replicates=[replicate(own, own | features, seed=seed, cost=cost, bases=bases) for seed in seeds],
    )


_PARAMS: dict[str, dict[str, list[Any]]] = {
    "neggrad": {},
    "partial_neggrad": {},
    "neglora": {
        "rank": [2, 4, 8, 16],
        "alpha": [8, 16, 32],
        "targets": ["ffn", "last.ffn", "attn", "last.attn_out+head"],
        "dropout": [0.1],
        "merge": ["dense"],
    },
}
_HARM = {"neggrad": 0.25, "partial_neggrad": 0.05, "neglora": 0.02}


def searched(
    trials: int = 16,
    seeds: tuple[int, ...] = (0,),
    dataset: str = "digits",
    model: str = "tinyvit_nano",
    axes: dict[str, Any] | None = None,
) -> list[Record]:
    """A study with three methods whose trade-offs look like those of a real one; the same for the same arguments."""
    generator = random.Random(f"{dataset} {model}")
    records = [retrain(dataset, model, seeds=seeds)]
    for number in range(trials):
        for method, own in _PARAMS.items():
            strength = generator.random()
            params = {"lr": 10 ** generator.uniform(-4, -2), "epochs": generator.choice([1, 2]), "batch_size": 32}
            params |= {"batchnorm": "frozen", "sparsity": generator.choice([0.0, 0.9])}
            params |= {name: generator.choice(choices) for name, choices in own.items()}
            if method == "neggrad" and number % 11 == 5:
                reason = "the loss was not finite at step 6 of 8"
                records.append(
                    record(
                        number, method=method, params=params, status="diverged", reason=reason, dataset=dataset,
                        model=model, axes=axes,
                    )
                )  # fmt: skip
                continue
            replicates = []
            for seed in seeds:
                noise = generator.uniform(-0.005, 0.005) if len(seeds) > 1 else 0.0
                ua = _share(2 * strength + noise, COUNTS["forget"])
                ra = _share(1 - _HARM[method] * strength**3 * 3 + noise, COUNTS["retain"])
                ta = _share(0.98 - _HARM[method] * strength**2 * 3 + noise, COUNTS["test"])
                mia = _share(1.8 * strength + noise, COUNTS["forget"])
                selection = values(ua, ra, ta, mia, mia_has_signal=strength > 0.1)
                report = values(ua, ra, _share(ta - 0.008, COUNTS["test"]), mia, mia_has_signal=strength > 0.1)
                report |= {"mia_correctness": ua, "mia_entropy": mia, "mia_modified_entropy": mia, "mia_full": mia}
                replicates.append(replicate(selection, report, seed=seed))
            records.append(
                record(
                    number, method=method, params=params, replicates=replicates, dataset=dataset, model=model, axes=axes
                )
            )
    return records


def grid(
    trials: int = 12,
    seeds: tuple[int, ...] = (0, 1, 2),
    datasets: tuple[str, ...] = ("digits", "cifar10"),
    models: tuple[str, ...] = ("tinyvit_nano", "resnet_nano"),
) -> list[Record]:
    """Several datasets x models x the three methods, each configuration on several seeds. For `study(**GRID)`."""
    return [
        one for dataset in datasets for model in models for one in searched(trials, seeds, dataset=dataset, model=model)
    ]


GRID: dict[str, Any] = {
    "study": "grid",
    "datasets": ["digits", "cifar10"],
    "models": ["tinyvit_nano", "resnet_nano"],
    "replicates": {"forget": [3], "seeds": [0, 1, 2]},
}

#: The search's samples, and what a look at them leaves open.
SAMPLES = {"retain_samples": 200, "test_samples": 100, "probe_samples": 50, "prefix_gib": 2.0}
CONFIRM = {"forget": [5, 8], "seeds": [0, 1]}
STAGED = {"evaluation": {"batch_size": 64, "attacks": "all", **SAMPLES}, "confirm": CONFIRM}
AT_CHANCE = "its accuracy of 11.0% on 50 retained images is that of chance among 9 classes: it was not measured further"


def searched_line(own: Record, **changes: Any) -> Record:
    """What the search saw of a trial that was later measured in full: RA and TA of fewer images, no report half."""
    metrics = own.metrics | {"ra": _share(own.metrics["ra"], 200), "ta": _share(own.metrics["ta"], 100)} | changes
    counts = COUNTS | {"retain": 200, "test": 100}
    around = {name: [max(metrics[name] - 0.05, 0.0), min(metrics[name] + 0.05, 1.0)] for name in ("ra", "ta", "mia")}
    replicates = [
        item
        | {"metrics": metrics, "report": {}}
        | {"details": item["details"] | {"counts": counts, "intervals": {"ua": [metrics["ua"]] * 2} | around}}
        for item in own.replicates
    ]
    return replace(own, fidelity="search", metrics=metrics, report={}, replicates=replicates)


def confirmed_line(own: Record, pairs: list[tuple[Any, int, dict[str, Any]]], **changes: Any) -> Record:
    """A trial, or Retrain, on unseen pairs: (forget set, seed, values on both halves)."""
    replicates = [replicate(given, given, forget, seed) for forget, seed, given in pairs]
    metrics = mean_measured([item["metrics"] for item in replicates])
    known = {"fidelity": "confirm", "replicates": replicates, "metrics": metrics, "report": metrics}
    return replace(own, **(known | changes))


def staged(trials: int = 16, **more: Any) -> list[Record]:
    """`searched`, measured in stages: a search line of every trial, a full one of some, and a confirmation of each
    method's recommended one, which that of NegGrad does not stand."""
    oracle, *tried = searched(trials, **more)
    rows = trials_table(tried)
    chosen = {recommend(own).trial for _, own in rows.groupby("method")} | {recommend(rows).trial}
    in_full = chosen | {one.trial for one in tried if one.status == "ok" and one.number % 6 == 0}
    records = [oracle]
    for one in tried:
        if one.status != "ok":
            records.append(one)
        elif one.metrics["ra"] < 0.75 and one.trial not in in_full:
            records.append(replace(searched_line(one, ra=0.11, ta=0.12, gap=0.45), reason=AT_CHANCE))
        else:
            records.append(searched_line(one))
    records += [one for one in tried if one.trial in in_full]
    unseen = [(forget, seed) for forget in CONFIRM["forget"] for seed in CONFIRM["seeds"]]
    marks = [values(1.0, 1.0, 0.975 - 0.004 * place, 0.98, gap=0.0, tow=1.0) for place in range(len(unseen))]
    records.append(confirmed_line(oracle, [(*pair, mark) for pair, mark in zip(unseen, marks, strict=True)]))
    for one in tried:
        if one.trial in chosen:
            lower = 0.2 if one.cell["method"] == "neggrad" else 0.004
            pairs = [(*pair, _below(mark, lower)) for pair, mark in zip(unseen, marks, strict=True)]
            records.append(confirmed_line(one, pairs))
    return records


def _below(mark: dict[str, Any], by: float) -> dict[str, Any]:
    own = {name: mark[name] - by for name in GAP_METRICS}
    return values(**own) | {"gap": gap_to_reference(own, mark), "tow": tug_of_war(own, mark)}


def _share(value: float, count: int) -> float:
    return round(min(max(value, 0.0), 1.0) * count) / count


def write_study(folder: Path, records: list[Record], **changes: Any) -> Path:
    """A study directory with study.yaml and ledger.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study(**changes), sort_keys=False), encoding="utf-8")
    lines = "".join(item.to_line() + "\n" for item in records)
    (folder / "ledger.jsonl").write_text(lines, encoding="utf-8")
    return folder


__all__ = [
    "GAP_METRICS",
    "GRID",
    "STAGED",
    "confirmed_line",
    "evidence",
    "grid",
    "record",
    "replicate",
    "retrain",
    "searched",
    "searched_line",
    "staged",
    "study",
    "values",
    "write_study",
]
