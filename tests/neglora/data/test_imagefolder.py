import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from neglora.artifacts import ArtifactStore
from neglora.data import (
    Augmentation,
    DataError,
    DataOptions,
    ImageDataset,
    TensorBatches,
    dataset_names,
    decoded,
    find_dataset,
    imagefolder,
    parse_forget,
)
from neglora.data.decoding import FileBatches
from neglora.methods import METHODS
from neglora.prerequisites import base_of, ensure, retrain_of
from neglora.session import Session
from neglora.setting import Setting
from neglora.trial import Task, run_trial
from tests.trees import large_digit, write_image_folder

HERE = DataOptions(workers=0)


@pytest.fixture(autouse=True)
def own_cache(cache):
    return cache


@pytest.fixture
def photos(tmp_path) -> Path:
    return write_image_folder(tmp_path / "photos")


def info(place, **options):
    return find_dataset(f"imagefolder:{place}").info(replace(HERE, **options))


def load(place, **options) -> ImageDataset:
    return find_dataset(f"imagefolder:{place}").load(replace(HERE, **options))


def test_it_is_registered():
    assert "imagefolder:PATH" in dataset_names()
    assert find_dataset("imagefolder:") is None
    assert find_dataset("imagefolder") is None
    assert "photos" in find_dataset("imagefolder:photos").about


@pytest.mark.parametrize("test", ["test", "val"])
def test_images_labels_and_classes_against_torchvision(photos, test):
    (photos / "test").rename(photos / test)
    dataset = load(photos)
    seen = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(32), PILToTensor()])
    for part, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        (test, dataset.test_images, dataset.test_labels),
    ):
        reference = ImageFolder(str(photos / part), transform=seen)
        assert torch.equal(images, torch.stack([image for image, _ in reference]))
        assert labels.tolist() == reference.targets
        assert dataset.info.classes == tuple(reference.classes)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (12, 6)
    assert dataset.info == info(photos)
    assert dataset.mean == (0.485, 0.456, 0.406)
    assert dataset.std == (0.229, 0.224, 0.225)
    assert not dataset.mapped
    assert dataset.damaged == ()


def test_where_a_path_starts(photos, tmp_path, monkeypatch):
    absolute = load(photos)
    assert load("photos", root=str(tmp_path)).fingerprint == absolute.fingerprint
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/photos", root="/nowhere").fingerprint == absolute.fingerprint
    monkeypatch.chdir(tmp_path)
    assert load("photos").fingerprint == absolute.fingerprint
    assert info("photos").name == "imagefolder:photos"


def test_a_copy_is_the_same_data_and_a_change_is_not(photos, tmp_path):
    before = load(photos).fingerprint
    shutil.copytree(photos, tmp_path / "copy")
    assert load(tmp_path / "copy").fingerprint == before
    assert load(photos, mean=(0.5, 0.5, 0.5)).fingerprint != before
    assert load(photos, image_size=16).fingerprint != before
    (tmp_path / "copy" / "train" / "2").rename(tmp_path / "copy" / "train" / "two")
    (tmp_path / "copy" / "test" / "2").rename(tmp_path / "copy" / "test" / "two")
    assert load(tmp_path / "copy").fingerprint != before
    Image.new("RGB", (32, 32)).save(photos / "train" / "1" / "1_002.png")
    assert load(photos).fingerprint != before


@pytest.mark.parametrize(("side", "size"), [(8, 32), (64, 32), (65, 224)])
def test_the_usual_image_size(tmp_path, side, size):
    write_image_folder(tmp_path / "x", size=side)
    assert info(tmp_path / "x").image_size == size
    assert info(tmp_path / "x", image_size=48).image_size == 48


def test_the_median_of_the_shorter_sides_counts_and_is_found_anew_after_a_change(tmp_path):
    root = write_image_folder(tmp_path / "x", size=20, train=3)
    large_digit(0, 0, 300, 300).save(root / "train" / "0" / "0_000.png")
    assert info(root).image_size == 32
    for turn in range(12):
        large_digit(0, 0, 300, 300).save(root / "train" / "0" / f"new_{turn}.png")
    assert info(root).image_size == 224


def test_headers_are_read_once(photos, monkeypatch):
    read = []
    original = imagefolder.shorter_side
    monkeypatch.setattr(imagefolder, "shorter_side", lambda file: (read.append(file), original(file))[1])
    first = info(photos)
    assert len(read) == 12
    assert info(photos) == first
    assert len(read) == 12


def test_forget_classes_by_folder_name(tmp_path):
    known = info(write_image_folder(tmp_path / "x", classes=["7", "cats", "3"]))
    assert known.classes == ("3", "7", "cats")
    assert parse_forget(known, "7").classes == (1,)
    assert parse_forget(known, ["cats", "3"]).classes == (0, 2)
    assert parse_forget(known, 2).classes == (2,)


