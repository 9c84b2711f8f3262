import hashlib
import pickle
import zipfile

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from neglora.models import (
    ModelError,
    WeightsError,
    build_model,
    fit_weights,
    load_weights,
    pretrained_model,
    weights_digest,
)


def nano(seed=0, num_classes=10, image_size=32, name="resnet_nano"):
    return build_model(name, num_classes=num_classes, image_size=image_size, channels=3, seed=seed)


@pytest.fixture(scope="module")
def tensors():
    return dict(nano(seed=3).state_dict())


def same(found, expected):
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_safetensors_file(tensors, tmp_path):
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    assert same(load_weights(tmp_path / "a.safetensors"), tensors)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3, "arch": "resnet"},
        lambda tensors: {"model": tensors, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        lambda tensors: {"model_state_dict": tensors},
        lambda tensors: {"model": {"state_dict": tensors}},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()},
    ],
)
def test_a_state_dict_as_training_scripts_save_it(wrap, tensors, tmp_path):
    torch.save(wrap(tensors), tmp_path / "a.pt")
    assert same(load_weights(str(tmp_path / "a.pt")), tensors)


def test_weights_fill_a_model(tensors):
    model = nano(seed=0)
    fit_weights(model, tensors, "a.pt")
    assert same(model.state_dict(), tensors)


class Hostile:
    """What a pickle does when it is read."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_runs_nothing(tensors, tmp_path, nested, zipped):
    trap = tmp_path / "written"
    content = {"state_dict": tensors, "extra": Hostile(trap)} if nested else Hostile(trap)
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"more than tensors.*torch\.save\(model\.state_dict\(\)"):
        load_weights(tmp_path / "a.pt")
    assert not trap.exists()


def test_a_bare_pickle_with_code_is_refused_and_runs_nothing(tmp_path):
    trap = tmp_path / "written"
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "a.pth")
    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(tmp_path / "a.safetensors")
    assert not trap.exists()


def test_a_whole_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="such as a whole model"):
        load_weights(tmp_path / "a.pt")


def test_a_scripted_model_is_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(WeightsError, match=r"neither a \.safetensors file nor a state dict.*TorchScript"):
        load_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"weights", b"\xff" * 4096, b"study: mine\nmodels: [x]\n"])
def test_a_file_of_something_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=str(tmp_path / name)):
        load_weights(tmp_path / name)


def test_a_truncated_file(tensors, tmp_path):
    for name, save in (("a.pt", torch.save), ("a.safetensors", safetensors.torch.save_file)):
        save(tensors, tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="damaged"):
            load_weights(tmp_path / name)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
        ({}, "it is empty"),
        ({"fc.weight": torch.zeros(1), "epoch": 3}, "it holds epoch"),
        ({"net": {"fc.weight": torch.zeros(1)}}, "it holds net"),
    ],
)
def test_what_is_no_state_dict(tmp_path, content, why):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=why):
        load_weights(tmp_path / "a.pt")


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"there is no file .*a\.pt"):
        load_weights(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights_digest(tmp_path / "a.pt")
    assert issubclass(WeightsError, ModelError)


def test_a_mismatch_lists_the_keys(tensors):
    changed = {name: tensor for name, tensor in tensors.items() if not name.startswith("layer4.")}
    changed |= {"extra.weight": torch.zeros(1), "bn1.weight": torch.zeros(7)}
    model = nano()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError) as raised:
        fit_weights(model, changed, "a.pt")
    told = str(raised.value)
    missing = sum(name.startswith("layer4.") for name in tensors)
    assert missing > 10
    assert "weights of a.pt do not fit ResNet" in told
    assert f"{missing} missing: layer4.0.conv1.weight, " in told
    assert f"and {missing - 10} more" in told
    assert "1 unexpected: extra.weight" in told
    assert "1 of another shape: bn1.weight is 7, expected 64" in told
    assert same(model.state_dict(), before), "nothing was loaded"


def test_a_head_of_other_classes_is_named():
    with pytest.raises(WeightsError, match="classifier has 1000 classes, the dataset 10"):
        fit_weights(nano(), nano(num_classes=1000).state_dict(), "a.pt")


def test_another_image_size_is_named():
    other = nano(image_size=64, name="timm:test_vit").state_dict()
    with pytest.raises(WeightsError, match="another image size"):
        fit_weights(nano(name="timm:test_vit"), other, "a.pt")


def test_weights_that_are_not_finite_are_refused(tensors):
    with pytest.raises(WeightsError, match=r"infinite or NaN in 1: fc\.bias"):
        fit_weights(nano(), tensors | {"fc.bias": torch.full((10,), torch.nan)}, "a.pt")


def test_the_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "a.pt"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert weights_digest(path) == weights_digest(str(path)) == hashlib.sha256(content).hexdigest()


def test_models_without_pretrained_weights_say_so():
    with pytest.raises(WeightsError, match="no pretrained weights for tinyvit_nano"):
        pretrained_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=0)


def test_without_a_network_it_says_what_to_do(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("no route to host")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", unreachable)
    with pytest.raises(WeightsError, match=r"vit_small \(vit_small_patch16_224\).*no route to host.*HF_HOME"):
        pretrained_model("vit_small", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.mark.parametrize(("name", "size"), [("timm:test_vit", 32), ("timm:test_resnet", 64)])
def test_pretrained_weights_are_fitted_to_the_dataset(name, size, monkeypatch, tmp_path):
    """With a file in place of the download: head drawn anew, position embeddings resized by timm."""
    own = name.removeprefix("timm:")
    published = timm.create_model(own, num_classes=1000)
    torch.save(published.state_dict(), tmp_path / "published.pt")
    load = timm.models._builder.load_pretrained

    def local(model, pretrained_cfg, **keywords):
        return load(model, pretrained_cfg=pretrained_cfg | {"file": str(tmp_path / "published.pt")}, **keywords)

    monkeypatch.setattr(timm.models._builder, "load_pretrained", local)
    first, again = (pretrained_model(name, num_classes=7, image_size=size, channels=3, seed=1) for _ in range(2))
    assert same(first.state_dict(), again.state_dict())
    taken = published.state_dict()
    inner = [key for key in taken if key.endswith("weight") and ("blocks." in key or "layer" in key)]
    assert len(inner) > 10
    assert all(torch.equal(first.state_dict()[key], taken[key]) for key in inner)
    assert not first.training
    with torch.no_grad():
        assert first(torch.zeros(1, 3, size, size)).shape == (1, 7)


@pytest.mark.parametrize("image_size", [32, 224])
def test_the_elders_take_their_published_weights(image_size, monkeypatch, tmp_path):
    stock = timm.create_model("tiny_vit_21m_224")
    torch.save(stock.state_dict(), tmp_path / "published.pt")
    load = timm.models._builder.load_pretrained

    def local(model, pretrained_cfg, **keywords):
        return load(model, pretrained_cfg=pretrained_cfg | {"file": str(tmp_path / "published.pt")}, **keywords)

    monkeypatch.setattr(timm.models._builder, "load_pretrained", local)
    model = pretrained_model("tinyvit_21m", num_classes=10, image_size=image_size, channels=3, seed=0)
    key = "stages.2.blocks.5.mlp.fc1.weight"
    assert torch.equal(model.state_dict()[key], stock.state_dict()[key])
