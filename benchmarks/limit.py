"""How far from the physical limit a trial is: operations counted, the matrix rate measured, the share that is reached.

    python benchmarks/limit.py                       a minute or two on one core

1. The rate: the best that square float32 matrix products reach here, on one thread.
2. Where the time of a forward pass goes, by kind of operation: their share of the floating-point operations and of the
   seconds, and the rate of each. What no operation accounts for is Python and torch's dispatch.
3. One trial of the quickstart with each method and target: its operations, the least seconds at that rate, the seconds
   of a real trial by its own record, and the share reached.
4. The same counts for one trial of the paper's sizes on CIFAR-100, where nothing is trained here: what evaluation in
   full, behind the frozen prefix, and on samples asks for at the least.

Of 1 and 2 the seconds are those of the thread itself, so that other work on the machine counts little. A
multiply-accumulate is two operations. They are counted by torch's FlopCounterMode, forward and backward as they are
done: a training step of an adapter costs less than the three forward passes that training in full is counted as. It
knows matrix products and convolutions; all else counts as nothing, and takes time. Numbers also go to
`benchmarks/limit.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry, sdpa_flop_count

from neglora.artifacts import ArtifactStore
from neglora.data import parse_forget
from neglora.hardware import cpu_model
from neglora.methods import METHODS
from neglora.models import build_model
from neglora.modes import in_mode
from neglora.prefix import Cut, entered, find_cut, run_prefix
from neglora.prerequisites import ensure, needed
from neglora.session import Session
from neglora.setting import Setting
from neglora.trial import Task, run_trial

ROOT = Path(__file__).resolve().parent.parent
#: The quickstart's surroundings, and one trial of each kind in it.
QUICKSTART = Setting(dataset="digits", model="tinyvit_nano", holdout=0.5)
FORGET, SEED = 3, 0
QUICK_TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("neggrad", {"lr": 1e-5}),
    ("partial_neggrad", {"lr": 1e-4}),
    *(
        ("neglora", {"lr": 3e-4, "rank": 8, "targets": targets})
        for targets in ("ffn", "attn", "last.ffn", "last.attn_out+head")
    ),
)
#: Models of the paper on CIFAR-100, with targets of each; two epochs over a class of 500.
PAPER_TRIALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tinyvit_21m", ("ffn", "last.ffn", "head")),
    ("resnet50", ("conv", "last.conv", "head")),
)
CIFAR100 = {"forget": 500, "train": 50_000, "test": 10_000}
PAPER_EPOCHS, PAPER_RANK = 2, 16
#: Images of a staged evaluation beside the forget set.
STAGED = {"retain": 2_000, "test": 2_000}
SQUARES = (256, 512, 1024, 2048)

#: Kinds of operations, in the order of tables; what else there is comes last.
MATRICES, CONVOLUTIONS, DEPTHWISE, ATTENTION, OTHER, PYTHON = (
    "matrix products",
    "convolutions",
    "depthwise convolutions",
    "attention",
    "normalization, activations, copies",
    "Python and dispatch",
)


@dataclass(frozen=True)
class PerImage:
    """Floating-point operations that one image takes in a configuration.

    Attributes:
        forward: through the whole model.
        rest: through what follows the cut; the same where there is none.
        ascent: one image in one step, behind the cut, forward and backward.
    """

    forward: int
    rest: int
    ascent: int

    def unlearning(self, images: int, epochs: int) -> int:
        """Of an ascent: the prefix once, what follows it in every epoch."""
        return images * (self.forward - self.rest + epochs * self.ascent)


def _backward_of_convolution(
    gradient: Any,
    inputs: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    *rest: Any,
    out_shape: Any = None,
) -> int:
    """As many operations as forward for each gradient that is wanted: of the inputs, and of the weight.

    Differs: torch's own formula takes grouped convolutions for dense ones.
    """
    wanted = rest[-1]
    return int(conv_flop_count(inputs, weight, gradient, transposed=transposed) * (wanted[0] + wanted[1]))


def counted(work: Callable[[], Any]) -> int:
    """Floating-point operations of what is called."""
    own = {torch.ops.aten.convolution_backward: _backward_of_convolution}
    # The fused attention of CPUs is one that the counter does not know.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return int(counter.get_total_flops())


def per_image(model: nn.Module, inputs: Tensor, method: str, params: Mapping[str, Any]) -> PerImage:
    """Count what one image takes in a configuration.

    Args:
        model: the base; it is not changed.
        inputs: two images, `[2, c, h, w]`.
        method, params: the configuration, resolved.
    """
    cut = find_cut(model, METHODS[method].changes(model, params), batchnorm=params["batchnorm"])
    forward = _counted_forward(model, inputs[:1], None)
    behind = inputs if cut is None else run_prefix(model, cut, inputs)
    rest = forward if cut is None else _counted_forward(model, behind[:1], cut)

    def ascend(images: int) -> int:
        own, labels = copy.deepcopy(model), torch.zeros(images, dtype=torch.long)
        batches = [(behind[:images], labels)]

        def unlearn() -> None:
            with _entered(own, cut):
                METHODS[method].unlearn(own, params={**params, "epochs": 1}, masks={}, seed=SEED, forget=batches)

        return counted(unlearn)

    # What does not depend on the images, such as merging adapters, is in both counts.
    return PerImage(forward, rest, ascend(2) - ascend(1))


@torch.no_grad()
def _counted_forward(model: nn.Module, inputs: Tensor, cut: Cut | None) -> int:
    with in_mode(model, training=False), _entered(model, cut):
        return counted(lambda: model(inputs))


def _entered(model: nn.Module, cut: Cut | None) -> Any:
    return nullcontext() if cut is None else entered(model, cut)


def best_rate() -> tuple[float, int]:
    """Operations a second of the best square matrix product, and its size."""
    rates = {}
    for size in SQUARES:
        left, right = torch.randn(size, size), torch.randn(size, size)
        seconds = min(_seconds(lambda: left @ right, least=0.3))  # noqa: B023
        rates[size] = 2 * size**3 / seconds
    size = max(rates, key=lambda each: rates[each])
    return rates[size], size


def _seconds(work: Callable[[], Any], least: float) -> list[float]:
    """What each of several calls took, after one that is not counted; for `least` seconds."""
    work()
    found: list[float] = []
    while sum(found) < least:
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return found


class Kinds(TorchDispatchMode):
    """Within this mode every operation is timed, and its floating-point operations counted, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.operations: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.thread_time()
        made = func(*args, **(kwargs or {}))
        spent = time.thread_time() - started
        kind = _kind_of(func, args)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + spent
        count = flop_registry.get(func.overloadpacket)
        if count:
            self.operations[kind] = self.operations.get(kind, 0) + count(*args, **(kwargs or {}), out_val=made)
        elif kind == ATTENTION and "scaled_dot_product" in func.overloadpacket.__name__:
            query, key, value = (tensor.shape for tensor in args[:3])
            self.operations[kind] = self.operations.get(kind, 0) + sdpa_flop_count(query, key, value)
        return made


