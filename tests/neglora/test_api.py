import copy
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import neglora
from neglora.ascend import Diverged
from neglora.evaluation import infer, measure
from neglora.models import TargetError, build_model, match_targets

METHODS = ["neglora", "neggrad", "partial_neggrad"]


def images(count: int, seed: int, labels: list[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.tensor(labels).repeat(count)[:count]


FORGET = images(12, 0, [3])
RETAIN = images(30, 1, [0, 1, 2, 4, 5, 6, 7, 8, 9])
TEST = images(18, 2, [0, 1, 2, 4, 5, 6, 7, 8, 9])


@pytest.fixture(scope="module")
def stock() -> nn.Module:
    """A model that the registry does not know."""
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=10).eval()


@pytest.fixture
def model(stock: nn.Module) -> nn.Module:
    return copy.deepcopy(stock)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


def loss(model: nn.Module, pair: tuple[Tensor, Tensor] = FORGET) -> float:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return functional.cross_entropy(model(pair[0]), pair[1]).item()


def snapshot(model: nn.Module):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    tensors = {name: id(parameter) for name, parameter in model.named_parameters()}
    types = {name: type(module) for name, module in model.named_modules()}
    return state, modes, flags, tensors, types


def assert_same(first, second):
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0] | second[0])
    assert first[1:] == second[1:]


def differing(first: nn.Module, second: nn.Module) -> set[str]:
    a, b = first.state_dict(), second.state_dict()
    assert list(a) == list(b)
    return {name for name in a if not torch.equal(a[name], b[name])}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_given_is_not_modified_and_a_plain_one_comes_back(model, method, training):
    model.train(training)
    model.bn1.train(not training)
    model.layer1.requires_grad_(False)
    before = snapshot(model)
    unlearned = neglora.unlearn(model, FORGET, method=method, lr=1e-3, epochs=1)
    assert_same(before, snapshot(model))
    assert type(unlearned) is type(model)
    _, modes, flags, tensors, types = snapshot(unlearned)
    assert (modes, flags, types) == (before[1], before[2], before[4])
    assert not set(tensors.values()) & set(before[3].values())
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_forget_set_is_forgotten(model, method):
    unlearned = neglora.unlearn(model, FORGET, method=method, lr=1e-3, epochs=2)
    assert loss(unlearned) > loss(model) + 0.1


def test_a_loader_keeps_its_own_batches(model):
    sizes = []
    loader = DataLoader(TensorDataset(*FORGET), batch_size=5)
    model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    unlearned = neglora.unlearn(model, loader, method="neggrad", epochs=2, retract=None)
    assert loss(unlearned) > loss(model)
    assert sizes[:6] == [5, 5, 2, 5, 5, 2]


