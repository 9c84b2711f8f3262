import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from neglora.data import DATASETS, Augmentation, DataError, DataOptions
from neglora.data.imagenet import CLASSES
from tests.trees import write_imagenet

ENTRY = DATASETS["imagenet100"]
SIZE = 32


@pytest.fixture(autouse=True)
def own_cache(cache):
    return cache


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_imagenet(folder / "plain")
    write_imagenet(folder / "flat", flat_val=True)
    return folder


@pytest.fixture
def plain(trees, tmp_path) -> Path:
    """A tree of the test's own."""
    return shutil.copytree(trees / "plain", tmp_path / "own")


@pytest.fixture
def flat(trees, tmp_path) -> Path:
    return shutil.copytree(trees / "flat", tmp_path / "flat")


def options(root, **changes) -> DataOptions:
    return replace(DataOptions(root=str(root), image_size=SIZE, workers=0), **changes)


def test_the_classes_are_a_hundred_wordnet_ids():
    assert len(CLASSES) == len(set(CLASSES)) == 100
    assert list(CLASSES) == sorted(CLASSES)
    assert all(re.fullmatch(r"n\d{8}", name) for name in CLASSES)
    # Corners of the paper's Table 1.
    assert {"n01968897", "n01496331", "n01978455", "n01514668", "n01440764"} <= set(CLASSES)


def test_info_needs_no_files():
    known = ENTRY.info(DataOptions(root="/nowhere"))
    assert known.classes == CLASSES
    assert (known.image_size, known.channels, known.name) == (224, 3, "imagenet100")
    assert ENTRY.info(DataOptions(image_size=64)).image_size == 64


def test_against_torchvision(trees):
    dataset = ENTRY.load(options(trees / "plain", image_size=None))
    assert dataset.train_images.shape == (200, 3, 224, 224)
    assert dataset.test_images.shape == (100, 3, 224, 224)
    seen = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), PILToTensor()])
    for part, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("val", dataset.test_images, dataset.test_labels),
    ):
        reference = ImageFolder(str(trees / "plain" / part), transform=seen)
        assert tuple(reference.classes) == CLASSES
        assert labels.tolist() == reference.targets
        for place in (0, 57, len(images) - 1):
            assert torch.equal(images[place], reference[place][0])
    assert dataset.mean == (0.485, 0.456, 0.406)
    assert dataset.std == (0.229, 0.224, 0.225)
    assert dataset.augmentation == Augmentation(
        crop_scale=(0.05, 1.0), flip=True, randaugment="rand-m9-mstd0.5-inc1", erase=0.25
    )
    inputs, labels = next(dataset.augmented(torch.arange(200), batch_size=4, seed=0).epoch(0))
    assert inputs.shape == (4, 3, 224, 224)
    assert labels.shape == (4,)


@pytest.mark.parametrize("place", ["", "imagenet", "ILSVRC/Data/CLS-LOC"])
def test_where_a_tree_may_lie(trees, tmp_path, place):
    expected = ENTRY.load(options(trees / "plain"))
    tree = tmp_path / "root" / place
    tree.parent.mkdir(parents=True, exist_ok=True)
    tree.symlink_to(trees / "plain")
    assert ENTRY.load(options(tmp_path / "root")).fingerprint == expected.fingerprint