def test_a_folder_of_classes_is_split_by_class_and_seed(tmp_path):
    root = write_image_folder(tmp_path / "x", train=10, test=None, classes=["a", "b", "train"])
    first = load(root, test_share=0.3)
    assert first.info.classes == ("a", "b", "train")
    assert torch.bincount(first.train_labels).tolist() == [7, 7, 7]
    assert torch.bincount(first.test_labels).tolist() == [3, 3, 3]
    together = torch.cat([first.train_images, first.test_images])
    assert len({image.numpy().tobytes() for image in together}) == 30
    assert load(root, test_share=0.3).fingerprint == first.fingerprint
    assert load(root, test_share=0.3, seed=1).fingerprint != first.fingerprint
    shutil.rmtree(root / "train")
    fewer = load(root, test_share=0.3)
    assert torch.equal(fewer.test_images, first.test_images[:6]), "other classes are split as before"


@pytest.mark.parametrize(("share", "test"), [(0.0, 1), (0.01, 1), (0.99, 2)])
def test_a_split_leaves_something_on_both_sides(tmp_path, share, test):
    dataset = load(write_image_folder(tmp_path / "x", train=3, test=None), test_share=share)
    assert torch.bincount(dataset.test_labels).tolist() == [test] * 3


def missing(root):
    shutil.rmtree(root)


def a_file(root):
    shutil.rmtree(root)
    root.write_text("")


def nothing(root):
    shutil.rmtree(root)
    root.mkdir()


def one_class(root):
    for name in ("1", "2"):
        shutil.rmtree(root / "train" / name)


def no_test(root):
    shutil.rmtree(root / "test")


def no_train(root):
    shutil.rmtree(root / "train")


def empty_class(root):
    for file in (root / "train" / "1").iterdir():
        file.rename(file.with_suffix(".txt"))


def unknown_class(root):
    (root / "test" / "2").rename(root / "test" / "dogs")


def no_class_folders(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def empty_test(root):
    shutil.rmtree(root / "test")
    (root / "test").mkdir()


def loose_images(root):
    for file in (root / "train" / "1").iterdir():
        file.rename(root / file.name)
    for part in ("train", "test"):
        shutil.rmtree(root / part)


def one_image(root):
    for name in ("a", "b"):
        (root / name).mkdir()
        large_digit(0, 0, 8, 8).save(root / name / "x.png")
    large_digit(0, 0, 8, 8).save(root / "b" / "y.png")
    for part in ("train", "test"):
        shutil.rmtree(root / part)


def no_image_at_all(root):
    for file in (root / "train").rglob("*.png"):
        file.write_text("no image")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (missing, "photos does not exist. expected PATH/train/CLASS/IMAGE"),
        (a_file, "photos is a file, not a folder"),
        (nothing, "photos has no folders in it; expected PATH/train"),
        (loose_images, "photos has no folders in it"),
        (one_class, "train has one class only, '0'"),
        (no_class_folders, "train has no class folders"),
        (no_test, "has train/, but neither test/ nor val/"),
        (no_train, "has test/, but no train/"),
        (empty_class, "train has class folders without images: 1;"),
        (unknown_class, "test has the classes dogs, which .*train does not have"),
        (empty_test, "test has no images"),
        (one_image, "has one image only of a: at least two"),
        (no_image_at_all, "none of 12 files in .*train is an image, such as train/0/0_000.png"),
    ],
)
def test_what_is_wrong_is_said(photos, harm, message):
    harm(photos)
    with pytest.raises(DataError, match=message):
        load(photos)


@pytest.mark.parametrize("options", [{"mean": (0.5,)}, {"std": (0.1, 0.0, 0.1)}, {"std": (1.0, 1.0)}])
def test_mean_and_std_have_to_fit(photos, options):
    with pytest.raises(DataError, match="3 values each, std above 0"):
        info(photos, **options)