def test_a_pair_is_batched_and_shuffled_by_the_seed(model):
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    for seed in (0, 0, 1):
        neglora.unlearn(model, FORGET, method="neggrad", batch_size=8, seed=seed, retract=None)
    assert [len(batch) for batch in seen] == [8, 4] * 3
    first, again, other = (torch.cat(seen[i : i + 2]) for i in (0, 2, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, FORGET[0])
    sums = [epoch.sum((1, 2, 3)).sort().values for epoch in (first, other, FORGET[0])]
    assert torch.equal(sums[0], sums[2])
    assert torch.equal(sums[1], sums[2])


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_fixes_the_result(method):
    """A model with dropout, whatever state the global generator is in."""
    results = []
    for state, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(state)
        model = mlp()
        torch.manual_seed(state)
        results.append(neglora.unlearn(model, FORGET, method=method, seed=seed))
    assert differing(results[0], results[1]) == set()
    assert differing(results[0], results[2])


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(model, guard):
    expected = neglora.unlearn(model, FORGET, targets="head")
    with guard():
        unlearned = neglora.unlearn(model, FORGET, targets="head")
        values = neglora.evaluate(unlearned, forget=FORGET, retain=RETAIN, test=TEST)
    assert differing(unlearned, expected) == set()
    assert all(parameter.requires_grad for parameter in unlearned.parameters())
    assert not any(parameter.is_inference() for parameter in unlearned.parameters())
    assert values == neglora.evaluate(expected, forget=FORGET, retain=RETAIN, test=TEST)


@pytest.mark.parametrize("name", ["tinyvit_nano", "resnet_nano"])
@pytest.mark.parametrize("guard", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_model_that_was_used_before(name, guard):
    """timm's attention keeps what it computed in evaluation mode, with its graph: such a model is copied as well."""
    model = build_model(name, num_classes=10, image_size=32, channels=3, seed=0)
    fresh = copy.deepcopy(model)
    with guard():
        model(FORGET[0])
    unlearned = neglora.unlearn(model, FORGET, method="neggrad")
    assert differing(unlearned, neglora.unlearn(fresh, FORGET, method="neggrad")) == set()
    assert neglora.evaluate(model, forget=FORGET, retain=RETAIN, test=TEST) == neglora.evaluate(
        fresh, forget=FORGET, retain=RETAIN, test=TEST
    )


@pytest.mark.parametrize(
    ("name", "params", "targets"),
    [
        ("tinyvit_nano", {}, "ffn"),
        ("tinyvit_nano", {"retract": None}, "ffn"),
        ("resnet_nano", {}, "head"),
        ("resnet_nano", {"retract": None}, "conv"),
    ],
)
def test_a_family_that_is_known_has_its_own_default_targets(name, params, targets):
    model = build_model(name, num_classes=10, image_size=32, channels=3, seed=0)
    expected = {f"{layer}.weight" for layer in match_targets(model, targets)}
    assert differing(model, neglora.unlearn(model, FORGET, **params)) == expected


def test_a_model_without_convolutions_is_adapted_at_its_head():
    model = mlp()
    assert differing(model, neglora.unlearn(model, FORGET)) == {"4.weight"}
    assert differing(model, neglora.unlearn(model, FORGET, method="partial_neggrad")) == {"4.weight", "4.bias"}


def test_targets_by_name(model):
    unlearned = neglora.unlearn(model, FORGET, targets=["fc", "layer4.1.conv2"], rank=2)
    assert differing(model, unlearned) == {"fc.weight", "layer4.1.conv2.weight"}


def test_whole_numbers_may_come_as_floats(model):
    assert (
        differing(
            neglora.unlearn(model, FORGET, targets="head", epochs=2.0, rank=4.0),
            neglora.unlearn(model, FORGET, targets="head", epochs=2, rank=4),
        )
        == set()
    )


def test_evaluate_is_measure(model):
    model.train()
    before = snapshot(model)
    values = neglora.evaluate(model, forget=FORGET, retain=RETAIN, test=TEST, seed=3)
    assert_same(before, snapshot(model))
    sides = {"forget": [FORGET], "retain": [RETAIN], "test": [TEST]}
    outputs = {name: infer(model, batches) for name, batches in sides.items()}
    expected, _ = measure(**outputs, test_forget=None, seed=3, attacks="confidence")
    del expected["ua_test"]
    assert values == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}
    assert set(values) == {"ua", "ra", "ta", "mia", "runner_up", "mia_accuracy", "mia_auc", "mia_has_signal"}


def test_evaluate_takes_loaders(model):
    loaders = {
        name: DataLoader(TensorDataset(*pair), batch_size=7)
        for name, pair in (("forget", FORGET), ("retain", RETAIN), ("test", TEST))
    }
    values = neglora.evaluate(model, **loaders)
    pairs = neglora.evaluate(model, forget=FORGET, retain=RETAIN, test=TEST)
    assert values == {name: pytest.approx(value, abs=1e-5) for name, value in pairs.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "neglorra"}, "unknown method 'neglorra'; methods are retrain, neggrad, partial_neggrad, neglora"),
        ({"method": "retrain"}, "retrain needs retain, but only the forget set is given"),
        ({"beta": 1}, "neglora has no parameter 'beta'; it has lr, epochs"),
        ({"method": "neggrad", "rank": 4}, "neggrad has no parameter 'rank'"),
        ({"rank": 0, "lr": -1.0}, "lr: expected a number > 0, got -1.0; rank: expected a whole number >= 1, got 0"),
        ({"sparsity": 0.9}, "prune and fine-tune it first"),
        ({"targets": "fc"}, "unknown target 'fc'"),
        ({"targets": "ffn"}, "matches no layer of ResNet, which has conv, head"),
        ({"targets": ["fc1"]}, r"did you mean 'fc'"),
    ],
)
def test_bad_input_says_what_is_wrong(model, arguments, message):
    before = snapshot(model)
    with pytest.raises(ValueError) as raised:
        neglora.unlearn(model, FORGET, **arguments)
    assert message in str(raised.value)
    assert isinstance(raised.value, TargetError) == ("targets" in arguments)
    assert_same(before, snapshot(model))


