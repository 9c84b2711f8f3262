import math

import pytest
import torch
from torch import nn

from neglora.data import Augmentation, TensorBatches
from neglora.models import build_model
from neglora.recipe import Recipe, warmup_cosine
from neglora.train import Epoch, TrainingDiverged, train, uses_bf16


def two_bars(count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of an upright or a lying bar: easy to tell apart."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    for index, label in enumerate(labels.tolist()):
        place = 4 + index % 24
        if label:
            images[index, :, place : place + 4] = 255
        else:
            images[index, :, :, place : place + 4] = 255
    return images, labels


def batches(seed: int = 0, **changes) -> TensorBatches:
    images, labels = two_bars()
    settings = {"batch_size": 16, "seed": seed, "augmentation": Augmentation(shift=1)} | changes
    return TensorBatches(images, labels, mean=(0.5,) * 3, std=(0.5,) * 3, **settings)


def nano(name: str = "resnet_nano") -> nn.Module:
    return build_model(name, num_classes=2, image_size=32, channels=3, seed=0)


RECIPE = Recipe(epochs=4, lr=2e-3, batch_size=16, warmup_epochs=1)
NAMES = ("tinyvit_nano", "resnet_nano")


class Listed(list):
    """Batches that are the same in every epoch."""

    def epoch(self, number, *, start=0, rank=0, world=1):
        for inputs, labels in self[start:]:
            yield inputs[rank::world], labels[rank::world]


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls(name):
    epochs = []
    model = nano(name)
    loader = batches()
    curve = train(model, loader, RECIPE, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in curve] == [1, 2, 3, 4]
    assert all(isinstance(epoch, Epoch) for epoch in curve)
    assert epochs == curve
    assert curve[-1].loss < 0.7 * curve[0].loss
    assert curve[-1].accuracy > curve[0].accuracy
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_fixes_the_weights(name):
    def trained(seed):
        model = nano(name)
        train(model, batches(seed), RECIPE.changed({"epochs": 1}))
        return model.state_dict()

    first, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_mean_loss_and_accuracy_weigh_images_alike():
    """Without learning, the curve's figures are those of one pass over all images, smaller last batch included."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    loader = batches(batch_size=20, seed=None)
    recipe = Recipe(epochs=1, lr=0.0, warmup_epochs=0, weight_decay=0.0)
    [epoch] = train(model, loader, recipe)
    inputs = torch.cat([batch for batch, _ in loader])
    labels = torch.cat([batch for _, batch in loader])
    logits = model(inputs).detach()
    assert epoch.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert epoch.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_decay_is_on_matrices_only_and_follows_the_schedule():
    """Black images give a weight no gradient, so that only its decay is left: prod of 1 - lr_t * weight_decay."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.ones_(model[1].weight)
    nn.init.ones_(model[1].bias)
    loader = Listed([(torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))] * 3)
    recipe = Recipe(epochs=2, lr=0.1, weight_decay=0.5, warmup_epochs=1)
    train(model, loader, recipe)
    expected = math.prod(1 - 0.1 * warmup_cosine(step, 3, 6) * 0.5 for step in range(6))
    assert expected < 0.9
    assert torch.allclose(model[1].weight, torch.full((2, 12), expected), rtol=1e-5)
    assert torch.equal(model[1].bias, torch.ones(2)), "logits and labels are balanced: no gradient, and no decay"


def test_every_parameter_is_trained():
    model = nano()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, batches(), RECIPE.changed({"epochs": 1, "weight_decay": 0.0}))
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []


def test_frozen_parameters_stay():
    model = nano()
    model.conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, batches(), RECIPE.changed({"epochs": 1}))
    after = model.state_dict()
    assert torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(after["fc.weight"], before["fc.weight"])


def test_after_step_is_called_after_every_step():
    model = nano()
    seen = []
    train(
        model,
        batches(),
        RECIPE.changed({"epochs": 2}),
        after_step=lambda: seen.append(model.fc.weight.detach().clone()),
    )
    assert len(seen) == 6
    assert torch.equal(seen[-1], model.fc.weight)


