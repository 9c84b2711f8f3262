import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from neglora.data import TensorBatches
from neglora.lora import adapter_parameters, inject, merge
from neglora.models import build_model, match_targets
from neglora.prune import MODES, apply_masks, measured_sparsity, prunable_layers, prune
from neglora.train import Recipe, train
from tests.neglora.small_models import SMALL

LEVELS = [0.5, 0.75, 0.9, 0.95]
HEADS = {"tinyvit_nano": "head.fc", "resnet_nano": "fc", "timm:test_vit": "head"}


def nano(name: str) -> nn.Module:
    return build_model(name, num_classes=10, image_size=32, channels=3, seed=0)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": module.weight.detach().clone() for name, module in prunable_layers(model).items()}


def images(count: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % 10) for _ in range(2)]


def test_the_modes_are_those_of_the_registry():
    assert list(MODES) == ["magnitude", "structured"]
    assert set(HEADS) == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sparsity", LEVELS)
def test_magnitude_takes_the_smallest_weights_of_all_layers_to_one_weight(name, sparsity):
    model = nano(name)
    before = weights(model)
    masks = prune(model, sparsity)
    after = weights(model)
    total = sum(weight.numel() for weight in before.values())
    zeros = sum(int((weight == 0).sum()) for weight in after.values())
    assert abs(zeros - sparsity * total) <= 1
    assert measured_sparsity(model) == zeros / total
    assert set(masks) == set(before)
    kept = torch.cat([before[key][masks[key]].abs() for key in before])
    taken = torch.cat([before[key][~masks[key]].abs() for key in before])
    assert taken.max() <= kept.min()
    for key, mask in masks.items():
        assert mask.dtype == torch.bool
        assert torch.equal(after[key], before[key] * mask)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sparsity", LEVELS)
def test_structured_takes_the_smallest_rows_of_each_layer_to_one_row(name, sparsity):
    model = nano(name)
    before = weights(model)
    masks = prune(model, sparsity, "structured")
    after = weights(model)
    head = f"{HEADS[name]}.weight"
    assert set(masks) == set(before) - {head}
    assert torch.equal(after[head], before[head]), "its rows are the classes"
    for key, mask in masks.items():
        rows = mask.flatten(1)
        kept = rows.all(1)
        assert torch.equal(kept, rows.any(1)), "whole rows"
        assert kept.any()
        assert abs(int((~kept).sum()) - sparsity * len(rows)) <= 1
        norms = torch.tensor([sum(value**2 for value in row.flatten().tolist()) ** 0.5 for row in before[key]])
        if not kept.all():
            assert norms[~kept].max() <= norms[kept].min() + 1e-6
        assert torch.equal(after[key], before[key] * mask)


@pytest.mark.parametrize("mode", MODES)
def test_pruned_layers_are_plain_layers_again(mode):
    model = nano("resnet_nano")
    names = [name for name, _ in model.named_parameters()]
    buffers = [name for name, _ in model.named_buffers()]
    prune(model, 0.5, mode)
    assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
    assert [name for name, _ in model.named_buffers()] == buffers
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
    copy.deepcopy(model)


def test_nothing_is_pruned_at_zero():
    model = nano("resnet_nano")
    assert prune(model, 0.0) == {}
    assert measured_sparsity(model) == 0.0


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 1.5, float("nan")])
def test_sparsity_out_of_bounds(sparsity):
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        prune(nano("resnet_nano"), sparsity)


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="magnitude, structured, got 'random'"):
        prune(nano("resnet_nano"), 0.5, "random")


def test_sparsity_of_a_network_without_layers():
    assert measured_sparsity(nn.ReLU()) == 0.0


def step_on(model, masks, hold):
    """Three steps of SGD with momentum and weight decay."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    model.train()
    for inputs, labels in images() + images()[:1]:
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        if hold:
            apply_masks(model, masks)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("mode", MODES)
def test_the_mask_survives_momentum_and_weight_decay(name, mode):
    model = nano(name)
    masks = prune(model, 0.75, mode)
    free, sparsity, before = copy.deepcopy(model), measured_sparsity(model), weights(model)
    step_on(model, masks, hold=True)
    assert measured_sparsity(model) == sparsity
    after = weights(model)
    for key, mask in masks.items():
        assert not after[key][~mask].any()
    assert any(not torch.equal(after[key], before[key]) for key in masks), "the rest was trained"
    step_on(free, masks, hold=False)
    assert measured_sparsity(free) < 0.97 * sparsity, "without the mask these steps fill it"


def test_the_mask_survives_training():
    model = nano("resnet_nano")
    masks = prune(model, 0.9)
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = TensorBatches(pixels, torch.arange(32) % 10, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=16, seed=0)
    train(model, batches, Recipe(epochs=2, warmup_epochs=0), after_step=lambda: apply_masks(model, masks))
    total = sum(mask.numel() for mask in masks.values())
    assert abs(measured_sparsity(model) - 0.9) <= 1 / total


def test_a_mask_of_another_model_is_refused():
    with pytest.raises(KeyError, match="no_such"):
        apply_masks(nano("resnet_nano"), {"no_such.weight": torch.ones(1, dtype=torch.bool)})


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("mode", MODES)
def test_sparsity_after_merging(name, mode):
    sparse = nano(name)
    masks = prune(sparse, 0.9, mode)
    before = measured_sparsity(sparse)
    measured = {}
    for merging, held in (("masked", masks), ("dense", None)):
        layers = match_targets(sparse, "conv+head")
        adapted = inject(copy.deepcopy(sparse), layers, rank=2, alpha=4, dropout=0.0, seed=0)
        for parameter in adapter_parameters(adapted):
            nn.init.normal_(parameter.data, generator=torch.Generator().manual_seed(1))
        merged = merge(adapted, held)
        measured[merging] = measured_sparsity(merged)
        changed = [not torch.equal(merged.get_submodule(n).weight, sparse.get_submodule(n).weight) for n in layers]
        assert any(changed)
    assert measured["masked"] == before
    assert measured["dense"] < 0.95 * before
