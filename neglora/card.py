"""The card of an unlearned model: what it is, how it was made, how it measures, and how to load it. Plain data."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from neglora.artifacts import Artifact
from neglora.data import ForgetSet, ImageDataset
from neglora.intervals import wilson
from neglora.lora import Adapter
from neglora.models import find_model
from neglora.objectives import AUDIT_METRICS
from neglora.provenance import provenance
from neglora.record import Measured, forget_title
from neglora.replicate import measure_base, reference
from neglora.session import Session
from neglora.setting import Setting

#: Which part of the images each share was measured on. The attack's own figures are no shares of one part.
MEASURED_ON = {
    "ua": "forget",
    "ra": "retain",
    "ta": "test_report",
    "mia": "forget",
    "ua_test": "test_forget",
    "runner_up": "forget",
    **dict.fromkeys(AUDIT_METRICS, "test_forget"),
}
SHOWN = ("ua", "mia", "ra", "ta", "ua_test", "runner_up", "gap", "tow")


def result_of(
    session: Session,
    setting: Setting,
    method: str,
    params: Mapping[str, Any],
    forget: ForgetSet,
    replicate: Mapping[str, Any],
) -> dict[str, Any]:
    """What `neglora unlearn --json` prints: a replicate's report half beside base and Retrain.

    Args:
        session: holds the base; Retrain where it was made.
        setting, method, params: what was run.
        forget: the forget set of the replicate.
        replicate: as `run_replicate` gives it.
    """
    seed = replicate["seed"]
    base, _ = measure_base(session, setting, forget, seed, params.get("sparsity", 0.0))
    retrained = reference(session, setting, forget, seed)
    named = forget.named(session.dataset(setting).info)
    surroundings = {"dataset": setting.dataset, "model": setting.model, "method": method, "forget": named}
    return {
        "metrics": replicate["report"],
        "base": base["report"],
        "retrain": retrained[0].report | {"gap": 0.0, "tow": 1.0} if retrained else None,
        "params": surroundings | {"seed": seed, "holdout": setting.holdout} | dict(params),
        "cost": replicate["cost"],
        "selection": replicate["metrics"],
        "details": replicate["details"],
    }


def card(
    result: Mapping[str, Any],
    *,
    setting: Setting,
    dataset: ImageDataset,
    forget: ForgetSet,
    base: Artifact | None,
    adapter: Adapter | None,
    merge: str | None,
) -> dict[str, Any]:
    """What `card.json` holds.

    Args:
        result: `metrics`, `base`, `retrain`, `params`, `cost`, `selection` and `details`, as `neglora unlearn --json`
            prints them, and whatever else is to be kept, such as the trial's id, or `confirmed`: in `words` and
            numbers, what the configuration came to on pairs that its search never saw; or `scale`: the one that is
            `written` and the one that was `recorded`, of a model that the record is not of.
        setting: the surroundings.
        dataset: the loaded dataset.
        forget: what was forgotten.
        base: the artifact that unlearning started from; None for Retrain.
        adapter: what was merged; None for a method without one.
        merge: `dense` or `masked`, of a method that merges.
    """
    info = dataset.info
    entry = find_model(setting.model)
    taken = entry.options if entry else ()
    names = [info.classes[index] for index in forget.classes]
    return {
        **result,
        "intervals": intervals(result["metrics"], result["details"]["counts"]),
        "forget": {"set": forget.plain, "classes": names, "title": forget_title(names or forget.plain)},
        "dataset": {
            "name": info.name,
            "fingerprint": dataset.fingerprint,
            "classes": list(info.classes),
            "image_size": info.image_size,
            "channels": info.channels,
            "mean": list(dataset.mean),
            "std": list(dataset.std),
        },
        "model": {
            "name": setting.model,
            "architecture": {name: value for name, value in setting.architecture.items() if name in taken},
            "weights": setting.weights,
            "base": base.key if base else None,
        },
        "setting": asdict(setting),
        "adapter": None
        if adapter is None
        else {
            "layers": list(adapter.layers),
            "rank": adapter.rank,
            "alpha": adapter.alpha,
            "scale": adapter.scale,
            "merge": merge,
        },
        "provenance": provenance(),
    }


def intervals(metrics: Measured, counts: Mapping[str, int]) -> dict[str, list[float]]:
    """Wilson's 95% intervals `[low, high]` of the shares that were measured."""
    found = {}
    for name, part in MEASURED_ON.items():
        share = metrics.get(name)
        if share is not None and counts.get(part):
            found[name] = list(wilson(float(share), counts[part]))
    return found