@pytest.mark.parametrize("kind", ["rate", "input"])
def test_divergence_is_an_error_that_says_how_to_go_on(kind):
    loader = batches()
    recipe = RECIPE
    if kind == "input":
        loader = Listed([(torch.full((4, 3, 32, 32), math.nan), torch.zeros(4, dtype=torch.long))])
    else:
        recipe = RECIPE.changed({"lr": 1e30})
    with pytest.raises(TrainingDiverged, match=r"the loss of epoch \d is (nan|inf): lower the learning rate"):
        train(nano(), loader, recipe)


def plainly_trained(optimizer_of, recipe: Recipe, clip: float | None = None) -> dict[str, torch.Tensor]:
    """The same training written down once more, without this project's loop."""
    model = nano("tinyvit_nano")
    optimizer = optimizer_of(model)
    step, loader = 0, batches()
    for number in range(recipe.epochs):
        model.train()
        for inputs, labels in loader.epoch(number):
            factor = warmup_cosine(step, recipe.warmup_epochs * 3, recipe.epochs * 3)
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * factor
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            if clip:
                norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt()
                for parameter in model.parameters():
                    parameter.grad *= min(1.0, clip / (norm.item() + 1e-6))
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize(
    ("changes", "optimizer_of"),
    [
        (
            {"betas": (0.8, 0.95), "weight_decay": 0.0},
            lambda model: torch.optim.AdamW(model.parameters(), betas=(0.8, 0.95), weight_decay=0.0),
        ),
        (
            {"optimizer": "sgd", "lr": 0.05, "momentum": 0.8, "weight_decay": 0.0},
            lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8),
        ),
        (
            {"optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.1},
            lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
        ),
    ],
    ids=["adamw", "sgd", "clipped"],
)
def test_the_same_as_a_plain_loop(changes, optimizer_of):
    recipe = RECIPE.changed({"epochs": 2, **changes})
    model = nano("tinyvit_nano")
    train(model, batches(), recipe)
    expected = plainly_trained(optimizer_of, recipe, changes.get("clip_norm"))
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, expected[name], rtol=1e-3, atol=1e-5), name


def test_bf16_computes_in_it_and_keeps_weights_in_float32():
    seen = set()
    model = nano("tinyvit_nano")
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    [*_, last] = train(model, batches(), RECIPE.changed({"precision": "bf16"}))
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    [*_, reference] = train(nano("tinyvit_nano"), batches(), RECIPE)
    assert last.loss == pytest.approx(reference.loss, rel=0.2)
    assert last.loss != reference.loss


def test_what_auto_means_here():
    cpu = torch.device("cpu")
    assert not uses_bf16(Recipe(), cpu)
    assert uses_bf16(Recipe(precision="bf16"), cpu)
    assert not uses_bf16(Recipe(precision="float32"), cpu)


def test_channels_last_changes_rounding_alone():
    first, second = nano(), nano()
    seen = []
    first.conv1.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    curve = train(first, batches(), RECIPE.changed({"epochs": 1, "channels_last": True}))
    other = train(second, batches(), RECIPE.changed({"epochs": 1, "channels_last": False}))
    assert seen
    assert all(seen)
    assert [epoch.loss for epoch in curve] == pytest.approx([epoch.loss for epoch in other], rel=1e-3)
    assert all(parameter.is_contiguous() for parameter in first.parameters()), "left as it came"


def test_the_seed_is_that_of_dropout_and_the_global_generator_stays():
    def trained(seed):
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, 2))
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        before = torch.random.get_rng_state()
        train(model, batches(), RECIPE.changed({"epochs": 1}), seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        return model[2].weight.detach()

    first = trained(1)
    torch.rand(3)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))


def test_no_epochs_is_no_training():
    model = nano()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert train(model, batches(), Recipe(epochs=0, warmup_epochs=0)) == []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
