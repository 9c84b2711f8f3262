import copy
import math

import pytest
import torch
from timm.models.tiny_vit import Attention, TinyVit, TinyVitBlock
from torch import nn

from neglora.ascend import ascend
from neglora.data import TensorBatches
from neglora.evaluation import infer
from neglora.models import build_model
from neglora.models.tinyvit import STOCK_WINDOWS, clipped_windows


def build(image_size: int, **options: str) -> nn.Module:
    return build_model("tinyvit_nano", num_classes=10, image_size=image_size, channels=3, seed=0, options=options)


def layer_types(model: nn.Module) -> set[tuple[str, type]]:
    return {(name, type(module)) for name, module in model.named_modules()}


def test_windows_are_clipped_to_the_maps():
    assert clipped_windows(32) == (7, 4, 2, 1)
    assert clipped_windows(64) == (7, 8, 4, 2)
    assert clipped_windows(96) == (7, 6, 6, 3)
    assert clipped_windows(224) == STOCK_WINDOWS == (7, 7, 14, 7)


def test_windows_at_any_size():
    """None is larger than its map, nor than four thirds of the stock one; no size near the stock one pads less."""
    for image_size in range(1, 513):
        width = -(-image_size // 4)
        for window, stock in zip(clipped_windows(image_size)[1:], STOCK_WINDOWS[1:], strict=True):
            width = -(-width // 2)
            assert 1 <= window <= width
            assert window <= 4 * stock / 3
            if width <= stock:
                assert window == width
                continue
            padded = {size: math.ceil(width / size) * size for size in range(1, 20) if 2 / 3 <= size / stock <= 4 / 3}
            assert padded[window] == min(padded.values())
            closer = [size for size in padded if abs(size - stock) < abs(window - stock)]
            assert all(padded[size] > padded[window] for size in closer)


def test_the_stock_windows_can_be_had():
    padded = build(32, windows="padded")
    blocks = [module for module in padded.modules() if isinstance(module, TinyVitBlock)]
    assert [block.window_size for block in blocks] == [7, 14, 14, 7]
    assert tokens_of(padded, 32)[1] == {"stages.1": 49, "stages.2": 196, "stages.3": 49}


@pytest.mark.parametrize("image_size", [32, 48, 64, 96, 128, 160, 192, 224])
def test_no_window_is_padded(image_size):
    """The tokens that attention sees are those of the feature map and no more."""
    maps, tokens = tokens_of(build(image_size), image_size)
    assert len(tokens) == 3
    assert tokens == {stage: maps[stage] for stage in tokens}


def tokens_of(model: nn.Module, image_size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Tokens of each stage's map, and those that its attention sees, for one image."""
    maps, tokens = {}, {}
    for number, stage in enumerate(model.stages):
        name = f"stages.{number}"
        stage.register_forward_hook(lambda module, args, out, name=name: maps.update({name: out.shape[-2:].numel()}))
        for module in stage.modules():
            if isinstance(module, Attention):
                module.register_forward_hook(
                    lambda module, args, out, name=name: tokens.update({name: args[0].shape[:2].numel()})
                )
    with torch.no_grad():
        model(torch.zeros(1, 3, image_size, image_size))
    return maps, tokens


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
    assert nano <= layer_types(elder_tinyvit)


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