def card_markdown(card: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The card for people, as `README.md` holds it.

    Args:
        card: from `card`.
        files: what lies beside it, by name, with a sentence each.
    """
    model, data, forget, params = card["model"], card["dataset"], card["forget"], card["params"]
    title = f"{model['name']} on {data['name']} without {forget['title']}"
    sections = [
        f"# {_text(title)}",
        _opening(card),
        "## Measured\n\n" + _table(card),
        *_carried(card),
        "## Settings\n\n" + "\n".join(f"- {name}: {_text(_value(value))}" for name, value in params.items()),
        "## Files\n\n" + "\n".join(f"- `{name}`: {about}" for name, about in files.items()),
        "## Load it\n\n" + _snippets(card, files),
        "## Where it comes from\n\n" + _origin(card),
    ]
    return "\n\n".join(sections) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    cost, counts = card["cost"], card["details"]["counts"]
    lines = [
        f"`{card['params']['method']}` unlearned {counts['forget']:,} training images and kept {counts['retain']:,}."
    ]
    if cost.get("unlearn_seconds") is not None:
        lines.append(
            f"It took {cost['unlearn_seconds']:.3g} s on {cost['device']} with {cost['threads']} thread(s) and "
            f"{cost['trainable_parameters']:,} trained parameters."
        )
    lines += _scaled(card)
    checked = card.get("checked")
    if checked:
        lines.append(checked["words"])
    return " ".join(lines)


def _scaled(card: Mapping[str, Any]) -> list[str]:
    """How much of the ascent's update the model has, where that is not all of it or not what was recorded."""
    scale = card.get("scale")
    if scale:
        return [
            f"This is the model at {scale['written']:g} of the ascent's update, which was chosen afterwards: the "
            f"record is of the model at {scale['recorded']:g}, and all numbers here are of this one."
        ]
    retraction = card["details"].get("retraction")
    if not retraction:
        return []
    return [f"It was then retracted to {retraction['scale']:g} of the ascent's update (`retract`)."]


def _table(card: Mapping[str, Any]) -> str:
    retrain, bounds = card["retrain"], card["intervals"]
    lines = ["| % | base | unlearned | 95% interval | Retrain |", "|---|---:|---:|:---:|---:|"]
    for name in (*SHOWN, *(name for name in AUDIT_METRICS if name in card["metrics"])):
        between = bounds.get(name)
        cells = [
            name.upper(),
            _percent((card["base"] or {}).get(name)),
            _percent(card["metrics"].get(name)),
            f"{100 * between[0]:.2f} to {100 * between[1]:.2f}" if between else "",
            _percent((retrain or {}).get(name)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    counts = card["details"]["counts"]
    note = (
        f"UA, MIA and RUNNER_UP on {counts['forget']:,} forgotten training images, RA on {counts['retain']:,} retained "
        f"ones, TA on {counts['test_report']:,} test images that no search saw"
        if card["setting"]["holdout"] > 0
        else f"UA, MIA and RUNNER_UP on {counts['forget']:,} forgotten training images, RA on {counts['retain']:,} "
        f"retained ones, TA on {counts['test_report']:,} test images: the whole test set"
    )
    signal = card["metrics"].get("mia_has_signal")
    remark = "" if signal else " MIA is noise here: the attack cannot tell retained from test images."
    return "\n".join(lines) + f"\n\n{note}. The interval is Wilson's.{remark}"


def _carried(card: Mapping[str, Any]) -> list[str]:
    """How the configuration did on forget sets and seeds that its search never saw, where it was tried on any."""
    found = card.get("confirmed")
    if not found:
        return []
    lines = [f"## On what the search never saw\n\n{_text(found['words'])}"]
    values = {**found["report"], "gap": found["gap"]}
    measured = [name for name in ("ua", "mia", "ra", "ta", "gap") if values.get(name) is not None]
    if measured:
        table = [
            "| mean % | " + " | ".join(name.upper() for name in measured) + " |",
            "|---|" + "---:|" * len(measured),
        ]
        table.append("| unseen | " + " | ".join(_percent(values[name]) for name in measured) + " |")
        lines.append("\n".join(table))
    tried = [f"{forget_title(pair['forget'])} with seed {pair['seed']}" for pair in found["pairs"]]
    return ["\n\n".join([*lines, f"Tried on: {_text(', '.join(tried))}."])] if tried else lines


def _snippets(card: Mapping[str, Any], files: Mapping[str, str]) -> str:
    model, data = card["model"], card["dataset"]
    build = (
        f"build_model({model['name']!r}, num_classes={len(data['classes'])}, image_size={data['image_size']}, "
        f"channels={data['channels']}, seed=0, options={model['architecture']!r})"
    )
    merged = (
        "```python\nfrom safetensors.torch import load_file\nfrom neglora.models import build_model\n\n"
        f'model = {build}\nmodel.load_state_dict(load_file("model.safetensors"))\n```'
    )
    inputs = (
        f"Images are resized to {data['image_size']} x {data['image_size']} pixels, scaled to [0, 1], and normalized "
        f"with mean {data['mean']} and standard deviation {data['std']}. Classes are in the order of `card.json`."
    )
    parts = [merged, inputs]
    if "adapter/" in files:
        parts.append(
            "The base and the adapter, which can be taken off again:\n\n"
            "```python\nfrom peft import PeftModel\n\n"
            f'base = {build}\nbase.load_state_dict(load_file("base.safetensors"))\n'
            'model = PeftModel.from_pretrained(base, "adapter").eval()\n```'
        )
    elif card["adapter"] and card["adapter"]["merge"] == "masked":
        parts.append(
            "There is no adapter beside it: the update was merged inside the mask of a pruned base (`merge: masked`), "
            "so that base plus adapter would be another model."
        )
    return "\n\n".join(parts)


def _origin(card: Mapping[str, Any]) -> str:
    made, data = card["provenance"], card["dataset"]
    lines = [f"- {name}: {_code(card[name])}" for name in ("study", "trial") if card.get(name)]
    lines += [
        f"- data: {_text(data['name'])}, SHA-256 `{data['fingerprint']}`",
        f"- base: `{card['model']['base']}`"
        + (f", from the weights {_code(str(card['model']['weights']))}" if card["model"]["weights"] else ""),
        "- versions: "
        + ", ".join(f"{name} {made[name]}" for name in ("neglora", "torch", "timm", "peft") if made.get(name)),
        f"- written: {made['time']} on {made['host']}",
    ]
    if card.get("command"):
        lines.append(f"- the same again: {_code(card['command'])}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    """A text from data as Markdown shows it: nothing in it is a tag, a link or emphasis."""
    # An underscore within a word is none.
    return re.sub(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _code(text: str) -> str:
    """A text from data as a code span, in a fence that is longer than any within it."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"
