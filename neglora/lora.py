"""Low-rank adapters through peft: inject, count, take out, attach again, merge.

Source: Hu et al. 2021; Section "LoRA" of the paper (W' = W + BA, scaled by alpha / rank).

peft, whose import takes seconds, is imported where it is used, so that who trains base models or reads a search space
does not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer


@dataclass(frozen=True)
class Adapter:
    """Adapters by themselves, apart from the model that they were trained on.

    Attributes:
        tensors: A and B of every layer on the CPU, under peft's names.
        layers: names of the adapted modules.
        rank, alpha, dropout: as given to `inject`.
        scale: of the update, where it was retracted after the ascent: it is scale * alpha / rank * BA.
    """

    tensors: dict[str, Tensor]
    layers: tuple[str, ...]
    rank: int
    alpha: float
    dropout: float
    scale: float = 1.0

    @property
    def config(self) -> LoraConfig:
        """The same in peft's words, which have no scale of its own: it is part of alpha."""
        return _config(self.layers, self.rank, self.alpha * self.scale, self.dropout)


def inject(model: nn.Module, layers: Sequence[str], *, rank: int, alpha: float, dropout: float, seed: int) -> PeftModel:
    """Freeze a model and add an adapter to each of the named layers, in place.

    Args:
        model: the base model; its layers are wrapped, its weights stay the same tensors.
        layers: module names of Linear and ungrouped Conv2d layers.
        rank, alpha, dropout: of the adapters; B starts at zero, so that the model's output is unchanged.
        seed: fixes A; torch's global generator is left as it was.

    Returns:
        The peft model, whose only trainable parameters are the adapters'.

    Raises:
        ValueError: a layer is never called, but read by the module around it, so that its adapter would do nothing; or
            its weight is computed from others, so that the adapter could not be merged.
    """
    for name in layers:
        if parametrize.is_parametrized(model.get_submodule(name)):
            raise ValueError(
                f"the weight of {name} is computed from others (torch.nn.utils.parametrize, such as weight_norm): an "
                f"adapter could not be merged into it; remove the parametrization, or choose other layers"
            )
        around = model.get_submodule(name.rpartition(".")[0])
        if isinstance(around, nn.MultiheadAttention):
            raise ValueError(
                f"{name} is read by torch's MultiheadAttention without being called: an adapter there would do "
                f"nothing; choose other layers"
            )
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, _config(layers, rank, alpha, dropout))


def _config(layers: Sequence[str], rank: int, alpha: float, dropout: float) -> LoraConfig:
    from peft import LoraConfig

    # Names are matched whole, and as they are: peft takes a list of names for endings of names.
    exactly = "|".join(re.escape(name) for name in layers)
    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=f"(?:{exactly})", bias="none")


def adapter_of(model: PeftModel, layers: Sequence[str]) -> Adapter:
    """A copy of a model's adapters, to be kept.

    Args:
        model: from `inject`, before `merge`.
        layers: those that it was given.
    """
    from peft.utils import get_peft_model_state_dict

    config = model.peft_config["default"]
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    return Adapter(tensors, tuple(layers), config.r, config.lora_alpha, config.lora_dropout)


def attach(model: nn.Module, adapter: Adapter) -> PeftModel:
    """Add kept adapters to a model, in place: the opposite of `adapter_of`.

    Raises:
        ValueError: the adapters are not of a model like this one.
    """
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    alpha = adapter.alpha * adapter.scale
    adapted = inject(model, adapter.layers, rank=adapter.rank, alpha=alpha, dropout=adapter.dropout, seed=0)
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    given = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    if shapes != given:
        differing = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))
        raise ValueError(f"the adapters do not fit {type(model).__name__}: {', '.join(differing[:3])}")
    set_peft_model_state_dict(adapted, adapter.tensors)
    return adapted


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The adapters' parameters, which are all that is trainable after `inject`."""
    return [parameter for name, parameter in model.named_parameters() if "lora_" in name]


def adapter_size(model: nn.Module, layers: Sequence[str], rank: int) -> int:
    """How many parameters adapters on the named layers would have, without adding any; also on the meta device.

    A is rank x inputs and B outputs x rank; the inputs of a convolution are all values under its kernel.
    """
    weights = [model.get_parameter(f"{name}.weight") for name in layers]
    return sum(rank * (weight.shape[0] + weight[0].numel()) for weight in weights)


def merge(model: PeftModel, masks: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Add the adapters' updates to the base weights and return the plain model.

    Args:
        model: from `inject`.
        masks: with `merge: masked`, the masks of a sparse base: weights outside stay zero.

    Differs: what peft's `merge_and_unload` does, at the adapted layers alone. It looks at every module of the model,
    which takes a small one longer than a step of the ascent.
    """
    merged, layers = _unwrapped(model)
    for layer in layers:
        layer.merge()
    _mask(merged, masks)
    return merged


class Merged:
    """Adapters merged into their base at any scale of their update.

    Args:
        adapted: from `inject`; it is unwrapped.
        masks: as `merge` takes them.

    Attributes:
        model: the plain model, at the scale that was asked for last; at first the base.
    """

    def __init__(self, adapted: PeftModel, masks: Mapping[str, Tensor] | None = None) -> None:
        config = adapted.peft_config["default"]
        self._alpha, self._rank, self._masks = config.lora_alpha, config.r, masks
        self.model, self._layers = _unwrapped(adapted)
        self._base = [layer.get_base_layer().weight.detach().clone() for layer in self._layers]

    @torch.no_grad()
    def at(self, scale: float) -> None:
        """Make the model W + scale * alpha / rank * BA: at 1 what `merge` gives, at 0 the base, bit for bit."""
        for layer, base in zip(self._layers, self._base, strict=True):
            layer.get_base_layer().weight.copy_(base)
            layer.merged_adapters.clear()
            # In the order in which an adapter with a scale is attached again.
            layer.scaling["default"] = self._alpha * scale / self._rank
            layer.merge()
        _mask(self.model, self._masks)


def _unwrapped(model: PeftModel) -> tuple[nn.Module, list[BaseTunerLayer]]:
    """The plain model, with the base's layers in their places, and peft's layers that stood there."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = model.get_base_model()
    layers = []
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            around, _, last = name.rpartition(".")
            setattr(plain.get_submodule(around), last, layer.get_base_layer())
            layers.append(layer)
    # peft's mark of a model that has adapters.
    vars(plain).pop("peft_config", None)
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    return plain, layers


def _mask(model: nn.Module, masks: Mapping[str, Tensor] | None) -> None:
    if masks:
        with torch.no_grad():
            parameters = dict(model.named_parameters())
            for name, mask in masks.items():
                parameters[name].mul_(mask)
