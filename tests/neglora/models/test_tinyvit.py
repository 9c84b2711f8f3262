import copy

import pytest
import torch
from timm.models.tiny_vit import Attention, TinyVit
from torch import nn

from neglora.ascend import ascend
from neglora.data import TensorBatches
from neglora.evaluation import infer
from neglora.models import build_model
from neglora.models.tinyvit import STOCK_WINDOWS, clipped_windows


def build(image_size: int) -> nn.Module:
    return build_model("tinyvit_nano", num_classes=10, image_size=image_size, channels=3, seed=0)


def layer_types(model: nn.Module) -> set[tuple[str, type]]:
    return {(name, type(module)) for name, module in model.named_modules()}


def test_windows_are_clipped_to_the_maps():
    assert clipped_windows(32) == (7, 4, 2, 1)
    assert clipped_windows(64) == (7, 7, 4, 2)
    assert clipped_windows(224) == STOCK_WINDOWS == (7, 7, 14, 7)


@pytest.mark.parametrize("image_size", [32, 48])
def test_no_window_is_padded(image_size):
    """The tokens that attention sees are those of the feature map and no more."""
    model = build(image_size)
    maps, tokens = {}, {}
    for number, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda module, args, out, number=number: maps.update({number: out.shape[-2:]}))
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            module.register_forward_hook(
                lambda module, args, out, name=name: tokens.update({name: args[0].shape[:2].numel()})
            )
    with torch.no_grad():
        model(torch.zeros(1, 3, image_size, image_size))
    assert len(tokens) == 4
    for name, count in tokens.items():
        assert count == maps[int(name.split(".")[1])].numel(), name


def test_at_224_it_is_the_stock_model():
    ours = build(224)
    stock = TinyVit(num_classes=10, embed_dims=(32, 64, 96, 128), depths=(1, 1, 2, 1), num_heads=(1, 2, 3, 4)).eval()
    stock.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(images), stock(images))


def test_it_has_the_layers_of_its_elder(elder_tinyvit):
    nano = layer_types(build(32))
    assert len(nano) > 100
    # An elder drops paths; the nano, which does not, has an identity there.
    without_drop = {(name, kind) for name, kind in nano if "drop_path" not in name}
    assert without_drop <= layer_types(elder_tinyvit)


def test_it_is_nano():
    assert 0.5e6 < sum(parameter.numel() for parameter in build(32).parameters()) < 0.6e6


def test_evaluation_after_an_ascent_uses_the_new_attention_biases():
    """timm keeps attention biases in a cache while in evaluation mode: a stale one would hide the ascent."""
    model = build(32)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=generator)
    batches = TensorBatches(images, torch.full((16,), 3), mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=16)
    before = infer(model, batches).logits
    biases = [module.attention_biases for module in model.modules() if isinstance(module, Attention)]
    values = copy.deepcopy(biases)
    ascend(model, batches, parameters=biases, lr=0.5, epochs=3)
    assert sum(not torch.equal(new, old) for new, old in zip(biases, values, strict=True)) == 3
    after = infer(model, batches).logits
    fresh = build(32)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(after, infer(fresh, batches).logits)
    assert not torch.allclose(after, before, atol=1e-4)
