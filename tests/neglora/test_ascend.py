import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from neglora.ascend import Diverged, ascend, freeze_batchnorm
from neglora.data import Augmentation, TensorBatches
from neglora.models import build_model
from neglora.prune import apply_masks, prune
from tests.neglora.small_models import SMALL

#: Those with BatchNorm: a plain vision transformer has none.
NORMALIZED = ["tinyvit_nano", "resnet_nano"]


def nano(name: str) -> nn.Module:
    return build_model(name, num_classes=10, image_size=32, channels=3, seed=0)


def linear(inputs: int = 5, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, classes))


def points(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), torch.full((count,), 1)


def images(count: int = 24) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two batches of one class, away from the mean that BatchNorm starts from."""
    values = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 2
    labels = torch.full((count,), 3)
    half = count // 2
    return [(values[:half], labels[:half]), (values[half:], labels[half:])]


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_one_sgd_step_by_hand():
    """Softmax regression: the gradient of the mean cross-entropy is (softmax - one-hot)^T x / n."""
    model = linear()
    x, y = points()
    weight, bias = model[0].weight.detach().clone(), model[0].bias.detach().clone()
    error = torch.softmax(x @ weight.T + bias, 1) - functional.one_hot(y, 3)
    done = ascend(model, [(x, y)], parameters=list(model.parameters()), lr=0.3, epochs=1, optimizer="sgd")
    assert torch.allclose(model[0].weight, weight + 0.3 * error.T @ x / 6, atol=1e-6)
    assert torch.allclose(model[0].bias, bias + 0.3 * error.mean(0), atol=1e-6)
    assert (done.steps, done.epochs) == (1, 1)
    assert done.losses == pytest.approx([-torch.log_softmax(x @ weight.T + bias, 1)[:, 1].mean().item()], rel=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_one_sgd_step_on_a_network(name):
    model, twin = nano(name), nano(name)
    [(x, y), _] = images()
    parameters = dict(twin.named_parameters())
    # Attention keeps no cache while it trains; every BatchNorm stays in evaluation mode.
    twin.train()
    freeze_batchnorm(twin)
    gradients = torch.autograd.grad(functional.cross_entropy(twin(x), y), list(parameters.values()))
    ascend(model, [(x, y)], parameters=list(model.parameters()), lr=0.01, epochs=1, optimizer="sgd")
    for (key, before), gradient in zip(parameters.items(), gradients, strict=True):
        assert torch.allclose(model.get_parameter(key), before + 0.01 * gradient, atol=1e-6), key


def test_the_first_adam_step_is_the_sign_of_the_gradient():
    model = linear()
    x, y = points()
    before = model[0].weight.detach().clone()
    error = torch.softmax(x @ before.T + model[0].bias.detach(), 1) - functional.one_hot(y, 3)
    ascend(model, [(x, y)], parameters=list(model.parameters()), lr=0.1, epochs=1)
    assert torch.allclose(model[0].weight, before + 0.1 * (error.T @ x).sign(), atol=1e-4)


def test_whole_epochs():
    model = linear()
    batches = [points(4, seed) for seed in range(3)]
    steps = []
    done = ascend(
        model, batches, parameters=list(model.parameters()), lr=0.1, epochs=4, after_step=lambda: steps.append(1)
    )
    assert done.steps == len(done.losses) == len(steps) == 12
    assert done.epochs == 4


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_on_the_forget_set_rises(name, optimizer):
    model = nano(name)

    def loss() -> float:
        with torch.no_grad():
            return sum(functional.cross_entropy(model(x), y).item() for x, y in images()) / 2

    before = loss()
    lr = {"adam": 1e-3, "sgd": 0.01}[optimizer]
    ascend(model, images(), parameters=list(model.parameters()), lr=lr, epochs=2, optimizer=optimizer)
    assert loss() > before + 0.1
    assert not any(module.training for module in model.modules())


def test_it_leaves_no_gradients():
    model = linear()
    parameters = list(model.parameters())
    seen = []

    def look(done):
        seen.append([parameter.grad for parameter in parameters])

    ascend(model, [points()], parameters=parameters, lr=0.1, epochs=2, after_epoch=look)
    assert [*seen, [parameter.grad for parameter in parameters]] == [[None, None], [None, None]]


def test_only_the_parameters_given_change():
    model = nano("resnet_nano")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ascend(model, images(), parameters=[model.fc.weight, model.layer2[0].conv2.weight], lr=1e-3, epochs=1)
    assert changed(before, model.state_dict()) == {"fc.weight", "layer2.0.conv2.weight"}


@pytest.mark.parametrize("name", NORMALIZED)
def test_frozen_batchnorm_keeps_its_statistics(name):
    model = nano(name)
    before = buffers(model)
    assert len(before) > 20
    ascend(model, images(), parameters=list(model.parameters()), lr=1e-3, epochs=2)
    assert changed(before, buffers(model)) == set()


@pytest.mark.parametrize("name", NORMALIZED)
def test_updated_batchnorm_drifts_towards_the_forget_set(name):
    model = nano(name)
    before = buffers(model)
    ascend(model, images(), parameters=list(model.parameters()), lr=1e-12, epochs=2, batchnorm="update")
    statistics = {
        f"{layer}.{buffer}"
        for layer, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert changed(before, buffers(model)) == statistics
    counts = {int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {4}


def test_frozen_batchnorm_uses_its_statistics():
    """The loss of the first batch is the loss in evaluation mode."""
    model = nano("resnet_nano")
    [(x, y), _] = images()
    with torch.no_grad():
        expected = functional.cross_entropy(model(x), y).item()
    frozen = ascend(nano("resnet_nano"), [(x, y)], parameters=[model.fc.weight], lr=1e-3, epochs=1)
    updated = ascend(nano("resnet_nano"), [(x, y)], parameters=[model.fc.weight], lr=1e-3, epochs=1, batchnorm="update")
    assert frozen.losses[0] == pytest.approx(expected, rel=1e-5)
    assert abs(updated.losses[0] - expected) > 1e-3


def test_a_bad_input_diverges_at_its_step():
    batches = [points(4, seed) for seed in range(5)]
    batches[3][0][0, 0] = math.nan
    model = linear()
    with pytest.raises(Diverged, match=r"the loss became nan at step 4") as raised:
        ascend(model, batches, parameters=list(model.parameters()), lr=0.1, epochs=2)
    assert raised.value.step == 4


def test_steps_are_counted_over_epochs():
    class Spoiled:
        """Fine in the first epoch."""

        epoch = 0

        def __iter__(self):
            self.epoch += 1
            for seed in range(3):
                x, y = points(4, seed)
                yield (x * math.inf if self.epoch == 2 and seed == 1 else x), y

    model = linear()
    with pytest.raises(Diverged) as raised:
        ascend(model, Spoiled(), parameters=list(model.parameters()), lr=0.1, epochs=3)
    assert raised.value.step == 5


@pytest.mark.parametrize("name", SMALL)
def test_a_huge_rate_diverges(name):
    model = nano(name)
    with pytest.raises(Diverged) as raised:
        ascend(model, images(), parameters=list(model.parameters()), lr=1e30, epochs=1)
    assert raised.value.step == 2


def test_weights_that_overflow_in_the_last_step_diverge():
    """The losses were finite, the weights are not."""
    model = linear()
    x, y = points()
    with pytest.raises(Diverged, match="a weight became infinite or NaN at step 1") as raised:
        ascend(model, [(x * 1e3, y)], parameters=list(model.parameters()), lr=1e38, epochs=1, optimizer="sgd")
    assert raised.value.step == 1


def test_a_huge_loss_is_a_result():
    model = linear()
    done = ascend(model, [points()], parameters=list(model.parameters()), lr=1e6, epochs=3)
    assert done.losses[-1] > 1e5
    assert all(math.isfinite(loss) for loss in done.losses)


def test_an_empty_or_used_up_forget_set_is_refused():
    model = linear()
    with pytest.raises(ValueError, match="no batch"):
        ascend(model, [], parameters=list(model.parameters()), lr=0.1, epochs=1)
    with pytest.raises(ValueError, match="only once"):
        ascend(model, iter([points()]), parameters=list(model.parameters()), lr=0.1, epochs=2)


def test_dropout_of_the_model_is_active():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3))
    x, y = points(64)
    with torch.no_grad():
        expected = functional.cross_entropy(model.eval()(x), y).item()
    done = ascend(model, [(x, y)], parameters=list(model.parameters()), lr=1e-3, epochs=1)
    assert abs(done.losses[0] - expected) > 1e-4


class Answers(TorchDispatchMode):
    """Counts how often the program asks for a number of a tensor, for which a GPU would be waited."""

    count = 0

    def __torch_dispatch__(self, operation, types, given=(), keywords=None):
        self.count += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*given, **(keywords or {}))


def test_nothing_is_asked_for_within_an_epoch():
    """However many steps: once at its end, whether the weights are finite."""
    given = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for batch_size in (12, 3):
        model = nano("tinyvit_nano")
        masks = prune(model, 0.5)
        batches = TensorBatches(
            given,
            torch.full((24,), 3),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            batch_size=batch_size,
            seed=0,
            augmentation=Augmentation(shift=1, flip=True),
        )
        with Answers() as answers:
            done = ascend(
                model,
                batches,
                parameters=list(model.parameters()),
                lr=1e-4,
                epochs=2,
                # Adam counts its steps in the host's memory.
                optimizer="sgd",
                after_step=partial(apply_masks, model, masks),
            )
        assert done.steps == 2 * 24 // batch_size
        assert answers.count == 2


@pytest.mark.parametrize("name", NORMALIZED)
def test_bf16_against_a_plain_loop(name):
    model, twin = nano(name), nano(name)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    twin.train()
    freeze_batchnorm(twin)
    losses = []
    for x, y in images():
        with torch.autocast("cpu", torch.bfloat16):
            logits = twin(x)
        assert logits.dtype == torch.bfloat16
        loss = functional.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        (-loss).backward()
        optimizer.step()
        losses.append(loss.item())
    done = ascend(model, images(), parameters=list(model.parameters()), lr=1e-3, epochs=1, bf16=True)
    assert done.losses == tuple(losses)
    assert changed(model.state_dict(), twin.state_dict()) == set()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    exact = nano(name)
    first = ascend(exact, images(), parameters=list(exact.parameters()), lr=1e-3, epochs=1).losses[0]
    assert first != losses[0] == pytest.approx(first, rel=0.05)


@pytest.mark.parametrize("name", NORMALIZED)
def test_channels_last_computes_the_same(name):
    def ascended(channels_last: bool) -> tuple[nn.Module, tuple[float, ...]]:
        model = nano(name)
        done = ascend(
            model,
            images(),
            parameters=list(model.parameters()),
            lr=1e-3,
            epochs=1,
            optimizer="sgd",
            channels_last=channels_last,
        )
        return model, done.losses

    (usual, losses), (model, others) = ascended(False), ascended(True)
    kernel = model.get_parameter({"tinyvit_nano": "patch_embed.conv1.conv.weight", "resnet_nano": "conv1.weight"}[name])
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert others == pytest.approx(losses, rel=1e-4)
    for key, value in usual.state_dict().items():
        assert torch.allclose(model.state_dict()[key], value, atol=1e-5), key
