"""The study of `trials_per_hour.py` as one writes it oneself today: a function for Ray Tune, as its guide shows it.

    python benchmarks/as_a_user_would.py PLAN.json --to RESULTS.json

A trial loads data and base from disk, adapts with peft, ascends, evaluates every split in full and fits scikit-learn's
SVC. From this project it takes what everybody has helpers for: reading the images, the splits, the model's definition,
names of layers and features of predictions; the seeds are the same, so that the numbers can be compared. Source of the
form: Ray's user guide, "Running Basic Tune Experiments".

`PLAN.json` is written by `trials_per_hour.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy
import ray
import torch
from peft import LoraConfig, get_peft_model
from ray import tune
from safetensors.torch import load_file
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional

from neglora.data import DataOptions, find_dataset, split
from neglora.metrics import FEATURES
from neglora.models import build_model, match_targets
from neglora.seeds import derive_seed

#: Logits `[n, classes]` and labels `[n]`.
Outputs = tuple[Tensor, Tensor]


def unlearn_and_measure(config: dict[str, Any]) -> dict[str, Any]:
    """One trial: all that Tune calls."""
    began = time.time()
    plan, configuration = config["plan"], config["configuration"]
    seed, params = plan["seed"], configuration["params"]
    dataset = find_dataset(plan["dataset"]).load(DataOptions())
    splits = split(dataset, plan["forget"], holdout=plan["holdout"], seed=plan["split_seed"])
    info = dataset.info
    model = build_model(
        plan["model"], num_classes=info.num_classes, image_size=info.image_size, channels=info.channels, seed=0
    )
    tensors = load_file(plan["bases"][str(params["sparsity"])])
    masks = {name.removeprefix("mask:"): tensor for name, tensor in tensors.items() if name.startswith("mask:")}
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("mask:")})
    loaded = time.time()

    order = derive_seed(seed, "order", "forget")
    batches = dataset.train(splits.forget, batch_size=params["batch_size"], seed=order)
    model = METHODS[configuration["method"]](model, batches, params, masks, seed)
    unlearned = time.time()

    size = plan["batch_size"]
    forget = infer(model, dataset.train(splits.forget, batch_size=size))
    retain = infer(model, dataset.train(splits.retain, batch_size=size))
    selection = infer(model, dataset.test(splits.test, batch_size=size))
    report = infer(model, dataset.test(splits.test_report, batch_size=size))
    inferred = time.time()
    measured = {
        "selection": measure(forget, retain, selection, seed, ["mia"]),
        "report": measure(forget, retain, report, seed, list(FEATURES)),
    }
    seconds = {
        "load": loaded - began,
        "unlearn": unlearned - loaded,
        "infer": inferred - unlearned,
        "attack": time.time() - inferred,
    }
    return measured | {"began": began, "seconds": seconds}


def adapt(model: nn.Module, batches: Iterable[Outputs], params: Mapping[str, Any], masks: Any, seed: int) -> nn.Module:
    """NegLoRA: ascend on adapters, then merge."""
    torch.manual_seed(derive_seed(seed, "adapter"))
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=params["rank"],
            lora_alpha=params["alpha"],
            lora_dropout=params["dropout"],
            target_modules=match_targets(model, params["targets"]),
        ),
    )
    ascend(adapted, [p for p in adapted.parameters() if p.requires_grad], batches, params, {}, seed)
    return adapted.merge_and_unload()


def train_everything(model: nn.Module, batches: Any, params: Mapping[str, Any], masks: Any, seed: int) -> nn.Module:
    """NegGrad: ascend on all weights."""
    ascend(model, list(model.parameters()), batches, params, masks, seed)
    return model


def train_a_part(model: nn.Module, batches: Any, params: Mapping[str, Any], masks: Any, seed: int) -> nn.Module:
    """Partial NegGrad: ascend on the weights of some layers."""
    model.requires_grad_(False)
    chosen = [p for name in match_targets(model, params["targets"]) for p in model.get_submodule(name).parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    ascend(model, chosen, batches, params, masks, seed)
    return model


METHODS = {"neggrad": train_everything, "partial_neggrad": train_a_part, "neglora": adapt}


def ascend(
    model: nn.Module,
    parameters: list[nn.Parameter],
    batches: Iterable[Outputs],
    params: Mapping[str, Any],
    masks: Mapping[str, Tensor],
    seed: int,
) -> None:
    """Gradient ascent on the loss of the forgotten images; BatchNorm stays as it is, pruned weights stay zero."""
    torch.manual_seed(derive_seed(seed, "dropout"))
    optimizer = torch.optim.Adam(parameters, lr=params["lr"])
    pruned = [(p, masks[name]) for name, p in model.named_parameters() if name in masks]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eval()
    for _ in range(params["epochs"]):
        for images, labels in batches:
            loss = -functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for parameter, mask in pruned:
                    parameter.mul_(mask)


@torch.no_grad()
def infer(model: nn.Module, batches: Iterable[Outputs]) -> Outputs:
    """One pass over a split."""
    model.eval()
    parts = [(model(images), labels) for images, labels in batches]
    return torch.cat([logits for logits, _ in parts]), torch.cat([labels for _, labels in parts])


def measure(forget: Outputs, retain: Outputs, test: Outputs, seed: int, attacks: list[str]) -> dict[str, float]:
    """UA, RA, TA and the efficacy of each of the attacks."""
    values = {"ua": 1 - accuracy(*forget), "ra": accuracy(*retain), "ta": accuracy(*test)}
    for name in attacks:
        feature = FEATURES[name]
        values[name] = efficacy(feature(*retain), feature(*test), feature(*forget), seed)
    return values


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def efficacy(retain: Tensor, test: Tensor, forget: Tensor, seed: int) -> float:
    """Share of the forgotten images that an SVC, fitted to retained against test images, takes for test images."""
    count = min(len(retain), len(test))
    members, others = (drawn(side, count, seed, name) for side, name in ((retain, "retain"), (test, "test")))
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    attack.fit(numpy.concatenate([members, others]), numpy.repeat([1, 0], count))
    return float((attack.predict(column(forget)) == 0).mean())


def drawn(values: Tensor, count: int, seed: int, side: str) -> numpy.ndarray:
    if len(values) == count:
        return column(values)
    generator = numpy.random.default_rng(derive_seed(seed, "mia", side))
    return column(values)[generator.choice(len(values), size=count, replace=False)]


def column(values: Tensor) -> numpy.ndarray:
    """Features as scikit-learn takes them, `[n, features]`."""
    return values.reshape(len(values), -1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description="a study as a Ray Tune function trainable")
    parser.add_argument("plan", type=Path, metavar="PLAN.json", help="written by trials_per_hour.py")
    parser.add_argument("--to", type=Path, required=True, metavar="RESULTS.json")
    parser.add_argument("--at-once", type=int, default=2, help="trials at once, one CPU each")
    parser.add_argument("--reuse-actors", action="store_true", help="let Tune keep processes from trial to trial")
    arguments = parser.parse_args()
    plan = json.loads(arguments.plan.read_text(encoding="utf-8"))
    configurations = plan.pop("configurations")
    storage = arguments.to.parent.resolve() / "ray_results"
    # A Ray of its own, whatever else runs on this machine.
    ray.init(address="local", num_cpus=arguments.at_once)
    tuner = tune.Tuner(
        tune.with_resources(unlearn_and_measure, {"cpu": 1}),
        param_space={"plan": plan, "configuration": tune.grid_search(configurations)},
        tune_config=tune.TuneConfig(reuse_actors=arguments.reuse_actors),
        run_config=tune.RunConfig(name="as-a-user-would", storage_path=str(storage)),
    )
    results = [
        {"configuration": result.config["configuration"], "error": str(result.error) if result.error else None}
        | {name: result.metrics[name] for name in ("selection", "report", "began", "seconds") if not result.error}
        for result in tuner.fit()
    ]
    arguments.to.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
