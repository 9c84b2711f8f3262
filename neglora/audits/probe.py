"""A linear probe: whether the class can still be read off the features before the classifier layer.

Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from neglora.audits.features import penultimate_features
from neglora.audits.material import Material, Pool
from neglora.seeds import derive_seed

#: Inverse strength of the L2 penalty, on features of mean 0 and standard deviation 1.
C = 1.0
MOST_ITERATIONS = 1000
#: Training images that the probe is fitted to, D_f's among them in the share that they have.
FITTED = 5000
#: Test images of the remaining classes that it is tried on.
TRIED = 1000


def probe(
    model: nn.Module,
    material: Material,
    *,
    seed: int,
    masks: Mapping[str, Tensor] | None = None,
    head: str | None = None,
) -> dict[str, Any]:
    """Fit a multinomial logistic regression to frozen features of training images of all classes, D_f's too.

    The features are the inputs of the model's head (`penultimate_features`), standardized by the training images; the
    labels are the true ones, so that the probe is told of the forget class what the model no longer says.

    Args:
        model: a classifier; not modified.
        material: all of it.
        seed: of the samples, which are stratified by class.
        masks: not used.
        head: the module whose inputs are the features; None for the family's own.

    Returns:
        `accuracy` on `test_forget` and `ta` on at most `TRIED` images of `test`, with `test_images` and
        `remaining_images` of them; `images` fitted to, `forget_images` among them, and `features` of an image. What
        could not be measured is None: there are no such test images, or features are not finite.

    Raises:
        ValueError: the model has no head whose inputs could be the features.
    """
    total = len(material.forget) + len(material.retain)
    share = min(1.0, FITTED / total)
    forget = material.forget.sample(
        max(1, round(share * len(material.forget))), derive_seed(seed, "audit", "probe", "forget")
    )
    retain = material.retain.sample(
        max(1, round(share * len(material.retain))), derive_seed(seed, "audit", "probe", "retain")
    )
    tried = material.test.sample(TRIED, derive_seed(seed, "audit", "probe", "test"))
    features, labels = _of_both(model, forget, retain, head)
    fitted = fit(features, labels) if bool(features.isfinite().all()) else None
    return {
        "accuracy": _accuracy(fitted, model, material.test_forget, head),
        "ta": _accuracy(fitted, model, tried, head),
        "test_images": len(material.test_forget),
        "remaining_images": len(tried),
        "images": len(labels),
        "forget_images": len(forget),
        "features": features.shape[1],
    }


def value(found: Mapping[str, Any]) -> float | None:
    """The metric `probe` of what `probe` returns."""
    accuracy: float | None = found["accuracy"]
    return accuracy


def fit(features: Tensor, labels: Tensor) -> Pipeline:
    """The probe itself, scikit-learn's, fitted.

    Args:
        features: `[n, features]`.
        labels: `[n]`, of two classes or more.
    """
    chosen = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=MOST_ITERATIONS))
    return chosen.fit(_plain(features), labels.numpy())


def _of_both(model: nn.Module, forget: Pool, retain: Pool, head: str | None) -> tuple[Tensor, Tensor]:
    parts = [penultimate_features(model, pool.all, head) for pool in (forget, retain)]
    return torch.cat([features for features, _ in parts]), torch.cat([labels for _, labels in parts])


def _accuracy(fitted: Pipeline | None, model: nn.Module, images: Pool, head: str | None) -> float | None:
    if fitted is None or not len(images):
        return None
    features, labels = penultimate_features(model, images.all, head)
    if not bool(features.isfinite().all()):
        return None
    return float((fitted.predict(_plain(features)) == labels.numpy()).mean())


def _plain(features: Tensor) -> NDArray[Any]:
    plain: NDArray[Any] = features.double().numpy()
    return plain
