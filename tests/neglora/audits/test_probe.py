import copy

import numpy
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from neglora.audits import Pool, audit, material_of, penultimate_features
from neglora.audits.features import head_of
from neglora.audits.probe import C, fit, probe
from neglora.data import split
from neglora.models import build_model
from neglora.prerequisites import base_of
from tests.neglora.conftest import FORGET
from tests.neglora.small_models import SMALL, random_images, with_statistics


@pytest.fixture(scope="module")
def splits(tiny):
    return split(tiny, FORGET, holdout=0.5)


@pytest.fixture(scope="module")
def base(session, setting):
    return session.get(base_of(setting, 0, 0.0)).model


def test_it_is_scikit_learns_regression_on_standardized_features(base, tiny, splits):
    """The whole of it by hand: features of all training images, means and deviations, and scikit-learn's own fit."""
    found = probe(base, material_of(tiny, splits, 64), seed=0)
    order = torch.cat([splits.forget, splits.retain])
    features, labels = penultimate_features(base, tiny.train(order, batch_size=64))
    plain = features.double().numpy()
    mean, deviation = plain.mean(0), plain.std(0)
    deviation[deviation == 0] = 1
    regression = LogisticRegression(C=1.0, max_iter=1000).fit((plain - mean) / deviation, labels.numpy())
    for name, index in (("accuracy", splits.test_forget), ("ta", splits.test_report)):
        tried, wanted = penultimate_features(base, tiny.test(index, batch_size=64))
        right = regression.predict((tried.double().numpy() - mean) / deviation) == wanted.numpy()
        assert found[name] == right.mean()
    assert found["images"] == len(tiny.train_labels)
    assert found["forget_images"] == len(splits.forget)
    assert 0.5 < found["accuracy"] <= 1


def test_its_weights_minimize_the_penalized_loss():
    """Against an optimizer that knows nothing of scikit-learn: C times the losses, and half the squared weights."""
    generator = numpy.random.default_rng(0)
    features, labels = generator.normal(size=(40, 3)), generator.integers(0, 3, 40)
    features[labels == 1, 0] += 2
    standard = (features - features.mean(0)) / features.std(0)

    def objective(flat):
        weights, bias = flat[:9].reshape(3, 3), flat[9:]
        logits = standard @ weights.T + bias
        picked = numpy.log(numpy.exp(logits).sum(1)) - logits[numpy.arange(40), labels]
        return C * picked.sum() + (weights**2).sum() / 2

    best = minimize(objective, numpy.zeros(12), method="BFGS").x
    regression = fit(torch.tensor(features), torch.tensor(labels))[-1]
    assert regression.coef_ == pytest.approx(best[:9].reshape(3, 3), abs=2e-3)
    logits = standard @ best[:9].reshape(3, 3).T + best[9:]
    assert fit(torch.tensor(features), torch.tensor(labels)).predict(features).tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("name", SMALL)
def test_features_are_what_the_head_turns_into_logits(name):
    model = with_statistics(build_model(name, num_classes=10, image_size=32, channels=3, seed=0)).eval()
    images = random_images()
    features, labels = penultimate_features(model, images)
    assert torch.equal(labels, images.labels)
    logits = functional.linear(features, head_of(model).weight, head_of(model).bias)
    with torch.no_grad():
        expected = torch.cat([model(inputs) for inputs, _ in images])
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not head_of(model)._forward_pre_hooks


class Convolutional(nn.Module):
    """Its classifier is a convolution whose outputs are pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 10, 1)

    def forward(self, inputs):
        return self.head(self.body(inputs)).mean((2, 3))


def test_maps_are_pooled():
    model, images = Convolutional(), random_images()
    features, _ = penultimate_features(model, images, "head")
    with torch.no_grad():
        expected = torch.cat([model.body(inputs).mean((2, 3)) for inputs, _ in images])
    assert torch.allclose(features, expected, atol=1e-6)


def test_a_model_without_a_head_is_refused():
    with pytest.raises(ValueError, match=r"Convolutional has no linear layer that could be its head: name the module"):
        penultimate_features(Convolutional(), random_images())
    with pytest.raises(ValueError, match="no module named 'hed'"):
        penultimate_features(Convolutional(), random_images(), "hed")


def test_a_head_that_does_not_take_features_of_images_is_refused():
    model = Convolutional()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="took 0 inputs for 24 images"):
        penultimate_features(model, random_images())


def test_a_sample_has_every_class_in_its_share():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    drawn = Pool(labels, lambda places: iter([(places, labels[places])])).sample(20, 0)
    assert drawn.labels.bincount().tolist() == [12, 6, 2]
    [(places, found)] = drawn.all
    assert torch.equal(labels[places], found)


def test_the_model_is_left_alone(base, tiny, splits):
    before = copy.deepcopy(base.state_dict())
    probe(base, material_of(tiny, splits, 64), seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())


def test_any_classifier_can_be_audited(base, tiny, splits):
    """From tensors and from batches, the numbers are those of the dataset's own images."""

    def pair(part, index):
        return next(iter(getattr(tiny, part)(index, batch_size=len(index))))

    found = audit(
        base,
        forget=pair("train", splits.forget),
        retain=tiny.train(splits.retain, batch_size=50),
        test_forget=pair("test", splits.test_forget),
        test=pair("test", splits.test_report),
        seed=0,
    )
    assert found.details["probe"] == probe(base, material_of(tiny, splits, 64), seed=0)
    assert found.values["relearn"] >= 0.9
    without = audit(
        base,
        forget=pair("train", splits.forget),
        retain=pair("train", splits.retain),
        test_forget=pair("test", splits.test_forget),
        audits=["probe"],
    )
    assert set(without.values) == {"probe"}
    assert without.details["probe"]["ta"] is None


def test_mistakes_of_a_caller_are_told(base, tiny, splits):
    images = next(iter(tiny.train(splits.forget, batch_size=8)))
    with pytest.raises(ValueError, match=r"unknown audit 'relern'; audits are relearn, probe"):
        audit(base, forget=images, retain=images, test_forget=images, audits=["relern"])
    with pytest.raises(ValueError, match="retain has no images"):
        audit(base, forget=images, retain=[], test_forget=images)
    with pytest.raises(ValueError, match="8 inputs but 7 labels"):
        audit(base, forget=(images[0], images[1][:7]), retain=images, test_forget=images)