def test_a_batch_size_beside_a_loader_is_refused(model):
    with pytest.raises(ValueError, match="keeps its own batches"):
        neglora.unlearn(model, DataLoader(TensorDataset(*FORGET)), batch_size=4)


def test_an_empty_forget_set_is_refused(model):
    with pytest.raises(ValueError, match="no batch"):
        neglora.unlearn(model, DataLoader(TensorDataset(FORGET[0][:0], FORGET[1][:0])), targets="head")


def test_divergence_is_told(model):
    before = snapshot(model)
    with pytest.raises(Diverged):
        neglora.unlearn(model, (FORGET[0] * math.nan, FORGET[1]), method="neggrad")
    assert_same(before, snapshot(model))


def vit() -> nn.Module:
    """Small, of a torchvision family whose attention calls its own layers in a way of its own."""
    torch.manual_seed(0)
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )


@pytest.mark.parametrize("method", METHODS)
def test_torchvisions_vision_transformer(method):
    model = vit().eval()
    with torch.no_grad():
        # A fresh one has a head of zeros, behind which nothing has a gradient.
        model.heads.head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    before = snapshot(model)
    unlearned = neglora.unlearn(model, FORGET, method=method, lr=1e-2, epochs=2)
    assert_same(before, snapshot(model))
    assert loss(unlearned) > loss(model) + 0.1
    assert type(unlearned) is type(model)
    mlp = ["encoder.layers.encoder_layer_1.mlp.0", "encoder.layers.encoder_layer_1.mlp.3"]
    if method == "neglora":
        changed = differing(model, neglora.unlearn(model, FORGET, targets=mlp))
        assert changed == {f"{name}.weight" for name in mlp}


def test_a_layer_that_is_never_called_is_refused():
    """Its adapter would silently do nothing."""
    with pytest.raises(ValueError, match="MultiheadAttention without being called"):
        neglora.unlearn(vit(), FORGET, targets=["encoder.layers.encoder_layer_0.self_attention.out_proj"])


@pytest.mark.parametrize("method", METHODS)
def test_a_loader_with_workers(model, method):
    loader = DataLoader(TensorDataset(*FORGET), batch_size=4, num_workers=2)
    plain = DataLoader(TensorDataset(*FORGET), batch_size=4)
    results = [neglora.unlearn(model, batches, method=method, targets="head", epochs=2) if method == "neglora" else
               neglora.unlearn(model, batches, method=method, epochs=2) for batches in (loader, plain)]  # fmt: skip
    assert differing(*results) == set()


def test_images_that_come_only_once_are_refused(model):
    with pytest.raises(ValueError, match="can be iterated only once"):
        neglora.unlearn(model, iter([FORGET]), targets="head", epochs=2)
    for part in ("forget", "retain", "test"):
        images = {"forget": FORGET, "retain": RETAIN, "test": TEST} | {part: []}
        with pytest.raises(ValueError, match="no batch to infer"):
            neglora.evaluate(model, **images)


class Wrapped(nn.Module):
    """A model whose output is more than its logits."""

    def __init__(self, wrap) -> None:
        super().__init__()
        self.inner, self.wrap = mlp(), wrap

    def forward(self, inputs: Tensor):
        return self.wrap(self.inner(inputs))


