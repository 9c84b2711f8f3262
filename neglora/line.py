"""The models of a replicate on the line from its base to all of its ascent, from one ascent: W + s U.

A kept adapter needs no ascent at all; an update that is not kept (`neggrad`, or running statistics that were let go) is
had by ascending once more, with the forget set alone, as the replicate did.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from neglora.data import Splits, parse_forget
from neglora.evaluation import DatasetOutputs
from neglora.hardware import use_threads
from neglora.lora import Adapter, Merged, attach
from neglora.methods import METHODS, Unlearned
from neglora.prerequisites import base_of
from neglora.retract import Between, kept
from neglora.session import Kept, Session
from neglora.setting import Setting
from neglora.trunk import Trunk


class ScaleError(ValueError):
    """There is no such scale; the message says what there is."""


@dataclass(frozen=True)
class Line:
    """The models of one replicate, of which there is one at a time.

    Attributes:
        setting, method, seed: of the replicate.
        base: where the line begins.
        splits: of the forget set.
        adapter: all of it, at scale 1; None for a method without one.
        from_kept: whether it was kept; otherwise the ascent ran again.
        model: in evaluation mode, wherever `at` has put it last.
    """

    setting: Setting
    method: str
    seed: int
    base: Kept
    splits: Splits
    adapter: Adapter | None
    from_kept: bool
    model: nn.Module
    _trunk: Trunk
    _set_scale: Callable[[float], None]

    def at(self, scale: float) -> nn.Module:
        """The model at a scale of the update: at 0 exactly the base, at 1 exactly the unretracted model.

        Raises:
            ScaleError: the scale is not in [0, 1].
        """
        self._set_scale(checked(scale))
        return self.model

    def outputs(self, scale: float) -> DatasetOutputs:
        """Logits of the model at a scale, for the whole dataset.

        Raises:
            ScaleError: the scale is not in [0, 1].
        """
        return self._trunk.infer(self.at(scale))


def line_of(
    session: Session,
    setting: Setting,
    method: str,
    params: Mapping[str, Any],
    replicate: Mapping[str, Any],
    adapter: Adapter | None,
) -> Line:
    """The line of a recorded replicate.

    Args:
        session: its storage has to hold the base.
        setting, method, params: of the record.
        replicate: as the record has it.
        adapter: the kept one, whatever its scale; None to run the ascent again.

    Raises:
        ScaleError: the method has no update: it does not start from the base.
        LookupError: the base is missing.
        Diverged: the ascent was run again and diverged.
        ValueError: the adapter is not of this model.
    """
    if METHODS[method].starts_from != "base":
        raise ScaleError(f"{method} does not start from the base: it has no update that could be scaled")
    use_threads(setting.threads)
    seed = replicate["seed"]
    base = session.get(base_of(setting, seed, params["sparsity"]))
    splits = session.splits(setting, parse_forget(session.dataset(setting).info, replicate["forget"]))
    trunk = Trunk(session, setting, base, method, params)
    masked = params.get("merge") == "masked"
    whole: Adapter | None
    from_kept = adapter is not None and not lets_statistics_go(base.model, params)
    if adapter is not None and from_kept:
        whole = replace(adapter, scale=1.0)
        model, set_scale = _of_adapter(base, whole, None, masked=masked)
    else:
        again = _ascended(trunk, splits, seed)
        whole = again.adapter
        if whole is None:
            model, set_scale = again.model.eval(), Between(again.model, kept(base.model)).at
        else:
            model, set_scale = _of_adapter(base, whole, again.model, masked=masked)
    return Line(setting, method, seed, base, splits, whole, from_kept, model, trunk, set_scale)


def lets_statistics_go(model: nn.Module, params: Mapping[str, Any]) -> bool:
    """Whether the ascent changes running statistics, which no adapter holds."""
    return params.get("batchnorm") == "update" and any(isinstance(one, _BatchNorm) for one in model.modules())


def recorded_scale(replicate: Mapping[str, Any]) -> float:
    """The scale of the update that a recorded model has.

    Raises:
        ScaleError: the record says one that there is not.
    """
    retraction = (replicate.get("details") or {}).get("retraction") or {}
    return checked(retraction.get("scale", 1.0))


def checked(scale: float | None) -> float:
    """A scale in [0, 1].

    Raises:
        ScaleError: it is none.
    """
    if scale is None or not 0 <= scale <= 1:
        raise ScaleError(f"a scale lies in [0, 1], from the base to the full ascent, got {scale!r}")
    return float(scale)


def _ascended(trunk: Trunk, splits: Splits, seed: int) -> Unlearned:
    """All of the ascent of a replicate, whatever it was retracted to."""
    model = copy.deepcopy(trunk.base.model)
    params = {**trunk.params, "retract": None}
    with trunk.ascending(model, splits, seed) as data:
        return trunk.method.unlearn(model, params=params, masks=trunk.base.masks, seed=seed, **data)


def _of_adapter(
    base: Kept, adapter: Adapter, ascended: nn.Module | None, *, masked: bool
) -> tuple[nn.Module, Callable[[float], None]]:
    """A model and what scales its adapter, as retracting does it: merged anew each time, into the mask if asked for.

    Args:
        base: where it begins.
        adapter: at scale 1.
        ascended: whose running statistics are those at scale 1; None where they are the base's.
        masked: whether the mask of a sparse base is kept.
    """
    merged = Merged(attach(copy.deepcopy(base.model), adapter), base.masks if masked else None)
    model = merged.model.eval()
    if ascended is None:
        return model, merged.at
    buffers = dict(ascended.named_buffers())
    before = kept(model, lambda name: name in buffers)
    model.load_state_dict(buffers, strict=False)
    statistics = Between(model, before)

    def set_scale(scale: float) -> None:
        merged.at(scale)
        statistics.at(scale)

    return model, set_scale