def test_images_of_all_kinds_and_sizes(tmp_path):
    """Grey, palette, transparent, 16 bits, turned by a camera, in several formats: the same digit for all of them."""
    root = write_image_folder(tmp_path / "x", train=1, test=1, size=40)
    digit = large_digit(5, 1, 60, 80)
    folder = root / "train" / "0"
    digit.save(folder / "grey.png")
    digit.convert("RGBA").save(folder / "alpha.webp", lossless=True)
    digit.convert("P").save(folder / "palette.GIF")
    Image.fromarray(np.asarray(digit).astype(np.uint16) * 257).save(folder / "deep.tiff")
    digit.convert("RGB").save(folder / "photo.JPG", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    digit.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpeg", quality=95, exif=exif)
    dataset = load(root)
    same = dataset.train_images[:7][dataset.train_labels[:7] == 0]
    names = sorted(os.listdir(folder))
    own = {name: image.int() for name, image in zip(names, same, strict=True)}
    assert len(own) == 7
    for name in ("alpha.webp", "palette.GIF", "deep.tiff"):
        assert (own[name] - own["grey.png"]).abs().max() <= 1, name
    for name in ("photo.JPG", "turned.jpeg"):
        assert (own[name] - own["grey.png"]).abs().float().mean() < 3, name


def test_damaged_images_are_named_and_left_out_up_to_a_share(photos):
    whole = load(photos)
    for name in ("train/1/1_002.png", "test/0/0_005.png"):
        (photos / name).write_bytes((photos / name).read_bytes()[:60])
    with pytest.raises(DataError, match=r"2 of 18 images .* are damaged, more than the share of 0.01") as caught:
        load(photos)
    assert "train/1/1_002.png (" in str(caught.value)
    assert "test/0/0_005.png (" in str(caught.value)
    dataset = load(photos, damaged=2 / 18)
    assert dataset.damaged == ("train/1/1_002.png", "test/0/0_005.png")
    kept = [row for row in range(12) if row != 6]
    assert torch.equal(dataset.train_images, whole.train_images[kept])
    assert torch.equal(dataset.train_labels, whole.train_labels[kept])
    assert torch.equal(dataset.test_images, whole.test_images[[0, 2, 3, 4, 5]])
    assert dataset.test_labels.tolist() == [0, 1, 1, 2, 2]
    crops = dataset.augmented(torch.arange(11), batch_size=11, seed=0, augmentation=Augmentation(crop_scale=(1.0, 1.0)))
    assert next(crops.epoch(0))[1].sort().values.tolist() == sorted(dataset.train_labels.tolist())


def test_damage_to_a_whole_class_or_to_all_test_images_ends_it(photos):
    for file in (photos / "train" / "1").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="all training images are damaged of: 1"):
        load(photos, damaged=1.0)
    write_image_folder(photos)
    for file in (photos / "test").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"all test images under .* are damaged"):
        load(photos, damaged=1.0)


def test_the_augmentation_fits_the_size(photos):
    small = load(photos, image_size=64)
    assert small.augmentation == Augmentation(shift=8, flip=True)
    assert isinstance(small.augmented(torch.arange(4), batch_size=2, seed=0), TensorBatches)
    large = load(photos, image_size=65)
    assert large.augmentation == Augmentation(crop_scale=(0.25, 1.0), flip=True)
    assert isinstance(large.augmented(torch.arange(4), batch_size=2, seed=0), FileBatches)


def setting(root: Path, **changes) -> Setting:
    training = {"epochs": 2, "batch_size": 6} | changes.pop("training", {})
    return Setting(dataset=f"imagefolder:{root}", model="resnet_nano", training=training, **changes)


@pytest.mark.parametrize(
    ("size", "training"),
    [(32, {}), (64, {"crop_scale": [0.5, 1.0], "randaugment": "rand-m5", "erase": 0.25})],
)
def test_models_are_trained_on_it(photos, tmp_path, size, training):
    wanted = setting(photos, data=replace(HERE, image_size=size), training=training)
    dataset = wanted.load_dataset()
    assert wanted.augmentation(dataset).decodes == (size == 64)
    store = ArtifactStore(tmp_path / "artifacts")
    made = ensure(base_of(wanted, 0, 0.0), store, dataset)
    assert len(made.facts["curve"]) == 2
    assert made.facts["curve"][1]["loss"] < 3
    again = ensure(base_of(wanted, 0, 0.0), ArtifactStore(tmp_path / "others"), wanted.load_dataset())
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in made.tensors.items())


def test_a_trial_on_mapped_images_is_that_on_images_in_memory(photos, tmp_path, monkeypatch):
    wanted = setting(photos, data=HERE)
    method = "neglora"
    cell = {"dataset": wanted.dataset, "model": wanted.model, "method": method}
    params = METHODS[method].resolve({"lr": 1e-2, "rank": 2, "targets": "last.conv+head"})
    task = Task("x-0000", cell, params, wanted, (("1", 0),), {})
    records = []
    for limit in (2**30, 0):
        monkeypatch.setattr(decoded, "MAPPED_BYTES", limit)
        storage = tmp_path / f"runs{limit}"
        dataset = wanted.load_dataset()
        assert dataset.mapped == (limit == 0)
        store = ArtifactStore(storage / "artifacts")
        forget = parse_forget(dataset.info, "1")
        for prerequisite in (base_of(wanted, 0, 0.0), retrain_of(wanted, 0, forget)):
            ensure(prerequisite, store, dataset)
        session = Session(storage)
        assert session.dataset(wanted).mapped == (limit == 0)
        records.append(run_trial(session, task))
    assert [record.status for record in records] == ["ok", "ok"], records[1].reason
    timed = ("rte", "rte_epoch", "speedup")
    measured = [{name: value for name, value in r.metrics.items() if name not in timed} for r in records]
    assert measured[0] == measured[1]
    assert measured[0]["ua"] is not None