@pytest.mark.parametrize(
    ("wrap", "what"),
    [
        (lambda logits: (logits, logits), "a tuple of 2"),
        (lambda logits: {"logits": logits, "loss": 0}, "a dict with logits, loss"),
        (lambda logits: logits[0], r"a tensor \[10\]"),
        (lambda logits: logits[:, :, None], r"a tensor \[12, 10, 1\]"),
        (lambda logits: None, "a NoneType"),
    ],
)
def test_an_output_that_is_no_logits_is_said(wrap, what):
    for method in METHODS:
        with pytest.raises(TypeError, match=rf"should return logits \[b, classes\].*got {what}: wrap it"):
            neglora.unlearn(Wrapped(wrap), FORGET, method=method)
    with pytest.raises(TypeError, match=what):
        neglora.evaluate(Wrapped(wrap), forget=FORGET, retain=RETAIN, test=TEST)


class Tied(nn.Module):
    """Two layers with one weight, and a buffer that every forward pass counts in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into = nn.Linear(3 * 32 * 32, 10)
        self.first, self.second = nn.Linear(10, 10), nn.Linear(10, 10)
        self.second.weight = self.first.weight
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.second(self.first(self.into(inputs.flatten(1)).relu()).relu())


@pytest.mark.parametrize(
    ("method", "params"), [("neggrad", {}), ("partial_neggrad", {}), ("neglora", {"targets": ["into"]})]
)
def test_tied_weights_stay_tied_and_buffers_are_copied(method, params):
    model = Tied()
    unlearned = neglora.unlearn(model, FORGET, method=method, **params)
    assert unlearned.first.weight is unlearned.second.weight
    assert unlearned.first.weight is not model.first.weight
    assert (int(model.calls), int(unlearned.calls)) == (0, 1)
    assert loss(unlearned) > loss(model)


def test_an_adapter_on_a_tied_layer_reaches_both(recwarn):
    """Merging adds the update to the one weight that both have; what comes back is what is measured."""
    model = Tied()
    unlearned = neglora.unlearn(model, FORGET, targets=["second"], lr=1e-2)
    assert unlearned.first.weight is unlearned.second.weight
    assert not torch.equal(unlearned.first.weight, model.first.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_another_precision_keeps_it(method, dtype):
    model = mlp().to(dtype)
    before = snapshot(model)
    unlearned = neglora.unlearn(model, FORGET, method=method, lr=1e-2)
    assert_same(before, snapshot(model))
    assert {parameter.dtype for parameter in unlearned.parameters()} == {dtype}
    same = neglora.unlearn(mlp().to(dtype).float(), FORGET, method=method, lr=1e-2)
    wide, narrow = same.state_dict(), unlearned.state_dict()
    if dtype is torch.float64:
        assert all(torch.allclose(wide[name].double(), narrow[name], atol=1e-3) for name in wide)
    else:
        assert all(torch.equal(wide[name].to(dtype), narrow[name]) for name in wide), "as in float32, then rounded"
    values = neglora.evaluate(unlearned, forget=FORGET, retain=RETAIN, test=TEST)
    assert values["ua"] is not None


@pytest.mark.parametrize("method", METHODS)
def test_hooks_of_the_model_are_called(method):
    """Such as one that normalizes: what is unlearned is the model as its owner calls it."""
    model, doubled = mlp(), mlp()
    doubled.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    unlearned = neglora.unlearn(doubled, FORGET, method=method)
    expected = neglora.unlearn(model, (2 * FORGET[0], FORGET[1]), method=method)
    assert differing(unlearned, expected) == set()
    assert len(unlearned._forward_pre_hooks) == 1


def test_a_model_without_weights_is_refused():
    for call in (
        lambda: neglora.unlearn(nn.Flatten(), FORGET, method="neggrad"),
        lambda: neglora.evaluate(nn.Flatten(), forget=FORGET, retain=RETAIN, test=TEST),
    ):
        with pytest.raises(ValueError, match="Flatten has no weights"):
            call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_a_model_on_a_gpu_stays_there(model, method):
    model.cuda()
    unlearned = neglora.unlearn(model, FORGET, method=method, lr=1e-3, epochs=2)
    assert {parameter.device.type for parameter in unlearned.parameters()} == {"cuda"}
    assert loss(unlearned.cpu()) > loss(model.cpu()) + 0.1


def test_what_the_package_offers():
    assert set(neglora.__all__) == {"evaluate", "unlearn"}
    with pytest.raises(AttributeError, match="no attribute 'unlearm'"):
        neglora.unlearm  # noqa: B018
