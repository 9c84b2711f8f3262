"""Images per second of training and evaluation in bf16 on one GPU, for the paper's two large models.

    python benchmarks/gpu_throughput.py            a minute or two
    python benchmarks/gpu_throughput.py --image-size 224 --batch 128

Training works as in `neglora.train`: autocast to bfloat16, channels last, the optimizer of the model's recipe.
Evaluation is in bfloat16 too, while trials are measured in float32, which keeps their logits exact. Images are random
and lie on the GPU, so that this is the ceiling that reading and augmentation can at best keep up with. Without a GPU
it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from neglora.hardware import device_name
from neglora.models import build_model
from neglora.train import build_optimizer, recipe_of

MODELS = ("tinyvit_21m", "resnet50")
CLASSES = 100


def main() -> None:
    arguments = _arguments()
    if not torch.cuda.is_available():
        print("no GPU here")
        return
    device = torch.device("cuda")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        print(f"{device_name(device)} does not compute in bfloat16")
        return
    results: dict[str, dict[str, list[float]]] = {}
    for name in MODELS:
        model = build_model(name, num_classes=CLASSES, image_size=arguments.image_size, channels=3, seed=0)
        model = model.to(device, memory_format=torch.channels_last)
        images = torch.randn(arguments.batch, 3, arguments.image_size, arguments.image_size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(arguments.batch, device=device) % CLASSES
        results[name] = {
            "training": _rates(_training(name, model, images, labels), arguments),
            "evaluation": _rates(_evaluation(model, images), arguments),
        }
        for work, rates in results[name].items():
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            print(f"{name:12} {work:10} {statistics.median(rates):10,.0f} images/s ({spread})", flush=True)
    settings = {"device": device_name(device), "image_size": arguments.image_size, "batch": arguments.batch}
    settings |= {"torch": torch.__version__, "precision": "bf16"}
    arguments.out.write_text(json.dumps(settings | {"images_per_second": results}, indent=1) + "\n", encoding="utf-8")
    print(f"{settings}; written to {arguments.out}")


def _rates(work: Callable[[], object], arguments: argparse.Namespace) -> list[float]:
    """Images per second of each repeat, after a warm-up that is not counted."""
    rates = []
    for repeat in range(arguments.repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(arguments.steps):
            work()
        torch.cuda.synchronize()
        if repeat:
            rates.append(arguments.steps * arguments.batch / (time.perf_counter() - started))
    return rates


def _training(name: str, model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    optimizer = build_optimizer(model, recipe_of(name))

    def step() -> None:
        model.train()
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(images).float()
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _evaluation(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def infer() -> Tensor:
        model.eval()
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            return model(images)

    return infer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="images per second in bf16 on one GPU")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="batches in a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
