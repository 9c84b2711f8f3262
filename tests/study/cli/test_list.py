"""`neglora list --model`: what each target set of a model is."""

import re

import pytest

from neglora.data import dataset_names
from neglora.lora import adapter_size
from neglora.models import MODELS, match_targets, model_names, model_shape
from study.cli import main
from study.cli.model_listing import listing_of
from tests.neglora.small_models import SMALL


def listed(name, **changes):
    settings = {"classes": 100, "image_size": 224, "channels": 3, "rank": None, "options": {}} | changes
    return listing_of(name, **settings)


def said(capsys, words, code=0, stream="out"):
    assert main(["list", *words.split()]) == code
    return getattr(capsys.readouterr(), stream)


def test_all_names_are_listed(capsys):
    told = said(capsys, "")
    for name in (
        *model_names(),
        *dataset_names(),
        "timm:NAME",
        "vit_paper",
        "paper_counts",
        "relearn",
        "probe",
        "--model NAME",
    ):
        assert name in told


@pytest.mark.parametrize("name", dict.fromkeys([*MODELS, *SMALL]))
def test_sets_are_those_of_the_grammar(name):
    listing = listed(name, image_size=32, rank=4)
    model = model_shape(name, num_classes=100, image_size=32)
    assert listing.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert len(listing.sets) >= 3
    assert listing.presets
    for each in listing.sets + listing.presets:
        for targets in each.targets:
            assert list(each.layers) == match_targets(model, targets)
        assert each.parameters == adapter_size(model, each.layers, 4)
    assert len({each.layers for each in listing.sets}) == len(listing.sets), "no set twice"


def test_the_papers_counts():
    vit = {preset.targets: (preset.rank, preset.parameters) for preset in listed("vit_small").presets}
    assert vit[("paper_counts",)] == (16, 20_032)
    [resnet] = listed("resnet50").presets
    assert (resnet.rank, resnet.parameters) == (8, 605_472)
    assert listed("vit_small").parameters == 21_704_164


def test_prefixes_that_mean_the_same_share_a_row():
    rows = [each.targets for each in listed("vit_small").sets]
    assert ("last.ffn", "last.block.ffn") in rows
    assert ("head",) in rows


def test_a_model_of_one_layer_kind():
    listing = listed("timm:test_convnext", image_size=32)
    assert [each.targets for each in listing.sets] == [("conv",), ("head",)]
    assert listing.presets == ()


def test_it_fits_80_columns_and_names_layers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in MODELS:
        told = said(capsys, f"--model {name} --rank 8")
        assert max(len(line.rstrip()) for line in told.splitlines()) <= 80
        assert "rank 8" in told
        assert not re.search(r"\w…", told), "nothing is cut off"
    assert "layer1.0.conv1" in said(capsys, "--model resnet50")


def test_images_are_those_of_the_dataset_or_given(capsys):
    assert "10 classes, images of 32 pixels" in said(capsys, "--model vit_small --dataset digits")
    assert "7 classes, images of 64 pixels" in said(capsys, "--model vit_small --classes 7 --image-size 64")
    assert "100 classes, images of 224 pixels" in said(capsys, "--model vit_small")


def test_options_change_the_model(capsys):
    small, plain = (said(capsys, f"--model resnet50 --image-size 32 --set stem={stem}") for stem in ("small", "plain"))
    assert small != plain


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--model resnt50", "unknown model 'resnt50'; did you mean 'resnet50'?"),
        ("--model timm:resnt50", "did you mean 'timm:resnet50'?"),
        ("--model resnet50 --dataset digitz", "did you mean 'digits'?"),
        ("--model resnet50 --dataset digits --classes 3", "--classes is known from --dataset"),
        ("--model resnet50 --classes 0", "--classes: expected at least 1, got 0"),
        ("--model resnet50 --image-size -3", "--image-size: expected at least 1, got -3"),
        ("--model resnet50 --rank 0", "--rank: expected at least 1, got 0"),
        ("--model resnet50 --set stem=tall", "stem is one of auto, small, plain"),
        ("--model resnet50 --set height=3", "options are windows, stem"),
        ("--model resnet50 --set windows=padded", "resnet50 has no option 'windows'; it has stem"),
        ("--model vit_small --image-size 100", "96 would do"),
        ("--rank 4", "--rank goes with --model NAME"),
    ],
)
def test_mistakes(capsys, words, part):
    told = said(capsys, words, code=2, stream="err")
    assert part in told
    assert "Traceback" not in told
