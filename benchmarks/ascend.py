"""Images per second of the ascent, beside the loop as one would write it.

    python benchmarks/ascend.py                                   tinyvit_nano at 32x32, a minute or two
    python benchmarks/ascend.py --model tinyvit_21m --images 64 --targets ffn last.ffn head

Variants, alternated within one run, each an ascent of whole epochs over the same images from the same base:

    plain     a DataLoader over float images, peft, Adam, and `loss.item()` at every step, as examples show it
    neglora   `neglora.ascend` over uint8 images: nothing waits for the device within an epoch
    prefix    the same from the activations behind the frozen prefix, which are computed first
    kept      the same from activations that an earlier trial has computed

and on a GPU what studies do not use is tried too: `neglora` in bfloat16 with channels last (`bf16`), that compiled
(`compiled`), and with CUDA graphs (`graphs`). Prints a table and writes JSON. On a CPU seconds are those of the
process, which other work hardly changes: with one thread they are the wall of a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from neglora.activations import ActivationBatches, PrefixCache
from neglora.ascend import ascend, freeze_batchnorm
from neglora.data import TensorBatches
from neglora.hardware import choose_device, device_name
from neglora.lora import adapter_parameters, inject
from neglora.models import build_model, match_targets
from neglora.prefix import entered, find_cut

CLASSES, LR = 10, 1e-4
MEAN, STD = (0.5,) * 3, (0.25,) * 3
ALL = "all weights"


class Bench:
    """One model, its images and what is adapted."""

    def __init__(self, arguments: argparse.Namespace, targets: str, batch: int) -> None:
        self.device = choose_device()
        self.epochs, self.batch = arguments.epochs, batch
        size = arguments.image_size
        self.base = build_model(arguments.model, num_classes=CLASSES, image_size=size, channels=3, seed=0)
        self.base = self.base.to(self.device).eval()
        self.layers = None if targets == ALL else match_targets(self.base, targets)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (arguments.images, 3, size, size), dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(0, CLASSES, (arguments.images,), generator=generator)

    def adapted(self) -> tuple[nn.Module, list[nn.Parameter]]:
        """A copy of the base, and what of it is trained."""
        model = copy.deepcopy(self.base)
        if self.layers is None:
            return model, list(model.parameters())
        adapted = inject(model, self.layers, rank=8, alpha=16, dropout=0.1, seed=0)
        return adapted.get_base_model(), adapter_parameters(adapted)

    def batches(self, seed: int | None, batch: int) -> TensorBatches:
        return TensorBatches(
            self.images.to(self.device),
            self.labels.to(self.device),
            mean=MEAN,
            std=STD,
            batch_size=batch,
            seed=seed,
        )

    def plain(self) -> float:
        model, parameters = self.adapted()
        inputs = (self.images.float() / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
        loader = DataLoader(TensorDataset(inputs, self.labels), batch_size=self.batch, shuffle=True)

        def run() -> None:
            optimizer = torch.optim.Adam(parameters, lr=LR)
            model.train()
            freeze_batchnorm(model)
            for _ in range(self.epochs):
                for images, labels in loader:
                    optimizer.zero_grad()
                    loss = -functional.cross_entropy(model(images.to(self.device)), labels.to(self.device))
                    loss.backward()
                    optimizer.step()
                    loss.item()

        return self._timed(run)

    def neglora(self) -> float:
        model, parameters = self.adapted()
        batches = self.batches(0, self.batch)
        return self._timed(lambda: ascend(model, batches, parameters=parameters, lr=LR, epochs=self.epochs))

    def prefix(self) -> float | None:
        return self._behind(kept=False)

    def kept(self) -> float | None:
        return self._behind(kept=True)

    def _behind(self, *, kept: bool) -> float | None:
        """Behind the prefix; None where there is no cut."""
        cut = find_cut(self.base, self.layers)
        if cut is None:
            return None
        model, parameters = self.adapted()
        computed = PrefixCache(2**30).batches("forget", self.base, cut, self.batches(None, 64))
        if kept:
            list(computed)

        def run() -> None:
            activations, labels = (torch.cat(part) for part in zip(*computed, strict=True))
            batches = ActivationBatches(activations, labels, batch_size=self.batch, seed=0)
            with entered(model, cut):
                ascend(model, batches, parameters=parameters, lr=LR, epochs=self.epochs)

        return self._timed(run)

    def bf16(self) -> float | None:
        return self._tried(lambda model: model)

    def compiled(self) -> float | None:
        return self._tried(torch.compile)

    def graphs(self) -> float | None:
        return self._tried(partial(torch.compile, mode="reduce-overhead"))

    def _tried(self, made: Callable[[nn.Module], Any]) -> float | None:
        """An ascent that studies do not use, of what is made of a model. Only on a GPU."""
        if self.device.type != "cuda":
            return None
        adapted, parameters = self.adapted()
        model, batches = made(adapted), self.batches(0, self.batch)

        def run(epochs: int) -> None:
            ascend(model, batches, parameters=parameters, lr=LR, epochs=epochs, bf16=True, channels_last=True)

        # Compiling is not of the pace: it is paid once for every shape.
        run(2)
        return self._timed(lambda: run(self.epochs))

    def _timed(self, run: Callable[[], Any]) -> float:
        """Images a second."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        self._wait()
        started = clock()
        run()
        self._wait()
        return len(self.labels) * self.epochs / (clock() - started)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


VARIANTS = ("plain", "neglora", "prefix", "kept", "bf16", "compiled", "graphs")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    found = []
    for targets in arguments.targets:
        for batch in arguments.batch:
            bench = Bench(arguments, targets, batch)
            rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
            for _ in range(arguments.repeats):
                for name in VARIANTS:
                    rate = getattr(bench, name)()
                    if rate is not None:
                        rates[name].append(rate)
            middle = {name: statistics.median(values) for name, values in rates.items() if values}
            found.append({"targets": targets, "batch": batch, "images_per_second": middle})
            shown = "  ".join(f"{name} {rate:9,.0f} ({rate / middle['plain']:.2f}x)" for name, rate in middle.items())
            print(f"{targets:24} batch {batch:4}  {shown}", flush=True)
    settings = {name: getattr(arguments, name) for name in ("model", "image_size", "images", "epochs", "threads")}
    settings |= {"device": device_name(choose_device()), "torch": torch.__version__}
    arguments.out.write_text(json.dumps(settings | {"found": found}, indent=1) + "\n", encoding="utf-8")
    print(f"{settings}; images a second, medians of {arguments.repeats}; written to {arguments.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tinyvit_nano")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=180, help="images of the forget set (default: 180)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--targets", nargs="+", default=["ffn", "last.ffn", "last.attn_out+head", ALL])
    parser.add_argument("--batch", nargs="+", type=int, default=[32])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
