import re

import pytest
from torch import nn

from neglora.models import (
    PRESETS,
    TARGETS,
    TargetError,
    available_targets,
    family_of,
    match_targets,
    resnet,
    tinyvit,
    vit,
)
from neglora.models.targets import GENERIC

BLOCKS = ["stages.1.blocks.0", "stages.2.blocks.0", "stages.2.blocks.1", "stages.3.blocks.0"]


def under(blocks, *names):
    return [f"{block}.{name}" for block in blocks for name in names]


NANO_TINYVIT = {
    "ffn": under(BLOCKS, "mlp.fc1", "mlp.fc2"),
    "attn": under(BLOCKS, "attn.qkv", "attn.proj"),
    "attn_out": under(BLOCKS, "attn.proj"),
    "head": ["head.fc"],
    "last.ffn": under(BLOCKS[-1:], "mlp.fc1", "mlp.fc2"),
    "last.attn": under(BLOCKS[-1:], "attn.qkv", "attn.proj"),
    "last.block.attn_out": under(BLOCKS[-1:], "attn.proj"),
    "last.head": ["head.fc"],
    "last.block.head": ["head.fc"],
    "last.attn_out+head": ["stages.3.blocks.0.attn.proj", "head.fc"],
    "head+last.attn_out": ["stages.3.blocks.0.attn.proj", "head.fc"],
    " head + last.ffn ": [*under(BLOCKS[-1:], "mlp.fc1", "mlp.fc2"), "head.fc"],
    "attn+attn_out": under(BLOCKS, "attn.qkv", "attn.proj"),
    "last.conv": ["stages.3.downsample.conv1.conv", "stages.3.downsample.conv3.conv"],
}


@pytest.mark.parametrize("targets", NANO_TINYVIT)
def test_targets_of_the_small_tinyvit(nano_tinyvit, targets):
    found = match_targets(nano_tinyvit, targets)
    order = [name for name, _ in nano_tinyvit.named_modules()]
    assert found == sorted(NANO_TINYVIT[targets], key=order.index)


@pytest.mark.parametrize(
    ("targets", "pattern", "count"),
    [
        ("ffn", r"stages\.[123]\.blocks\.\d\.mlp\.fc[12]", 20),
        ("attn", r"stages\.[123]\.blocks\.\d\.attn\.(qkv|proj)", 20),
        ("last.ffn", r"stages\.3\.blocks\.[01]\.mlp\.fc[12]", 4),
        ("last.block.ffn", r"stages\.3\.blocks\.1\.mlp\.fc[12]", 2),
        ("last.attn_out+head", r"stages\.3\.blocks\.[01]\.attn\.proj|head\.fc", 3),
        ("last.block.attn_out+head", r"stages\.3\.blocks\.1\.attn\.proj|head\.fc", 2),
    ],
)
def test_targets_of_its_elder(elder_tinyvit, targets, pattern, count):
    """Two blocks a stage, six in the third: a preset written for the small one serves here."""
    found = match_targets(elder_tinyvit, targets)
    assert len(found) == count
    assert all(re.fullmatch(pattern, name) for name in found)


@pytest.mark.parametrize("targets", [targets for targets in NANO_TINYVIT if "conv" not in targets])
def test_what_the_small_one_adapts_its_elder_has(nano_tinyvit, elder_tinyvit, targets):
    """`last.` may reach more blocks there, and a name of the nano's last block be one of the stage's."""
    assert set(match_targets(nano_tinyvit, targets.replace(".block", ""))) <= set(
        match_targets(elder_tinyvit, targets.replace(".block", ""))
    )


def test_convolutions_that_are_grouped_are_left_out(nano_tinyvit):
    found = set(match_targets(nano_tinyvit, "conv"))
    convolutions = {name: m for name, m in nano_tinyvit.named_modules() if isinstance(m, nn.Conv2d)}
    grouped = {name for name, module in convolutions.items() if module.groups > 1}
    assert "stages.1.blocks.0.local_conv.conv" in grouped
    assert found == set(convolutions) - grouped
    with pytest.raises(TargetError, match="ungrouped"):
        match_targets(nano_tinyvit, ["stages.1.blocks.0.local_conv.conv"])


def test_convolutions_and_head_of_the_small_resnet(nano_resnet):
    found = match_targets(nano_resnet, "conv+head")
    assert found == [
        "conv1",
        *(f"layer1.0.conv{number}" for number in (1, 2, 3)),
        *(f"layer{stage}.0.{name}" for stage in (2, 3, 4) for name in ("conv1", "conv2", "conv3", "downsample.0")),
        "fc",
    ]


#: The last block of TinyViT has attention and no convolution but a grouped one, that of a plain ViT none at all.
WITHOUT_CONVOLUTION = {("TinyViT", "conv", "last.block."), ("ViT", "conv", "last."), ("ViT", "conv", "last.block.")}


@pytest.mark.parametrize(
    "model", ["nano_tinyvit", "elder_tinyvit", "nano_resnet", "elder_resnet", "small_vit", "elder_vit"]
)
def test_every_available_term_matches_with_every_prefix(request, model):
    model = request.getfixturevalue(model)
    for kind in available_targets(model):
        everywhere = set(match_targets(model, kind))
        for prefix in ("last.", "last.block."):
            if (family_of(model).name, kind, prefix) in WITHOUT_CONVOLUTION:
                continue
            found = match_targets(model, prefix + kind)
            assert found
            assert set(found) <= everywhere


def test_what_is_available(nano_tinyvit, nano_resnet):
    assert available_targets(nano_tinyvit) == list(TARGETS)
    assert available_targets(nano_resnet) == ["conv", "head"]
    assert available_targets(nn.Sequential(nn.ReLU())) == []


