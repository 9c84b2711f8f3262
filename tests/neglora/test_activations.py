"""Activations as batches, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from neglora import activations
from neglora.activations import ActivationBatches, PrefixCache, Through
from neglora.data import TensorBatches
from neglora.models import build_model
from neglora.prefix import Cut, find_cut
from tests.neglora.small_models import random_images


def equal(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


class Counted:
    """Batches that count how often they were iterated."""

    def __init__(self, batches: TensorBatches) -> None:
        self.batches, self.times = batches, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.times += 1
        return iter(self.batches)


@pytest.fixture
def model() -> nn.Module:
    return build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=0)


@pytest.fixture
def cut(model: nn.Module) -> Cut:
    found = find_cut(model, ["fc"])
    assert found is not None
    return found


def bytes_of(model: nn.Module, cut: Cut) -> int:
    return sum(tensor.nbytes for batch in Through(model, cut, random_images()) for tensor in batch)


def test_activations_are_computed_once(model, cut):
    cache, source = PrefixCache(10**9), Counted(random_images())
    fresh = list(Through(model, cut, random_images()))
    assert [len(labels) for _, labels in fresh] == [10, 10, 4]
    for _ in range(3):
        assert equal(list(cache.batches("images", model, cut, source)), fresh)
    assert (source.times, cache.hits) == (1, 2)
    assert cache.held_bytes == bytes_of(model, cut)
    cache.clear()
    assert cache.held_bytes == 0
    assert equal(list(cache.batches("images", model, cut, source)), fresh)
    assert source.times == 2


def test_batches_can_be_iterated_again_before_and_after_they_are_kept(model, cut):
    cache = PrefixCache(10**9)
    batches = cache.batches("images", model, cut, random_images())
    assert equal(list(batches), list(batches))
    assert cache.hits == 1


def test_what_was_not_computed_to_its_end_is_not_kept(model, cut):
    cache, source = PrefixCache(10**9), Counted(random_images())
    next(iter(cache.batches("images", model, cut, source)))
    assert cache.held_bytes == 0
    with pytest.raises(KeyError):
        cache.seconds("images")
    assert len(list(cache.batches("images", model, cut, source))) == 3
    assert source.times == 2


def test_the_least_recently_used_goes_first(model, cut):
    size = bytes_of(model, cut)
    cache = PrefixCache(2 * size)
    sources = {key: Counted(random_images()) for key in "abc"}

    def use(key: str) -> None:
        list(cache.batches(key, model, cut, sources[key]))
        assert cache.held_bytes <= cache.budget_bytes

    for key in "abacab":
        use(key)
    assert {key: source.times for key, source in sources.items()} == {"a": 1, "b": 2, "c": 1}


def test_while_computing_no_more_is_held_than_the_budget(model, cut):
    size = bytes_of(model, cut)
    cache = PrefixCache(size)
    list(cache.batches("a", model, cut, random_images()))
    fresh = iter(cache.batches("b", model, cut, random_images()))
    next(fresh)
    assert cache.held_bytes == 0


def test_what_is_too_large_alone_is_computed_each_time_with_the_same_bits(model, cut):
    small = random_images(count=5)
    cache, source = PrefixCache(bytes_of(model, cut) - 1), Counted(random_images())
    fresh = list(Through(model, cut, random_images()))
    assert equal(list(cache.batches("large", model, cut, source)), fresh)
    list(cache.batches("small", model, cut, small))
    held = cache.held_bytes
    assert held > 0
    assert equal(list(cache.batches("large", model, cut, source)), fresh)
    assert source.times == 2
    assert cache.held_bytes == held, "what fits is not driven out by what does not"


def test_seconds_are_those_of_the_first_time(model, cut, monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(activations.time, "perf_counter", lambda: float(next(now)))
    cache = PrefixCache(0)
    for _ in range(2):
        list(cache.batches("images", model, cut, random_images()))
        assert cache.seconds("images") == 30.0, (
            "ten for each of three batches, and what is done with them does not count"
        )


@pytest.mark.parametrize(("count", "batch_size"), [(45, 16), (41, 20), (7, 16), (33, 16), (1, 4)])
def test_an_ascent_draws_the_order_and_sizes_that_images_would_have(count, batch_size):
    images = random_images(batch_size, seed=9, count=count)
    images.labels = torch.arange(count)
    drawn_from = ActivationBatches(
        torch.arange(count)[:, None] * 1.0, torch.arange(count), batch_size=batch_size, seed=9
    )
    assert len(drawn_from) == len(images)
    for _ in range(3):
        drawn = list(drawn_from)
        for (inputs, labels), (_, expected) in zip(drawn, images, strict=True):
            assert torch.equal(labels, expected)
            assert torch.equal(inputs[:, 0], labels.float())
    assert not torch.equal(torch.cat([labels for _, labels in drawn]), torch.arange(count)) or count == 1
