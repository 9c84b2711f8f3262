"""Evaluation of one trial at CIFAR-100's sizes: in full, with the prefix cache, and on a search's sample.

    python benchmarks/evaluate.py                                                    some minutes on two cores
    python benchmarks/evaluate.py --models tinyvit_21m --batch-sizes 64 256 512      larger batches behind the prefix
    python benchmarks/evaluate.py --models tinyvit_nano --classes 10 --images 1797 --total 1797 --sample 500 \
        --targets ffn attn last.ffn last.attn_out+head partial head                  the digits

Weights and images are random, which speed does not depend on. A trial is a copy of the base whose target layers have
other weights. `full` gives it all images; `prefix` gives it the base's activations below the first of these layers,
which an earlier trial computed; `sample` does so with as many images as a search looks at: D_f of 500 and 2,000 each of
D_r and of the test images. Each is timed on a slice of the images (`images`) and scaled to all (`total`): a batch costs
the same wherever it comes from. All take turns, `rounds` times over, in one process and one thread. Seconds are the
median of the processor's, ratios the median over the rounds with their range: what else the machine does slows all
down, though not always alike. Numbers also go to `benchmarks/evaluate.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from neglora.activations import PrefixCache
from neglora.data import Batches, TensorBatches
from neglora.evaluation import infer
from neglora.hardware import cpu_model
from neglora.models import build_model, match_targets, model_shape
from neglora.prefix import Cut, entered, find_cut, run_prefix

IMAGE_SIZE = 32
#: What is timed of each model unless told otherwise, and on how many images, a few batches: a ResNet50 takes its time.
MODELS: dict[str, tuple[list[str], int]] = {
    "tinyvit_21m": (["ffn", "last.ffn", "head", "conv"], 512),
    "resnet50": (["last.conv", "head", "conv"], 64),
}


@dataclass(frozen=True)
class Line:
    """What was measured of one configuration; seconds are of the processor, for all images.

    Attributes:
        model, targets, batch_size: the configuration.
        share: of the model's multiply-accumulates that lie in the prefix, counted.
        full, prefix, sample: seconds of the three ways in every round; without a cut the last two use the whole model.
        first: seconds of the trial that computes the prefix for all others.
        difference: largest one between logits of `prefix` and of `full` in the first batch size.
        cache_bytes: of all images' activations and labels.
    """

    model: str
    targets: str
    batch_size: int
    share: float
    full: list[float]
    prefix: list[float]
    sample: list[float]
    first: float
    difference: float
    cache_bytes: int


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    lines: list[Line] = []
    for model in arguments.models:
        targets, images = MODELS.get(model, ([], 512))
        lines += measure(
            model,
            arguments.targets or targets,
            images=arguments.images or images,
            total=arguments.total,
            sample=arguments.sample,
            classes=arguments.classes,
            batch_sizes=arguments.batch_sizes,
            rounds=arguments.rounds,
        )
        Console(width=160).print(_table([line for line in lines if line.model == model], arguments))
    result = {
        "total": arguments.total,
        "sample": arguments.sample,
        "threads": arguments.threads,
        "processor": cpu_model(),
        "torch": torch.__version__,
        "lines": [asdict(line) for line in lines],
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.threads} threads, {cpu_model()}; written to {arguments.out}")


def measure(
    name: str,
    targets: list[str],
    *,
    images: int,
    total: int,
    sample: int,
    classes: int,
    batch_sizes: list[int],
    rounds: int,
) -> list[Line]:
    """Every combination of targets and batch sizes, on a slice of so many images."""
    base = build_model(name, num_classes=classes, image_size=IMAGE_SIZE, channels=3, seed=0)
    pixels = torch.randint(0, 256, (images, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    trials = {term: _changed(base, match_targets(base, term)) for term in targets}
    cuts = {term: find_cut(base, match_targets(base, term)) for term in targets}
    # At least a batch, so that its shape is the usual one.
    looked_at = max(min(batch_sizes), round(images * sample / total))
    works: dict[tuple[str, str, int], Callable[[], Tensor]] = {}
    caches: dict[tuple[str, int], PrefixCache] = {}
    for size in batch_sizes:
        for term in targets:
            cache = caches[term, size] = PrefixCache(2**40)
            works["full", term, size] = _work(trials[term], base, None, cache, "full", _batches(pixels, size))
            for way, count in (("prefix", images), ("sample", looked_at)):
                batches = _batches(pixels[:count], size)
                works[way, term, size] = _work(trials[term], base, cuts[term], cache, way, batches)

    firsts: dict[tuple[str, str, int], float] = {}
    for key, work in works.items():
        started = time.process_time()
        work()
        firsts[key] = time.process_time() - started
    held = {key: cache.held_bytes for key, cache in caches.items()}
    seconds: dict[tuple[str, str, int], list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            started = time.process_time()
            work()
            seconds[key].append(time.process_time() - started)

    def scaled(key: tuple[str, str, int], factor: float) -> list[float]:
        return [spent * factor for spent in seconds[key]]

    lines = []
    for term in targets:
        whole = infer(trials[term], _batches(pixels, batch_sizes[0])).logits
        for size in batch_sizes:
            lines.append(
                Line(
                    name,
                    term,
                    size,
                    _share(name, classes, cuts[term]),
                    full=scaled(("full", term, size), total / images),
                    prefix=scaled(("prefix", term, size), total / images),
                    sample=scaled(("sample", term, size), sample / looked_at),
                    first=firsts["prefix", term, size] * total / images,
                    difference=float((works["prefix", term, size]() - whole).abs().max()),
                    cache_bytes=round(held[term, size] * total / (images + looked_at)),
                )
            )
    return lines


def _changed(base: nn.Module, layers: list[str]) -> nn.Module:
    """A copy of the base with other weights in some layers."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for layer in layers:
            weight = model.get_parameter(f"{layer}.weight")
            weight.add_(torch.randn_like(weight), alpha=0.1 * float(weight.std()))
    return model


