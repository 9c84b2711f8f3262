import pytest

from neglora.models import ModelError, build_model, match_targets, model_shape
from neglora.models.vit import patch_size


@pytest.mark.parametrize(
    ("image_size", "patch"), [(16, 2), (28, 2), (32, 4), (48, 4), (64, 8), (96, 8), (128, 16), (224, 16), (384, 16)]
)
def test_patches_keep_the_number_of_tokens(image_size, patch):
    assert patch_size(image_size) == patch
    assert (
        model_shape("vit_small", num_classes=10, image_size=image_size).pos_embed.shape[1]
        == 1 + (image_size // patch) ** 2
    )


@pytest.mark.parametrize(
    ("image_size", "why"),
    [(15, "15 pixels are too small for vit_small, which needs 16"), (100, "8-pixel patches of vit_small; 96 would do")],
)
def test_images_that_patches_do_not_fill(image_size, why):
    with pytest.raises(ModelError, match=why):
        build_model("vit_small", num_classes=10, image_size=image_size, channels=3, seed=0)


def test_targets_of_the_elder(elder_vit):
    blocks = [f"blocks.{number}" for number in range(12)]
    assert match_targets(elder_vit, "ffn") == [f"{block}.mlp.{layer}" for block in blocks for layer in ("fc1", "fc2")]
    assert match_targets(elder_vit, "attn") == [
        f"{block}.attn.{layer}" for block in blocks for layer in ("qkv", "proj")
    ]
    assert match_targets(elder_vit, "conv") == ["patch_embed.proj"]
    for prefix in ("last.", "last.block."):
        assert match_targets(elder_vit, f"{prefix}attn_out+head") == ["blocks.11.attn.proj", "head"]
        assert match_targets(elder_vit, f"{prefix}ffn") == ["blocks.11.mlp.fc1", "blocks.11.mlp.fc2"]


def test_the_small_one_has_its_elders_layer_names(small_vit, elder_vit):
    for targets in ("ffn", "attn", "attn_out", "head", "conv"):
        small = match_targets(small_vit, targets)
        assert small
        assert set(small) <= set(match_targets(elder_vit, targets))
