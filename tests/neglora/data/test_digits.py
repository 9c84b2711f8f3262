from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from neglora.data import DATASETS, DataOptions
from neglora.data.digits import load


def linear_weights(small: int, large: int) -> np.ndarray:
    """`[large, small]`: linear interpolation between pixel centres, held constant beyond the outer ones."""
    weights = np.zeros((large, small))
    for i in range(large):
        position = min(max((i + 0.5) * small / large - 0.5, 0.0), small - 1.0)
        left = min(int(position), small - 2)
        weights[i, left] += 1 - (position - left)
        weights[i, left + 1] += position - left
    return weights


def test_counts_shapes_and_types(digits):
    assert digits.train_images.shape == (1257, 3, 32, 32)
    assert digits.test_images.shape == (540, 3, 32, 32)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    assert digits.info.classes == tuple("0123456789")
    assert digits.info == DATASETS["digits"].info(DataOptions())


def test_split_is_stratified(digits):
    total = np.bincount(load_digits().target)
    test = torch.bincount(digits.test_labels).numpy()
    assert (torch.bincount(digits.train_labels).numpy() + test == total).all()
    assert np.abs(test - 0.3 * total).max() <= 1


def test_every_image_of_the_source_is_there_once(digits):
    raw = load_digits()
    weights = linear_weights(8, 32)
    expected = weights @ (raw.images * 255 / 16) @ weights.T
    images = torch.cat([digits.train_images, digits.test_images])
    labels = torch.cat([digits.train_labels, digits.test_labels]).numpy()
    assert (images == images[:, :1]).all(), "the three channels are the grey image"
    grey = images[:, 0].double()
    distance = torch.cdist(grey[:, 1::4, 1::4].flatten(1), torch.from_numpy(expected)[:, 1::4, 1::4].flatten(1))
    source = distance.argmin(1).numpy()
    assert sorted(source) == list(range(1797))
    assert np.abs(grey.numpy() - expected[source]).max() <= 0.5 + 1e-4
    assert (labels == raw.target[source]).all()


def test_normalization_is_that_of_the_training_images(digits):
    pixels = digits.train_images[:, 0].numpy().astype(np.float64) / 255
    assert digits.mean == pytest.approx([pixels.mean()] * 3, abs=1e-5)
    assert digits.std == pytest.approx([pixels.std()] * 3, abs=1e-5)


def test_fingerprint_is_of_the_data(digits):
    assert load().fingerprint == digits.fingerprint
    dimmed = digits.train_images.clone()
    dimmed[5, 0, 16, 16] ^= 1
    relabelled = digits.test_labels.clone()
    relabelled[0] = (relabelled[0] + 1) % 10
    changed = [
        replace(digits, train_images=dimmed),
        replace(digits, test_labels=relabelled),
        replace(digits, info=replace(digits.info, classes=tuple("abcdefghij"))),
        replace(digits, mean=(0.5, 0.5, 0.5)),
        replace(digits, train_images=digits.train_images[:-1], train_labels=digits.train_labels[:-1]),
    ]
    assert len({digits.fingerprint, *(dataset.fingerprint for dataset in changed)}) == 6


def test_to_keeps_the_data(digits):
    assert digits.to(torch.device("cpu")).fingerprint == digits.fingerprint
