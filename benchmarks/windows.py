"""Throughput of TinyViT-21M at 32 pixels on the CPU: windows clipped to the feature map against padded ones.

    python benchmarks/windows.py            a few minutes on two cores
    python benchmarks/windows.py --quick    a minute, for a first look

Stock windows are 7, 14 and 7 wide where the maps of a 32-pixel image are 4, 2 and 1: attention, its projections and
its normalization then work on up to 49 times the tokens. Both variants take turns in one process, so that what else the
machine does meets both alike. A training step is forward, cross-entropy, backward and AdamW; images are random.
Numbers also go to `benchmarks/windows.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from neglora.hardware import cpu_model
from neglora.models import build_model

MODEL, IMAGE_SIZE, CLASSES = "tinyvit_21m", 32, 100
VARIANTS = ("clipped", "padded")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    repeats, steps, batch_size = (2, 1, 16) if arguments.quick else (arguments.repeats, 3, 64)
    images = torch.randn(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch_size) % CLASSES
    works: dict[tuple[str, str], Callable[[], object]] = {}
    for variant in VARIANTS:
        options = {"windows": variant}
        model = build_model(MODEL, num_classes=CLASSES, image_size=IMAGE_SIZE, channels=3, seed=0, options=options)
        works["training", variant] = _training(model, images, labels)
        works["evaluation", variant] = _evaluation(model, images)
    rates: dict[str, dict[str, list[float]]] = {"training": {}, "evaluation": {}}
    for work, rate in rates.items():
        rate |= {variant: [] for variant in VARIANTS}
        for variant in VARIANTS:
            works[work, variant]()  # warm up
        for _ in range(repeats):
            for variant in VARIANTS:
                started = time.perf_counter()
                for _ in range(steps):
                    works[work, variant]()
                rate[variant].append(steps * batch_size / (time.perf_counter() - started))
    _report(rates, arguments, batch_size)


def _training(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        model.train()
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _evaluation(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def infer() -> Tensor:
        model.eval()
        with torch.inference_mode():
            return model(images)

    return infer


def _report(rates: dict[str, dict[str, list[float]]], arguments: argparse.Namespace, batch_size: int) -> None:
    table = Table(title=f"{MODEL} at {IMAGE_SIZE} pixels, images per second: median (least to most)")
    for column in ("", *VARIANTS, "ratio"):
        table.add_column(column, justify="right" if column else "left")
    ratios = {}
    for work, rate in rates.items():
        pairs = [clipped / padded for clipped, padded in zip(rate["clipped"], rate["padded"], strict=True)]
        ratios[work] = pairs
        table.add_row(work, *(_spread(rate[variant]) for variant in VARIANTS), _spread(pairs))
    Console().print(table)
    result = {
        "model": MODEL,
        "image_size": IMAGE_SIZE,
        "batch_size": batch_size,
        "threads": arguments.threads,
        "processor": cpu_model(),
        "torch": torch.__version__,
        "images_per_second": rates,
        "ratios": ratios,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"batch {batch_size}, {arguments.threads} threads, {cpu_model()}; written to {arguments.out}")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="TinyViT-21M at 32 pixels: clipped against padded windows")
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