def test_the_usual_root_is_data(trees, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(trees / "plain")
    monkeypatch.chdir(tmp_path)
    assert len(ENTRY.load(replace(options(""), root=None)).test_labels) == 100


def test_other_classes_are_not_looked_into(plain):
    expected = ENTRY.load(options(plain)).fingerprint
    for part in ("train", "val"):
        (plain / part / "n99999999").mkdir()
        (plain / part / "n99999999" / "broken.JPEG").write_text("no image")
    assert ENTRY.load(options(plain)).fingerprint == expected


def by_name(flat, names):
    (flat / "ILSVRC2012_val.txt").rename(flat / "val" / "val.txt")


def without_suffix(flat, names):
    lines = (flat / "ILSVRC2012_val.txt").read_text().replace(".JPEG", "").replace(" ", "\t")
    (flat / "ILSVRC2012_val.txt").write_text(lines + "\n")


def kaggle(flat, names):
    rows = [f"{file.removesuffix('.JPEG')},{wnid} 1 2 30 40 {wnid} 5 6 7 8 " for file, wnid in names.items()]
    (flat / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    (flat / "ILSVRC2012_val.txt").unlink()


def by_number(flat, names):
    lines = [names[file] for file in sorted(names)]
    (flat / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(lines))
    (flat / "ILSVRC2012_val.txt").unlink()


def with_others(flat, names):
    with (flat / "ILSVRC2012_val.txt").open("a") as file:
        file.write("ILSVRC2012_val_00049999.JPEG n99999999\n")


@pytest.mark.parametrize("change", [None, by_name, without_suffix, kaggle, by_number, with_others])
def test_a_flat_folder_with_its_list_is_the_same_data(trees, flat, change):
    names = dict(line.split() for line in (flat / "ILSVRC2012_val.txt").read_text().splitlines())
    assert len(names) == 100
    if change:
        change(flat, names)
    expected, dataset = ENTRY.load(options(trees / "plain")), ENTRY.load(options(flat))
    assert dataset.fingerprint == expected.fingerprint
    assert dataset.test_labels.tolist() == list(range(100))


def test_kaggle_s_list_lies_at_the_root(trees, tmp_path):
    tree = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    shutil.copytree(trees / "flat", tree)
    names = dict(line.split() for line in (tree / "ILSVRC2012_val.txt").read_text().splitlines())
    kaggle(tree, names)
    (tree / "LOC_val_solution.csv").rename(tmp_path / "LOC_val_solution.csv")
    assert ENTRY.load(options(tmp_path)).fingerprint == ENTRY.load(options(trees / "plain")).fingerprint


def test_no_tree(tmp_path):
    with pytest.raises(
        DataError, match=r"imagenet100 was not found\. Looked for .*CLS-LOC.*image-net\.org.*--data-root"
    ):
        ENTRY.load(options(tmp_path))


def test_a_missing_class_is_named(plain):
    shutil.rmtree(plain / "val" / CLASSES[7])
    with pytest.raises(DataError, match=f"val has no images of {CLASSES[7]}; imagenet100 needs all of its 100"):
        ENTRY.load(options(plain))
    shutil.rmtree(plain / "train" / CLASSES[3])
    (plain / "train" / CLASSES[99] / f"{CLASSES[99]}_0.JPEG").unlink()
    (plain / "train" / CLASSES[99] / f"{CLASSES[99]}_1.JPEG").unlink()
    with pytest.raises(DataError, match=f"train has no images of {CLASSES[3]}, {CLASSES[99]};"):
        ENTRY.load(options(plain))


def test_a_missing_list(flat):
    (flat / "ILSVRC2012_val.txt").unlink()
    with pytest.raises(DataError, match=r"there is no list .* Looked for LOC_val_solution\.csv or "):
        ENTRY.load(options(flat))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ILSVRC2012_val_00000001.JPEG 65", "line 101: expected a file name and a WordNet id.*got 'ILSVRC2012_val_0"),
        ("ILSVRC2012_val_00000001.JPEG", "line 101: expected a file name and a WordNet id"),
        ("../train/x.JPEG n01440764", "line 101: expected the name of a file in val/"),
    ],
)
def test_a_line_of_another_form(flat, line, message):
    with (flat / "ILSVRC2012_val.txt").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=message):
        ENTRY.load(options(flat))


def test_listed_images_that_are_missing(flat):
    (flat / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    with pytest.raises(DataError, match=r"lacks images that .*ILSVRC2012_val\.txt lists: val/ILSVRC2012_val_00000001"):
        ENTRY.load(options(flat))


def test_images_of_imagenet_s_odd_kinds(plain):
    """A PNG and a CMYK JPEG that are called JPEG, as there are in the real training images."""
    folder = plain / "train" / CLASSES[0]
    image = Image.open(folder / f"{CLASSES[0]}_0.JPEG")
    image.convert("CMYK").save(folder / "cmyk.JPEG", format="JPEG")
    image.save(folder / "png.JPEG", format="PNG")
    dataset = ENTRY.load(options(plain))
    assert dataset.damaged == ()
    assert (dataset.train_labels == 0).sum() == 4


def test_damaged_images(plain):
    for name in CLASSES[:3]:
        (plain / "train" / name / f"{name}_0.JPEG").write_bytes(b"\xff\xd8\xff")
    dataset = ENTRY.load(options(plain))
    assert dataset.damaged == tuple(f"train/{name}/{name}_0.JPEG" for name in CLASSES[:3])
    assert len(dataset.train_labels) == 197
    with pytest.raises(DataError, match=r"3 of 300 images under .* are damaged, more than the share of 0.005"):
        ENTRY.load(options(plain, damaged=0.005))
