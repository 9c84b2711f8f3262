import copy

import pytest
import timm
import torch
from torch import nn

from neglora.ascend import freeze_batchnorm
from neglora.lora import adapter_parameters, adapter_size, inject, merge
from neglora.models import build_model, family_of, match_targets, model_shape

CASES = [
    ("tinyvit_nano", "ffn"),
    ("tinyvit_nano", "attn+head"),
    ("tinyvit_nano", "conv"),
    ("tinyvit_nano", "last.attn_out+head"),
    ("resnet_nano", "conv+head"),
    ("resnet_nano", "last.conv"),
]


def nano(name: str) -> nn.Module:
    return build_model(name, num_classes=10, image_size=32, channels=3, seed=0)


def adapted(model: nn.Module, layers: list[str], **changes):
    return inject(model, layers, **{"rank": 4, "alpha": 8.0, "dropout": 0.0, "seed": 0} | changes)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in adapter_parameters(model))


def perturb(model: nn.Module, std: float = 0.05) -> None:
    """Give B, which starts at zero, some value."""
    generator = torch.Generator().manual_seed(3)
    for parameter in adapter_parameters(model):
        parameter.data.normal_(std=std, generator=generator)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Stand(nn.Module):
    """Plain layers of given shapes, to count by hand."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_a_linear_layer_takes_rank_times_in_plus_out(rank):
    assert count(adapted(Stand(a=nn.Linear(20, 30), b=nn.Linear(30, 7)), ["a"], rank=rank)) == rank * (20 + 30)
    assert count(adapted(Stand(a=nn.Linear(20, 30), b=nn.Linear(30, 7)), ["a", "b"], rank=rank)) == rank * (50 + 37)


@pytest.mark.parametrize("rank", [1, 4])
def test_a_convolution_takes_rank_times_kernel_in_plus_out(rank):
    layer = nn.Conv2d(5, 9, (3, 2), stride=2, padding=1)
    assert count(adapted(Stand(a=layer), ["a"], rank=rank)) == rank * (5 * 3 * 2 + 9)


@pytest.mark.parametrize(("name", "targets"), CASES)
def test_parameters_of_a_model_by_the_formula(name, targets):
    model = nano(name)
    layers = match_targets(model, targets)
    expected = 0
    for layer in layers:
        weight = model.get_submodule(layer).weight
        expected += 4 * (weight.shape[0] + weight[0].numel())
    model = adapted(model, layers)
    assert count(model) == expected
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


def test_the_papers_counts_on_a_vit_small():
    """Table rows of 20K: rank 16 on the last attention output and the head, 384 wide, 100 classes. See FIELD.md."""
    stand = Stand(proj=nn.Linear(384, 384), head=nn.Linear(384, 100))
    assert count(adapted(stand, ["proj", "head"], rank=16)) == 20_032
    ffn = Stand(fc1=nn.Linear(384, 1536), fc2=nn.Linear(1536, 384))
    assert count(adapted(ffn, ["fc1", "fc2"], rank=16)) == 61_440


def test_the_papers_counts_on_resnet50():
    """Table rows of 20.5K, the 10-class head's own weights, and 608K: with it, rank 8 on the blocks' convolutions."""
    model = timm.create_model("resnet50", pretrained=False, num_classes=10)
    head = sum(parameter.numel() for parameter in model.fc.parameters())
    assert head == 20_490
    layers = match_targets(model, "paper_counts")
    assert adapter_size(model, layers, 8) == 604_752, "where the head gets an adapter as well"
    blocks = [name for name in layers if name != "fc"]
    assert adapter_size(model, blocks, 8) == 588_288
    assert count(adapted(model, blocks, rank=8)) + head == 608_778


@pytest.mark.parametrize(
    ("name", "targets"), [*CASES, ("timm:test_vit", "ffn+conv"), ("timm:test_resnet", "conv+head")]
)
def test_adapters_are_counted_without_adding_any(name, targets):
    model = nano(name)
    layers = match_targets(model, targets)
    sizes = {rank: adapter_size(model, layers, rank) for rank in (1, 5)}
    shape = model_shape(name, num_classes=10, image_size=32)
    assert sizes == {rank: adapter_size(shape, layers, rank) for rank in sizes}
    assert not [key for key, _ in model.named_parameters() if "lora_" in key]
    for rank, size in sizes.items():
        assert size == count(adapted(nano(name), layers, rank=rank))


@pytest.mark.parametrize(
    ("name", "preset", "size"),
    [
        ("vit_small", "paper_text", 737_280),
        ("vit_small", "paper_counts", 20_032),
        ("tinyvit_21m", "paper_counts", 29_248),
        ("resnet50", "paper_counts", 605_472),
    ],
)
def test_presets_of_the_elders_at_100_classes(name, preset, size):
    model = model_shape(name, num_classes=100, image_size=224)
    assert adapter_size(model, match_targets(model, preset), family_of(model).presets[preset].rank) == size


@pytest.mark.parametrize(("name", "targets"), CASES)
def test_output_is_unchanged_right_after_injection(name, targets, images):
    model = nano(name)
    layers = match_targets(model, targets)
    with torch.no_grad():
        before = model(images)
        after = adapted(model, layers).eval()(images)
    assert torch.equal(before, after)


@pytest.mark.parametrize(("name", "targets"), CASES)
@pytest.mark.parametrize("rank", [1, 16])
def test_merged_and_unmerged_logits_agree(name, targets, rank, images):
    base = nano(name)
    layers = match_targets(base, targets)
    model = adapted(copy.deepcopy(base), layers, rank=rank, alpha=2.0 * rank).eval()
    perturb(model)
    with torch.no_grad():
        before = base(images)
        unmerged = model(images)
        merged = merge(model).eval()
        after = merged(images)
    assert (unmerged - before).abs().max() > 1e-2, "the adapters do something"
    assert (after - unmerged).abs().max() <= 1e-5 * max(1.0, unmerged.abs().max().item())
    assert type(merged) is type(base)
    assert list(merged.state_dict()) == list(base.state_dict())
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_the_update_is_alpha_over_rank_times_ba():
    base = nn.Linear(6, 5)
    model = adapted(Stand(a=copy.deepcopy(base)), ["a"], rank=2, alpha=3.0)
    perturb(model, std=1.0)
    a, b = (parameter.detach().clone() for parameter in adapter_parameters(model))
    assert (a.shape, b.shape) == ((2, 6), (5, 2))
    merged = merge(model)
    assert torch.allclose(merged.a.weight, base.weight + 3.0 / 2 * b @ a, atol=1e-6)
    assert torch.equal(merged.a.bias, base.bias)


def test_masks_hold_the_zeros_of_a_sparse_base():
    mask = torch.tensor([[True, False], [False, True]])
    model = adapted(Stand(a=nn.Linear(2, 2)), ["a"])
    perturb(model, std=1.0)
    merged = merge(model, {"a.weight": mask})
    assert torch.equal(merged.a.weight != 0, mask)


def test_only_the_named_layers_are_adapted():
    """A name is no pattern: the dot of `a.b` matches a dot, and `b` alone is another layer."""
    inner = Stand(b=nn.Linear(2, 2))
    model = adapted(Stand(a=inner, axb=nn.Linear(2, 2), b=nn.Linear(2, 2)), ["a.b"])
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 2
    assert all(".a.b.lora_" in name for name in names)


def test_the_seed_fixes_the_adapters():
    def drawn(seed):
        return adapter_parameters(adapted(nano("tinyvit_nano"), ["head.fc"], seed=seed))[0]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_the_global_generator_is_left_as_it_was():
    model = nano("tinyvit_nano")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    adapted(model, match_targets(model, "ffn"))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_only_while_training(images):
    model = nano("tinyvit_nano")
    model = adapted(model, match_targets(model, "ffn"), dropout=0.5)
    perturb(model)
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(images), model(images))
        still = model(images)
        model.train()
        freeze_batchnorm(model)
        assert not torch.equal(model(images), model(images)), "the nano itself drops nothing: this is the adapters'"
        model.eval()
        assert torch.equal(model(images), still)


def test_a_merged_model_can_be_adapted_again(images, recwarn):
    model = nano("resnet_nano")
    layers = match_targets(model, "conv")
    for _ in range(2):
        model = adapted(model, layers)
        perturb(model)
        model = merge(model)
    assert not [warning for warning in recwarn if "peft" in str(warning.filename).lower()]
    assert [name for name, _ in model.named_parameters() if "lora" in name] == []


def test_a_weight_that_is_computed_is_refused():
    """Merged into it, the update would be gone at the next forward."""
    model = nn.Sequential(nn.Linear(3, 4), torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="the weight of 1 is computed from others"):
        inject(model, ["0", "1"], rank=1, alpha=1, dropout=0.0, seed=0)
    assert inject(model, ["0"], rank=1, alpha=1, dropout=0.0, seed=0)