def _batches(images: Tensor, size: int) -> TensorBatches:
    labels = torch.zeros(len(images), dtype=torch.long)
    return TensorBatches(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=size)


def _work(
    model: nn.Module, base: nn.Module, cut: Cut | None, cache: PrefixCache, key: str, batches: Batches
) -> Callable[[], Tensor]:
    """One evaluation, which gives the logits."""
    if cut is not None:
        batches = cache.batches(key, base, cut, batches)

    def run() -> Tensor:
        with entered(model, cut) if cut is not None else nullcontext():
            return infer(model, batches).logits

    return run


def _share(name: str, classes: int, cut: Cut | None) -> float:
    """Share of a forward pass's multiply-accumulates that lie before the cut, counted on the meta device."""
    if cut is None:
        return 0.0
    model = model_shape(name, num_classes=classes, image_size=IMAGE_SIZE)
    image = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta")
    counts = []
    for run in (lambda: run_prefix(model, cut, image), lambda: model(image)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def _table(lines: list[Line], arguments: argparse.Namespace) -> Table:
    title = f"{lines[0].model}: processor seconds of one evaluation of {arguments.total:,} images (scaled)"
    columns: Mapping[str, Callable[[Line], str]] = {
        "targets": lambda line: line.targets,
        "batch": lambda line: str(line.batch_size),
        "prefix holds": lambda line: f"{line.share:.1%}",
        "full": lambda line: f"{statistics.median(line.full):.1f}",
        "prefix": lambda line: f"{statistics.median(line.prefix):.2f}",
        "ratio": lambda line: _ratio(line.full, line.prefix),
        f"sample of {arguments.sample:,}": lambda line: f"{statistics.median(line.sample):.3f}",
        "further": lambda line: _ratio(line.prefix, line.sample),
        "first trial": lambda line: f"{line.first:.1f}",
        "logits differ by": lambda line: f"{line.difference:.1e}" if line.difference else "0",
        "cache, MiB": lambda line: f"{line.cache_bytes / 2**20:,.0f}",
    }
    table = Table(*columns, title=title)
    for line in lines:
        table.add_row(*(value(line) for value in columns.values()))
    return table


def _ratio(numerators: list[float], denominators: list[float]) -> str:
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluation in full, with the prefix cache, and on a sample")
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--targets", nargs="+", metavar="TARGETS", help="default: by model")
    parser.add_argument("--images", type=int, help="how many are timed; default: by model")
    parser.add_argument("--total", type=int, default=60_000, help="to how many that is scaled")
    parser.add_argument("--sample", type=int, default=4_500, help="how many of these a search looks at")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
