import hashlib
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torchvision import datasets

from neglora.data import DATASETS, Augmentation, DataError, DataOptions, split
from neglora.data.cifar import CIFAR10, CIFAR100, published
from tests.archives import FOLDERS, cifar_files, cifar_images, python2_pickle, write_cifar

SOURCES = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
META = {"cifar10": "batches.meta", "cifar100": "meta"}
TRAIN, TEST = {"cifar10": 4, "cifar100": 2}, {"cifar10": 3, "cifar100": 1}
BOTH = pytest.mark.parametrize("name", list(SOURCES))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def load(name, root, **changes):
    return DATASETS[name].load(DataOptions(root=str(root), **({"verify": False} | changes)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Both datasets as folders under one root. Tests read it and add nothing."""
    root = tmp_path_factory.mktemp("cifar")
    for name in SOURCES:
        write_cifar(root, name, train=TRAIN[name], test=TEST[name])
    return root


@pytest.fixture
def as_published(folders, monkeypatch):
    """What the tests wrote counts as the published files."""
    for name, source in SOURCES.items():
        folder = folders / FOLDERS[name]
        for part in ("train_list", "test_list"):
            files = [[file, md5((folder / file).read_bytes())] for file, _ in getattr(source, part)]
            monkeypatch.setattr(source, part, files)
        monkeypatch.setattr(source, "meta", source.meta | {"md5": md5((folder / META[name]).read_bytes())})


@BOTH
def test_class_names_have_the_published_checksum(name, folders):
    """Byte by byte what the publisher wrote: its list of classes is ours, and so is the tests' way to write it."""
    assert md5((folders / FOLDERS[name] / META[name]).read_bytes()) == SOURCES[name].meta["md5"]


@BOTH
def test_against_torchvision(name, folders, as_published):
    ours = load(name, folders, verify=True)
    for part, images, labels in (
        (True, ours.train_images, ours.train_labels),
        (False, ours.test_images, ours.test_labels),
    ):
        theirs = SOURCES[name](folders, train=part)
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert labels.tolist() == theirs.targets
        assert list(ours.info.classes) == theirs.classes


@BOTH
def test_images_labels_and_what_is_known(name, folders):
    dataset = load(name, folders)
    classes = {"cifar10": 10, "cifar100": 100}[name]
    assert dataset.train_images.shape == (classes * TRAIN[name], 3, 32, 32)
    assert dataset.test_images.shape == (classes * TEST[name], 3, 32, 32)
    assert dataset.train_images.dtype == dataset.test_images.dtype == torch.uint8
    assert dataset.train_labels.dtype == torch.int64
    images, labels = cifar_images(classes, 0, TRAIN[name])
    assert dataset.train_images.flatten(1).tolist() == images.tolist()
    assert dataset.train_labels.tolist() == labels.tolist()
    assert set(dataset.train_labels.tolist()) == set(dataset.test_labels.tolist()) == set(range(classes))
    assert dataset.augmentation == Augmentation(shift=4, flip=True)
    assert dataset.damaged == ()
    assert not dataset.mapped
    dataset.train_images[0] = 0


def test_the_papers_means_and_deviations(folders):
    ten, hundred = load("cifar10", folders), load("cifar100", folders)
    assert (ten.mean, ten.std) == ((0.4919, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert (hundred.mean, hundred.std) == ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    own = load("cifar10", folders, mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.3))
    assert (own.mean, own.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    for wrong in ({"mean": (0.5,)}, {"std": (0.1, 0.2)}, {"std": (0.1, 0.0, 0.1)}):
        with pytest.raises(DataError, match="3 values each"):
            load("cifar10", folders, **wrong)


@BOTH
def test_known_without_an_archive(name, folders, tmp_path):
    info = DATASETS[name].info(DataOptions(root=str(tmp_path)))
    assert info == load(name, folders).info
    assert (info.name, info.image_size, info.channels) == (name, 32, 3)
    assert len(set(info.classes)) == info.num_classes
    assert list(info.classes) == sorted(info.classes)
    assert DATASETS[name].info(DataOptions(image_size=32)) == info
    for read in (DATASETS[name].info, DATASETS[name].load):
        with pytest.raises(DataError, match="images of 32 pixels, and image_size asks for 224"):
            read(DataOptions(root=str(folders), image_size=224))


@BOTH
def test_packed_or_not_and_by_python_2_or_3_it_is_the_same(name, folders, tmp_path):
    expected = load(name, folders).fingerprint
    ways = [partial(pickle.dumps, protocol=protocol) for protocol in (2, 3, 4)]
    ways.append(lambda content: pickle.dumps({key.decode(): value for key, value in content.items()}, 4))
    for number, way in enumerate([None, *ways]):
        root = tmp_path / str(number)
        write_cifar(root, name, train=TRAIN[name], test=TEST[name], as_tar=True, pickled=way)
        assert load(name, root).fingerprint == expected
    assert load(name, folders / FOLDERS[name]).fingerprint == expected, "the folder itself may be the root"


@BOTH
def test_what_is_not_published_is_refused(name, folders, tmp_path):
    with pytest.raises(DataError, match=r"expected is the published [0-9a-f]{32}.*--no-verify"):
        load(name, folders, verify=True)
    write_cifar(tmp_path, name, train=1, test=1, as_tar=True)
    with pytest.raises(DataError, match=rf"published {SOURCES[name].tgz_md5}.*--no-verify"):
        load(name, tmp_path, verify=True)


@BOTH
def test_a_packed_archive_with_its_checksum(name, folders, tmp_path, monkeypatch):
    archive = write_cifar(tmp_path, name, train=TRAIN[name], test=TEST[name], as_tar=True)
    monkeypatch.setattr(SOURCES[name], "tgz_md5", md5(archive.read_bytes()))
    assert load(name, tmp_path, verify=True).fingerprint == load(name, folders).fingerprint


@BOTH
def test_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options, root in ((DataOptions(), tmp_path / "data"), (DataOptions(root=str(tmp_path / "x")), tmp_path / "x")):
        with pytest.raises(DataError, match=f"{name} was not found") as raised:
            DATASETS[name].load(options)
        assert str(root / SOURCES[name].filename) in str(raised.value)
        assert SOURCES[name].url in str(raised.value)


def test_addresses_and_checksums_are_torchvisions():
    for cifar in (CIFAR10, CIFAR100):
        source = SOURCES[cifar.name]
        archive, training, testing, meta = published(cifar)
        assert (archive.address, archive.checksum, archive.folder) == (source.url, source.tgz_md5, source.base_folder)
        assert archive.files == dict(source.train_list + source.test_list) | {meta: source.meta["md5"]}
        assert (list(training), list(testing)) == ([row[0] for row in source.train_list], [source.test_list[0][0]])
        assert meta == META[cifar.name]


def changed(root, name, file, **changes):
    """A root whose one file has other content."""
    write_cifar(root, name, train=5, test=1)
    content = cifar_files(name, 5, 1)[file] | {key.encode(): value for key, value in changes.items()}
    content = {key: value for key, value in content.items() if value is not None}
    (root / FOLDERS[name] / file).write_bytes(python2_pickle(content))


ROWS = np.zeros((10, 3072), np.uint8)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("data_batch_3", {"data": ROWS[:9]}, "9 images but 10 labels"),
        ("data_batch_3", {"labels": list(range(9))}, "10 images but 9 labels"),
        (
            "data_batch_3",
            {"labels": [*range(9), 10]},
            "image 9 the label 10; labels of cifar10 are whole numbers from 0 to 9",
        ),
        ("test_batch", {"labels": [-1, *range(9)]}, "image 0 the label -1"),
        ("test_batch", {"labels": [b"cat", *range(9)]}, "image 0 the label bytes"),
        ("test_batch", {"labels": ROWS[:, 0]}, "list of labels under 'labels'"),
        ("test_batch", {"labels": None}, "list of labels under 'labels'; it has batch_label, data, filenames"),
        ("data_batch_1", {"data": ROWS[:, :3071].copy()}, r"\[n, 3072\] under 'data', got \[10, 3071\]"),
        ("data_batch_1", {"data": ROWS.reshape(10, 3, 1024)}, r"got \[10, 3, 1024\]"),
        ("data_batch_1", {"data": [1, 2]}, "got list"),
        ("data_batch_1", {"data": None}, "got NoneType; it has batch_label, labels, filenames"),
        ("batches.meta", {"label_names": None}, "class names under 'label_names'; it has num_cases_per_batch, num_vis"),
        ("batches.meta", {"label_names": [b"airplane"]}, "names 1 classes, cifar10 has 10"),
        ("batches.meta", {"label_names": [b"cat"] * 10}, "calls class 0 'cat', in cifar10 it is 'airplane'"),
        ("test_batch", {"data": ROWS[:0], "labels": []}, "no images for testing: test_batch are empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, file, changes, said):
    changed(tmp_path, "cifar10", file, **changes)
    with pytest.raises(DataError, match=said) as raised:
        load("cifar10", tmp_path)
    assert "empty" in said or str(tmp_path / FOLDERS["cifar10"] / file) in str(raised.value)


def test_fine_labels_are_those_of_cifar100(tmp_path):
    changed(tmp_path, "cifar100", "test", fine_labels=[99] * 100)
    assert load("cifar100", tmp_path).test_labels.tolist() == [99] * 100
    changed(tmp_path / "other", "cifar100", "test", fine_labels=None)
    with pytest.raises(DataError, match="list of labels under 'fine_labels'"):
        load("cifar100", tmp_path / "other")


def test_batches_may_be_of_any_length(tmp_path):
    changed(tmp_path, "cifar10", "data_batch_2", data=ROWS[:3], labels=[1, 1, 1])
    assert len(load("cifar10", tmp_path).train_labels) == 43
    changed(tmp_path / "empty", "cifar10", "data_batch_2", data=ROWS[:0], labels=[])
    assert len(load("cifar10", tmp_path / "empty").train_labels) == 40


def test_a_hostile_batch_is_refused(tmp_path):
    """Through the whole path; `test_unpickle.py` has the many ways."""
    marker = tmp_path / "was_here"
    for name, file in (("cifar10", "data_batch_4"), ("cifar100", "meta")):
        folder = write_cifar(tmp_path, name, train=1, test=1)
        hostile = b"\x80\x02cposix\nsystem\nX" + bytes([len(f"touch {marker}"), 0, 0, 0]) + f"touch {marker}".encode()
        (folder / file).write_bytes(hostile + b"\x85R.")
        with pytest.raises(DataError, match=rf"{file} holds the global posix.system"):
            load(name, tmp_path)
    assert not marker.exists()


def test_it_can_be_split_and_batched(folders):
    dataset = load("cifar10", folders)
    splits = split(dataset, "cat")
    assert splits.counts == {"forget": 4, "retain": 36, "test": 27, "test_report": 27, "test_forget": 3}
    batches = dataset.augmented(splits.retain, batch_size=16, seed=0)
    inputs, labels = next(iter(batches.epoch(0)))
    assert inputs.shape == (16, 3, 32, 32)
    assert 3 not in labels.tolist()


def test_the_hundred_classes_can_be_told_apart(folders):
    """A nearest neighbour among the training images finds the class of most test images."""
    dataset = load("cifar100", folders)
    nearest = torch.cdist(dataset.test_images.flatten(1).float(), dataset.train_images.flatten(1).float()).argmin(1)
    found = (dataset.train_labels[nearest] == dataset.test_labels).double().mean().item()
    assert found > 0.3


def test_an_archive_that_is_written_again_is_the_same(folders, tmp_path):
    folder = write_cifar(tmp_path, "cifar10", train=TRAIN["cifar10"], test=TEST["cifar10"])
    for file in folder.iterdir():
        assert file.read_bytes() == (folders / FOLDERS["cifar10"] / file.name).read_bytes()
    shutil.rmtree(folder)
