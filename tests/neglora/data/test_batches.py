import numpy as np
import pytest
import torch

from neglora.data import Augmentation, TensorBatches
from neglora.data.augment import shifted

MEAN, STD = (0.2, 0.5, 0.7), (0.3, 0.25, 0.1)


def images(count: int, size: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def batches(count: int = 10, **changes) -> TensorBatches:
    settings = {"mean": MEAN, "std": STD, "batch_size": 4} | changes
    return TensorBatches(images(count), torch.arange(count), **settings)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels_of(epoch) -> list[int]:
    return [label for _, labels in epoch for label in labels.tolist()]


def slowly_shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    channels, height, width = image.shape
    moved = np.zeros_like(image)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    moved[channel, row, column] = image[channel, row - down, column - right]
    return moved


def test_normalization_against_the_plain_formula():
    inputs = torch.cat([batch for batch, _ in batches()])
    pixels = images(10).numpy().astype(np.float64) / 255
    expected = (pixels - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)


def test_without_a_seed_the_order_is_kept_and_nothing_is_shifted():
    plain, asked = batches(), batches(augmentation=Augmentation(shift=2))
    assert labels_of(plain) == labels_of(plain) == list(range(10))
    for (first, _), (second, _) in zip(plain, asked, strict=True):
        assert torch.equal(first, second)


def test_the_last_batch_may_be_smaller():
    assert [len(labels) for _, labels in batches()] == [4, 4, 2]
    assert len(batches()) == 3
    assert len(batches(8)) == 2


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (5, 4, [5]), (4, 4, [4]), (1, 4, [1]), (3, 1, [1, 1, 1]), (0, 4, []), (7, 3, [3, 4])],
)
def test_no_image_is_left_over_alone(count, batch_size, sizes):
    made = batches(count, batch_size=batch_size)
    assert [len(labels) for _, labels in made] == sizes
    assert len(made) == len(sizes)
    assert labels_of(made) == list(range(count))


def test_an_epoch_holds_every_image_once_in_a_new_order():
    shuffled = batches(50, seed=0)
    first, second = labels_of(shuffled), labels_of(shuffled)
    assert sorted(first) == sorted(second) == list(range(50))
    assert len({tuple(first), tuple(second), tuple(range(50))}) == 3


def test_labels_stay_with_their_images():
    plain = torch.cat([inputs for inputs, _ in batches(50)])
    for inputs, labels in batches(50, seed=0):
        assert torch.equal(inputs, plain[labels])


@pytest.mark.parametrize("shift", [0, 2])
def test_the_seed_reproduces_order_and_shifts(shift):
    def epochs(seed):
        made = batches(20, seed=seed, augmentation=Augmentation(shift=shift))
        return torch.cat([inputs for _ in range(2) for inputs, _ in made])

    assert torch.equal(epochs(1), epochs(1))
    assert not torch.equal(epochs(1), epochs(2))


@pytest.mark.parametrize("most", [1, 2])
def test_shift_against_a_slow_loop(most):
    """Every image is one of the (2 * most + 1)^2 shifts of itself, and over many images each of them occurs."""
    originals = images(200)
    result = shifted(originals, most, seeded())
    assert result.dtype == torch.uint8
    seen = set()
    span = range(-most, most + 1)
    for original, moved in zip(originals.numpy(), result.numpy(), strict=True):
        matches = [(d, r) for d in span for r in span if np.array_equal(slowly_shifted(original, d, r), moved)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == {(d, r) for d in span for r in span}


def test_what_comes_in_at_the_border_is_black_after_normalization_too():
    black = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    inputs = torch.cat([batch for batch, _ in batches(40, seed=0, augmentation=Augmentation(shift=2))])
    corners = inputs[:, :, 0, 0]
    came_in = (corners - torch.tensor(black)).abs().max(1).values < 1e-6
    assert came_in.any()
    assert not came_in.all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="10 images but 9 labels"):
        TensorBatches(images(10), torch.arange(9), mean=MEAN, std=STD, batch_size=4)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        batches(batch_size=0)
