"""What an unlearning method is here: a function, what it needs, and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from torch import nn

from neglora.ascend import Ascent
from neglora.lora import Adapter
from neglora.parameters import Parameter
from neglora.retract import Retraction
from neglora.train import Epoch

Need = Literal["forget", "retain"]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Unlearned:
    """What a method returns.

    Attributes:
        model: the unlearned model, merged, in evaluation mode.
        trainable_parameters: how many numbers the method was free to change.
        ascent: what the ascent did; None for a method without one.
        sparsity_after_ascent: measured share of zero weights before the adapter was merged; None without an ascent.
        layers: module names that were adapted or trained.
        curve: the training curve, of a method that trains.
        adapter: what was merged, of a method that adapts; together with the model given it is the model returned.
        retraction: how far the update was scaled back; None where that was not asked for.
    """

    model: nn.Module
    trainable_parameters: int
    ascent: Ascent | None = None
    sparsity_after_ascent: float | None = None
    layers: tuple[str, ...] = ()
    curve: tuple[Epoch, ...] = ()
    adapter: Adapter | None = None
    retraction: Retraction | None = None


#: `unlearn(model, *, params, masks, seed, **data)`: data holds exactly what the method declares in `needs`, each as
#: batches under its own name; masks are those of a pruned base. A method that ascends may also be given `passing`.
Unlearn = Callable[..., Unlearned]


@dataclass(frozen=True)
class Passing:
    """Who wants to know what a run has come to before its end.

    Attributes:
        epochs: after how many, each below the run's own.
        told: called with such a number and a function that copies what there is, which has to be before `told` returns.
            It gives one that makes of the copy what a run of so many epochs would have returned: only a run on its way
            has to copy, while every run has to finish.
    """

    epochs: tuple[int, ...]
    told: Callable[[int, Callable[[], Callable[[], Unlearned]]], None]

    def after_epoch(self, model: M, finished: Callable[[M, Ascent], Unlearned]) -> Callable[[Ascent], None]:
        """What `ascend` calls after its epochs; `finished` makes of a model, or a copy, what the method returns."""

        def passed(ascent: Ascent) -> None:
            if ascent.epochs in self.epochs:
                self.told(ascent.epochs, lambda: partial(finished, deepcopy(model), ascent))

        return passed


@dataclass(frozen=True)
class Method:
    """A line of the registry.

    Attributes:
        name: the key in search spaces and records.
        about: one sentence for `neglora list`.
        needs: the data that it is handed, and nothing else.
        parameters: its settings; empty where it has none.
        unlearn: the function. It may change the model that it is given.
        changes: names of the modules that a configuration changes, given the base; None for all of them.
        starts_from: `base`, or `fresh`: weights drawn anew and trained as the base was.
    """

    name: str
    about: str
    needs: tuple[Need, ...]
    parameters: tuple[Parameter, ...]
    unlearn: Unlearn
    starts_from: Literal["base", "fresh"] = "base"
    changes: Callable[[nn.Module, Mapping[str, Any]], Sequence[str] | None] = lambda model, params: None

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter of the method, defaults where `params` is silent.

        Raises:
            ValueError: names every unknown parameter and every value that is out of bounds.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        problems = [
            f"{self.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
            for name in params
            if name not in known
        ]
        resolved = {name: params.get(name, parameter.default) for name, parameter in known.items()}
        for name, value in resolved.items():
            problem = known[name].problem(value)
            if problem:
                problems.append(f"{name}: {problem}")
        if problems:
            raise ValueError("; ".join(problems))
        return {
            name: int(value) if known[name].kind == "int" and value is not None else value
            for name, value in resolved.items()
        }
