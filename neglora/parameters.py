"""The methods' parameters: what each takes, within which bounds, and its default. Data only, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Parameter:
    """One setting of a method.

    Attributes:
        name: the key in search spaces, records and `--set`.
        kind: `float`, `int`, `choice` (one of `choices`) or `targets` (a text of the target grammar or a list of
            module names, checked against the model elsewhere).
        default: the value where the user gives none.
        low, high: bounds of a number; None means unbounded.
        low_open, high_open: the bound itself is excluded.
        choices: what a `choice` may be.
        nullable: null is a value too, and stands for going without.
        by_family: a model's family has a default of its own (`Family.default_targets`) that goes before `default`.
        about: one sentence for `neglora list`.
    """

    name: str
    kind: Literal["float", "int", "choice", "targets"]
    default: Any
    about: str
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    by_family: bool = False

    @property
    def expected(self) -> str:
        """What a value should be, in words: "a number in (0, 1)"."""
        return f"{self._expected}, or null" if self.nullable else self._expected

    @property
    def _expected(self) -> str:
        if self.kind == "choice":
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.kind == "targets":
            return "a text such as 'ffn' or 'last.attn_out+head', or a list of module names"
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.low is not None and self.high is not None:
            return (
                f"{noun} in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"
            )
        if self.low is not None:
            return f"{noun} {'>' if self.low_open else '>='} {self.low:g}"
        return noun

    def problem(self, value: Any) -> str | None:
        """None if `value` is fine; otherwise what was expected and what came."""
        return None if self._accepts(value) else f"expected {self.expected}, got {value!r}"

    def _accepts(self, value: Any) -> bool:
        if value is None:
            return self.nullable
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "targets":
            return (isinstance(value, str) and bool(value.strip())) or (
                isinstance(value, list | tuple)
                and bool(value)
                and all(isinstance(item, str) and item for item in value)
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        return not (self.high is not None and (value > self.high or (self.high_open and value == self.high)))


LR = Parameter("lr", "float", 1e-3, "learning rate of the ascent (Adam)", low=0.0, low_open=True)
EPOCHS = Parameter("epochs", "int", 1, "passes over the forget set", low=1)
BATCH_SIZE = Parameter("batch_size", "int", 32, "forget images per ascent step (the paper's Table 4 has 256)", low=1)
BATCHNORM = Parameter(
    "batchnorm",
    "choice",
    "frozen",
    "running statistics during ascent: frozen, or update, which lets them drift towards the forget class",
    choices=("frozen", "update"),
)
SPARSITY = Parameter(
    "sparsity",
    "float",
    0.0,
    "share of weights pruned from the base before unlearning",
    low=0.0,
    high=1.0,
    high_open=True,
)

RETRACT = Parameter(
    "retract",
    "float",
    None,
    "after the ascent, scale its update back to the smallest that keeps this UA on the forget set; null, as the paper "
    "does it, keeps all of it",
    low=0.0,
    low_open=True,
    high=1.0,
    nullable=True,
)

#: What every ascent method takes.
ASCENT = (LR, EPOCHS, BATCH_SIZE, BATCHNORM, SPARSITY, RETRACT)
#: What `neglora` takes beside them.
ADAPTER = (
    Parameter("rank", "int", 16, "rank r of the adapters", low=1),
    Parameter("alpha", "float", 32, "scaling: the update is alpha / rank * BA", low=0.0, low_open=True),
    Parameter("dropout", "float", 0.1, "dropout on the adapters' input", low=0.0, high=1.0, high_open=True),
    Parameter("targets", "targets", "ffn", "layers that get an adapter", by_family=True),
    Parameter(
        "merge",
        "choice",
        "dense",
        "adding the update to a pruned base: dense (weights outside the mask may become non-zero) or masked",
        choices=("dense", "masked"),
    ),
)

#: What `partial_neggrad` takes beside them. The default means something on every family.
PARTIAL = (
    Parameter(
        "targets",
        "targets",
        "partial",
        "layers whose weights and biases are all trained; partial stands for those that the paper names for the family",
    ),
)

#: By method, in the order in which cells and tables name them.
PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "retrain": (),
    "neggrad": ASCENT,
    "partial_neggrad": (*ASCENT, *PARTIAL),
    "neglora": (*ASCENT, *ADAPTER),
}

#: What `neglora unlearn` and `neglora.unlearn()` take where a user says nothing and a class is forgotten: rates at
#: which the ascent goes too far rather than not far enough, and a retraction (docs/retract.md has the measurements).
#: A family may have other targets then (`Family.working_targets`). Studies, and the paper, begin with the parameters'
#: own defaults.
WORKING: dict[str, dict[str, Any]] = {
    "neggrad": {"lr": 1e-3, "retract": 0.99},
    "partial_neggrad": {"lr": 3e-3, "retract": 0.99},
    "neglora": {"lr": 1e-2, "retract": 0.99},
}
