"""Adapters kept beside a ledger: names, what is in a file, and what a damaged one does."""

import copy
import json
import logging
from pathlib import Path

import pytest
import safetensors
import torch

from neglora.kept import (
    ADAPTERS,
    adapter_bytes,
    adapter_file,
    adapter_name,
    keep_adapters,
    kept_adapter,
    trial_of,
)
from neglora.lora import adapter_of, attach, inject, merge
from neglora.models import build_model, match_targets

TRIAL = "digits-tinyvit_nano-neglora-sparsity=0.5-0007"


@pytest.fixture(scope="module")
def model():
    return build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.fixture(scope="module")
def adapter(model):
    layers = match_targets(model, "last.conv+head")
    adapted = inject(copy.deepcopy(model), layers, rank=3, alpha=6.5, dropout=0.25, seed=1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    return adapter_of(adapted, layers)


def test_a_kept_adapter_comes_back_as_it_was(adapter, tmp_path):
    file = adapter_file(tmp_path, TRIAL, 3, 0)
    keep_adapters(tmp_path, {file.name: adapter_bytes(adapter)})
    found = kept_adapter(file)
    assert (found.layers, found.rank, found.alpha, found.dropout) == (adapter.layers, 3, 6.5, 0.25)
    assert found.tensors.keys() == adapter.tensors.keys()
    assert all(torch.equal(found.tensors[name], adapter.tensors[name]) for name in adapter.tensors)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_attached_and_merged_it_is_the_same_model_to_the_bit(model, adapter):
    first = merge(attach(copy.deepcopy(model), adapter))
    layers = list(adapter.layers)
    adapted = inject(copy.deepcopy(model), layers, rank=3, alpha=6.5, dropout=0.25, seed=9)
    own = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, tensor in adapter.tensors.items():
            own[name.replace(".weight", ".default.weight")].copy_(tensor)
    second = merge(adapted)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.fc.weight, model.fc.weight)


def test_an_adapter_of_another_model_is_refused(adapter):
    other = build_model("resnet_nano", num_classes=7, image_size=32, channels=3, seed=0)
    with pytest.raises(ValueError, match=r"do not fit ResNet: base_model\.model\.fc\.lora_B"):
        attach(other, adapter)


def test_every_replicate_has_a_file_of_its_own(tmp_path):
    forgets = [3, "3", [3, 5], [5, 3], {"random": 0.1, "seed": 0}, {"random": 0.1, "seed": 1}]
    files = {adapter_file(tmp_path, TRIAL, forget, seed) for forget in forgets for seed in (0, 1)}
    assert len(files) == 2 * len(forgets)
    assert {trial_of(file) for file in files} == {TRIAL}
    assert {file.parent for file in files} == {tmp_path / ADAPTERS}
    reordered = adapter_file(tmp_path, TRIAL, {"seed": 0, "random": 0.1}, 0)
    assert reordered in files


@pytest.mark.parametrize("name", ["notes.txt", ".x.forget-1.seed-0.safetensors-ab12", "x-0001.safetensors"])
def test_other_files_belong_to_no_trial(tmp_path, name):
    assert trial_of(tmp_path / name) is None


def test_there_is_none(tmp_path):
    assert kept_adapter(adapter_file(tmp_path, TRIAL, 3, 0)) is None


@pytest.mark.parametrize("damage", ["cut", "other", "header"])
def test_a_damaged_one_is_as_none_and_logged(adapter, tmp_path, damage, caplog):
    file = adapter_file(tmp_path, TRIAL, 3, 0)
    keep_adapters(tmp_path, {file.name: adapter_bytes(adapter)})
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "other":
        file.write_text("not a safetensors file")
    else:
        header = {"adapter": json.dumps({"layers": ["fc"]})}
        file.write_bytes(safetensors.torch.save(adapter.tensors, metadata=header))
    with caplog.at_level(logging.WARNING):
        assert kept_adapter(file) is None
    assert file.name in caplog.text


def test_files_of_adapters_are_written_by_name_and_nowhere_else(adapter, tmp_path, caplog):
    data, name = adapter_bytes(adapter), adapter_name(TRIAL, 3, 0)
    keep_adapters(tmp_path, {name: b"of an attempt that was lost"})
    keep_adapters(tmp_path, {name: data, f"../{name}": data, "elsewhere": data})
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [Path(ADAPTERS) / name]
    kept = kept_adapter(adapter_file(tmp_path, TRIAL, 3, 0))
    assert all(torch.equal(tensor, adapter.tensors[key]) for key, tensor in kept.tensors.items())
    assert caplog.text.count("is no name of an adapter's file") == 2


def test_adapters_that_cannot_be_written_are_logged(adapter, tmp_path, caplog):
    (tmp_path / ADAPTERS).write_text("in the way")
    keep_adapters(tmp_path, {adapter_name(TRIAL, 3, 0): adapter_bytes(adapter)})
    assert "could not be kept" in caplog.text