def test_presets_of_the_paper(elder_tinyvit, elder_vit, elder_resnet):
    assert match_targets(elder_vit, "paper_text") == match_targets(elder_vit, "ffn")
    assert match_targets(elder_vit, "paper_counts") == ["blocks.11.attn.proj", "head"]
    assert match_targets(elder_tinyvit, "paper_text") == match_targets(elder_tinyvit, "ffn")
    assert match_targets(elder_tinyvit, "paper_counts") == ["stages.3.blocks.1.attn.proj", "head.fc"]
    blocks = match_targets(elder_resnet, "paper_counts")
    assert len(blocks) == 3 * 16 + 1
    assert blocks[-1] == "fc"
    assert not [name for name in blocks if "downsample" in name or name == "conv1"]


def test_a_preset_joins_other_terms(elder_vit):
    assert match_targets(elder_vit, "paper_text+head") == match_targets(elder_vit, "ffn+head")
    assert match_targets(elder_vit, "head + paper_counts") == match_targets(elder_vit, "paper_counts")
    with pytest.raises(TargetError, match=r"unknown target 'last\.paper_text'"):
        match_targets(elder_vit, "last.paper_text")


def test_every_preset_is_explained():
    families = [tinyvit.FAMILY, vit.FAMILY, resnet.FAMILY]
    for family in families:
        assert set(family.presets) <= set(PRESETS)
        assert all(preset.about and preset.rank >= 1 for preset in family.presets.values())
    assert set(PRESETS) == {name for family in families for name in family.presets}
    assert not set(PRESETS) & set(TARGETS)


def test_a_family_that_lacks_a_preset_says_so(nano_resnet):
    with pytest.raises(TargetError, match="'paper_text' means nothing on ResNet, which has conv, head, paper_counts"):
        match_targets(nano_resnet, "head+paper_text")
    with pytest.raises(TargetError, match="'paper_counts' means nothing on Sequential, which has conv, head"):
        match_targets(other(), "paper_counts")


def other() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def test_a_model_that_is_not_known():
    model = other()
    assert family_of(model) == GENERIC
    assert match_targets(model, "conv+head") == ["0", "5"]
    assert match_targets(model, ["5", "3"]) == ["3", "5"]
    with pytest.raises(TargetError, match="stages"):
        match_targets(model, "last.conv")
    with pytest.raises(TargetError, match=r"matches no layer of Sequential, which has conv, head"):
        match_targets(model, "ffn")
    with pytest.raises(TargetError, match="no layer that can be adapted"):
        match_targets(nn.Sequential(nn.ReLU()), "head")


@pytest.mark.parametrize(
    ("model", "default"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Linear(8, 2)), "head"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "conv"),
        (other(), "conv+head"),
    ],
)
def test_defaults_of_a_model_that_is_not_known_are_of_what_it_has(model, default):
    family = family_of(model)
    assert (family.partial, family.default_targets) == (default, default)
    assert match_targets(model, family.partial)


def test_a_list_of_names(nano_tinyvit):
    names = ["head.fc", "stages.1.blocks.0.attn.qkv"]
    assert match_targets(nano_tinyvit, names) == names[::-1]
    with pytest.raises(TargetError, match=r"did you mean 'head\.fc'"):
        match_targets(nano_tinyvit, ["head.fx"])
    with pytest.raises(TargetError, match="no Linear or ungrouped Conv2d layer named 'head'"):
        match_targets(nano_tinyvit, ["head"])


@pytest.mark.parametrize(
    ("targets", "hint"),
    [
        ("fnn", "'ffn'"),
        ("last.attn_ot", "'attn_out'"),
        ("ffn+hed", "'head'"),
        ("last.block.con", "'conv'"),
        ("paper_txt", "'paper_text'"),
    ],
)
def test_a_misspelt_term_gets_the_nearest(nano_tinyvit, targets, hint):
    with pytest.raises(TargetError, match=rf"unknown target .*did you mean {hint}"):
        match_targets(nano_tinyvit, targets)


@pytest.mark.parametrize(
    "targets", ["", "+", "ffn+", "first.ffn", "last.last.ffn", "block.ffn", "ffn,attn", "last.", "Q"]
)
def test_what_is_not_of_the_grammar_is_refused_with_what_is(nano_tinyvit, targets):
    with pytest.raises(TargetError, match=r"targets are ffn, attn, attn_out, conv, head, .*paper_text, paper_counts"):
        match_targets(nano_tinyvit, targets)


def test_a_term_that_matches_nothing_says_what_would(nano_resnet, nano_tinyvit):
    with pytest.raises(TargetError, match=r"'last\.ffn' matches no layer of ResNet, which has conv, head"):
        match_targets(nano_resnet, "head+last.ffn")
    with pytest.raises(TargetError, match=r"'last\.block\.conv' matches no layer of TinyVit"):
        match_targets(nano_tinyvit, "last.block.conv")


def test_partial_stands_for_what_partial_neggrad_trains(nano_resnet, nano_tinyvit):
    for model in (nano_resnet, nano_tinyvit):
        assert match_targets(model, "partial") == match_targets(model, family_of(model).partial)
    assert match_targets(nano_tinyvit, "partial+last.attn") == match_targets(nano_tinyvit, "last.attn+last.ffn+head")
    assert match_targets(nn.Sequential(nn.Linear(2, 3)), "partial") == ["0"]
    with pytest.raises(TargetError, match="did you mean 'partial'"):
        match_targets(nano_tinyvit, "partiel")
