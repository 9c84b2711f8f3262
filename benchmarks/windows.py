"""Throughput of TinyViT-21M at 32 pixels on the CPU: windows clipped to the feature map against padded ones.

    python benchmarks/windows.py            a few minutes on two cores
    python benchmarks/windows.py --quick    a minute, for a first look

Stock windows are 7, 14 and 7 wide where the maps of a 32-pixel image are 4, 2 and 1: attention, its projections and
its normalization then work on up to 49 times the tokens. Both variants take turns in one process, so that what else the
machine does meets both alike. A training step is forward, cross-entropy, backward and AdamW; images are random.
Numbers also go to `benchmarks/windows.json`.

On two idle cores of an AMD EPYC (torch 2.15, two threads, seven repeats) clipped windows were 8.3 times as fast in
training (7.7 to 9.3) and 10.8 times in evaluation (10.2 to 11.8), by the clock and by processor time alike.
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
#: Processor time counts every thread, and little of what other processes do.
CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}

#: Images per second of every repeat, by work, variant and clock.
Rates = dict[tuple[str, str, str], list[float]]


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    repeats, steps, batch_size = (2, 1, 16) if arguments.quick else (arguments.repeats, 2, 32)
    images = torch.randn(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch_size) % CLASSES
    works: dict[tuple[str, str], Callable[[], object]] = {}
    for variant in VARIANTS:
        options = {"windows": variant}
        model = build_model(MODEL, num_classes=CLASSES, image_size=IMAGE_SIZE, channels=3, seed=0, options=options)
        works["training", variant] = _training(model, images, labels)
        works["evaluation", variant] = _evaluation(model, images)
    rates: Rates = {(work, variant, clock): [] for work, variant in works for clock in CLOCKS}
    for work in ("training", "evaluation"):
        for variant in VARIANTS:
            works[work, variant]()  # warm up
        for _ in range(repeats):
            for variant in VARIANTS:
                started = {name: clock() for name, clock in CLOCKS.items()}
                for _ in range(steps):
                    works[work, variant]()
                for name, clock in CLOCKS.items():
                    rates[work, variant, name].append(steps * batch_size / (clock() - started[name]))
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


def _report(rates: Rates, arguments: argparse.Namespace, batch_size: int) -> None:
    table = Table(title=f"{MODEL} at {IMAGE_SIZE} pixels, images per second: median (least to most)")
    for column in ("work", "seconds of", *VARIANTS, "ratio"):
        table.add_column(column, justify="left" if column in ("work", "seconds of") else "right")
    ratios = {}
    for work in ("training", "evaluation"):
        for clock in CLOCKS:
            clipped, padded = (rates[work, variant, clock] for variant in VARIANTS)
            pairs = [ours / stock for ours, stock in zip(clipped, padded, strict=True)]
            ratios[f"{work}, {clock}"] = pairs
            table.add_row(work, clock, _spread(clipped), _spread(padded), _spread(pairs))
    Console().print(table)
    result = {
        "model": MODEL,
        "image_size": IMAGE_SIZE,
        "batch_size": batch_size,
        "threads": arguments.threads,
        "processor": cpu_model(),
        "torch": torch.__version__,
        "images_per_second": {", ".join(key): values for key, values in rates.items()},
        "ratios": ratios,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"batch {batch_size}, {arguments.threads} threads, {cpu_model()}; written to {arguments.out}")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="TinyViT-21M at 32 pixels: clipped against padded windows")
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