def _kind_of(func: Any, args: Any) -> str:
    name = func.overloadpacket.__name__
    if name == "convolution":
        return CONVOLUTIONS if args[8] == 1 else DEPTHWISE
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return MATRICES
    return ATTENTION if "attention" in name or "softmax" in name else OTHER


@torch.no_grad()
def kinds_of(model: nn.Module, inputs: Tensor, repeats: int = 5) -> dict[str, dict[str, float]]:
    """Seconds and operations of a forward pass by kind; the median over repeats."""
    model.eval()
    whole = statistics.median(_seconds(lambda: model(inputs), least=1.0))
    runs = []
    for _ in range(repeats):
        with Kinds() as seen:
            model(inputs)
        runs.append(seen)
    found = {
        kind: {
            "seconds": statistics.median(run.seconds.get(kind, 0.0) for run in runs),
            "operations": float(runs[0].operations.get(kind, 0)),
        }
        for kind in (MATRICES, CONVOLUTIONS, DEPTHWISE, ATTENTION, OTHER)
        if kind in runs[0].seconds
    }
    accounted = sum(one["seconds"] for one in found.values())
    return found | {PYTHON: {"seconds": max(0.0, whole - accounted), "operations": 0.0}}


def quickstart_trials(storage: Path, rate: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Real trials of the quickstart on its own base, in this process, and what they would take at the rate."""
    session = Session(storage)
    dataset = session.dataset(QUICKSTART)
    forget = parse_forget(dataset.info, FORGET)
    for wanted in needed(QUICKSTART, forgets=[forget], seeds=[SEED], sparsities=[]):
        ensure(wanted, ArtifactStore(storage / "artifacts"), dataset)
    base = session.get(needed(QUICKSTART, forgets=[], seeds=[SEED], sparsities=[])[0]).model
    inputs = next(iter(dataset.train(batch_size=2)))[0]
    images = {"forget": len(session.splits(QUICKSTART, forget).forget)}
    images["all"] = len(dataset.train_labels) + len(dataset.test_labels)
    for method, chosen in QUICK_TRIALS:
        params = METHODS[method].resolve(chosen)
        each = per_image(base, inputs, method, params)
        cell = {"dataset": QUICKSTART.dataset, "model": QUICKSTART.model, "method": method}
        task = Task("limit-0000", cell, params, QUICKSTART, ((FORGET, SEED),))
        costs = [run_trial(session, task).cost for _ in range(repeats + 1)][1:]
        unlearn = statistics.median(cost["unlearn_seconds"] for cost in costs)
        attack = statistics.median(cost.get("attack_seconds") or 0.0 for cost in costs)
        evaluate = statistics.median(cost["evaluate_seconds"] for cost in costs) - attack
        counts = {"unlearn": each.unlearning(images["forget"], params["epochs"]), "evaluate": each.rest * images["all"]}
        seconds = {"unlearn": unlearn, "evaluate": evaluate}
        yield {
            "method": method,
            "targets": chosen.get("targets"),
            "per_image": asdict(each),
            "operations": counts,
            "seconds": seconds | {"attack": attack},
            "share": {part: counts[part] / rate / seconds[part] for part in counts},
        }


def paper_trials() -> Iterator[dict[str, Any]]:
    """What a trial of the paper's sizes on CIFAR-100 asks for."""
    for name, targets in PAPER_TRIALS:
        model = build_model(name, num_classes=100, image_size=32, channels=3, seed=0)
        inputs = torch.randn(2, 3, 32, 32)
        for target in targets:
            params = METHODS["neglora"].resolve({"rank": PAPER_RANK, "targets": target})
            each = per_image(model, inputs, "neglora", params)
            everything = CIFAR100["train"] + CIFAR100["test"]
            yield {
                "model": name,
                "targets": target,
                "per_image": asdict(each),
                "operations": {
                    "unlearn": each.unlearning(CIFAR100["forget"], PAPER_EPOCHS),
                    "evaluate in full": each.forward * everything,
                    "behind the prefix": each.rest * everything,
                    "and on samples": each.rest * (CIFAR100["forget"] + sum(STAGED.values())),
                },
            }


def main() -> None:
    arguments, console = _arguments(), Console(width=120, highlight=False)
    torch.set_num_threads(1)
    rate, size = best_rate()
    console.print(f"{cpu_model()}, one thread: {rate / 1e9:.1f} GFLOP/s in products of {size} x {size} (float32)")
    forward = {}
    for name, classes in (("tinyvit_nano", 10), ("tinyvit_21m", 100), ("resnet50", 100)):
        model = build_model(name, num_classes=classes, image_size=32, channels=3, seed=0)
        forward[name] = kinds_of(model, torch.randn(arguments.batch, 3, 32, 32))
        _show_kinds(console, name, arguments.batch, forward[name], rate)
    quick = list(quickstart_trials(arguments.storage, rate, arguments.repeats))
    _show_quick(console, quick, rate)
    paper = list(paper_trials())
    _show_paper(console, paper, rate)
    found = {"processor": cpu_model(), "torch": torch.__version__, "rate": rate, "square": size}
    found |= {"forward": forward, "quickstart": quick, "cifar100": paper}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {arguments.out}")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _show_kinds(console: Console, name: str, batch: int, kinds: Mapping[str, Any], rate: float) -> None:
    seconds, operations = (sum(one[part] for one in kinds.values()) for part in ("seconds", "operations"))
    title = f"{name}, a forward pass of {batch} images of 32 pixels: {seconds * 1e3:.1f} ms"
    table = _table(title, "kind", "of the operations", "of the time", "GFLOP/s", "of the best rate")
    for kind, one in kinds.items():
        own = one["operations"] / one["seconds"] if one["seconds"] else 0.0
        table.add_row(
            kind,
            f"{one['operations'] / operations:.1%}",
            f"{one['seconds'] / seconds:.1%}",
            f"{own / 1e9:.1f}" if own else "",
            f"{own / rate:.0%}" if own else "",
        )
    table.add_row("all", "", "", f"{operations / seconds / 1e9:.1f}", f"{operations / seconds / rate:.0%}")
    console.print(table)


def _show_quick(console: Console, trials: list[dict[str, Any]], rate: float) -> None:
    headings = ("method", "targets", "part", "GFLOP", "least ms", "measured ms", "share reached")
    table = _table("one quickstart trial, one epoch, one core", *headings)
    for trial in trials:
        for part in ("unlearn", "evaluate"):
            count = trial["operations"][part]
            table.add_row(
                trial["method"],
                trial["targets"] or "",
                part,
                f"{count / 1e9:.2f}",
                f"{count / rate * 1e3:.1f}",
                f"{trial['seconds'][part] * 1e3:.1f}",
                f"{trial['share'][part]:.0%}",
            )
    console.print(table)


def _show_paper(console: Console, trials: list[dict[str, Any]], rate: float) -> None:
    parts = list(trials[0]["operations"])
    title = "one trial on CIFAR-100, two epochs: TFLOP, and the least seconds on one core of this machine"
    table = _table(title, "model", "targets", *parts)
    for trial in trials:
        cells = [f"{count / 1e12:.3g} ({count / rate:,.3g} s)" for count in trial["operations"].values()]
        table.add_row(trial["model"], trial["targets"], *cells)
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="how far from the physical limit a trial is")
    parser.add_argument("--batch", type=int, default=64, help="images of a forward pass, as evaluation has it")
    parser.add_argument("--repeats", type=int, default=5, help="times that a trial is run; the median counts")
    parser.add_argument("--storage", type=Path, default=ROOT / "runs", help="of the quickstart's base, made if missing")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
