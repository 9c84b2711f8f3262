import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from neglora.data import decoded as module
from neglora.data.dataset import DataError
from neglora.data.decoded import cache_folder, decoded
from neglora.data.files import ImageFiles, list_classes
from tests.trees import write_image_folder

CLASSES = ("0", "1", "2")


@pytest.fixture
def files(tmp_path):
    return list_classes(write_image_folder(tmp_path / "images", train=12), "train", CLASSES)


@pytest.fixture
def counted(monkeypatch):
    """The files that are decoded, in the order of reading."""
    read = []
    original = module.read_picture

    def reading(file):
        read.append(file)
        return original(file)

    monkeypatch.setattr(module, "read_picture", reading)
    return read


def only(cache: Path) -> Path:
    (folder,) = cache.glob("images-*")
    return folder


@pytest.mark.parametrize("size", [24, 130])
def test_against_torchvision(files, cache, size):
    shorter = round(size * 256 / 224) if size == 130 else size
    seen = Compose([Resize(shorter, InterpolationMode.BICUBIC), CenterCrop(size), PILToTensor()])
    reference = ImageFolder(str(files.root / "train"), transform=seen)
    result = decoded("mine", files, size)
    assert torch.equal(result.images, torch.stack([image for image, _ in reference]))
    assert result.images.dtype == torch.uint8
    assert result.rows.tolist() == list(range(36))
    assert result.damaged == ()
    assert result.digest == hashlib.sha256(result.images.numpy().tobytes()).hexdigest()
    assert not result.mapped


def test_decoded_once(files, cache, counted):
    first = decoded("mine", files, 16)
    assert len(counted) == 36
    again = decoded("mine", files, 16)
    assert len(counted) == 36
    assert torch.equal(first.images, again.images)
    decoded("mine", files, 20)
    assert len(counted) == 72


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_the_number_of_threads_does_not_matter(files, cache, workers):
    expected = decoded("mine", files, 16, workers=2)
    shutil.rmtree(cache)
    assert torch.equal(decoded("mine", files, 16, workers=workers).images, expected.images)


def test_a_changed_file_is_decoded_anew(files, cache):
    before = decoded("mine", files, 16)
    Image.new("RGB", (16, 16), "red").save(files.root / files.paths[3])
    after = decoded("mine", files, 16)
    assert after.digest != before.digest
    assert after.images[3, :, 8, 8].tolist() == [255, 0, 0]
    assert torch.equal(after.images[4:], before.images[4:])


def test_equal_times_and_sizes_elsewhere_are_other_files(tmp_path, cache):
    results = []
    for name, colour in (("one", "red"), ("two", "blue")):
        folder = tmp_path / name / "a"
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 16), colour).save(folder / "x.bmp")
        os.utime(folder / "x.bmp", (0, 0))
        results.append(decoded("mine", list_classes(tmp_path / name, "", ("a",)), 16))
    assert not torch.equal(results[0].images, results[1].images)


def test_a_copy_has_the_same_digest(files, cache, tmp_path):
    shutil.copytree(files.root, tmp_path / "copy")
    copy = list_classes(tmp_path / "copy", "train", CLASSES)
    assert decoded("copy", copy, 16).digest == decoded("mine", files, 16).digest


def test_names_that_are_no_unicode(files, cache, tmp_path):
    root = tmp_path / os.fsdecode(b"old \xff")
    shutil.copytree(files.root, root)
    first = root / files.paths[0]
    odd = first.rename(first.with_name(os.fsdecode(b"caf\xe9.png")))
    paths = (odd.relative_to(root).as_posix(), *files.paths[1:])
    assert decoded("mine", ImageFiles(root, paths, files.classes), 16).digest == decoded("mine", files, 16).digest


def test_mapped_where_it_is_large(files, cache, monkeypatch):
    expected = decoded("mine", files, 16)
    monkeypatch.setattr(module, "MAPPED_BYTES", 36 * 3 * 16 * 16 - 1)
    result = decoded("mine", files, 16)
    assert result.mapped
    assert torch.equal(result.images, expected.images)
    assert result.digest == expected.digest
    assert result.images[torch.tensor([3, 1])].shape == (2, 3, 16, 16)
    with open("/proc/self/maps") as maps:
        lines = [line for line in maps if str(only(cache) / "images.u8") in line]
    assert lines, "the file is mapped into memory"
    assert " r--s " in lines[0], "read-only and shared, so that it counts as nobody's memory"


def damage(files, *rows):
    for row in rows:
        file = files.root / files.paths[row]
        file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("rows", [(0,), (35,), (4, 5, 20), tuple(range(36))])
def test_damaged_files_are_named_and_leave_no_gap(files, cache, rows):
    whole = decoded("mine", files, 16)
    damage(files, *rows)
    result = decoded("mine", files, 16)
    kept = [row for row in range(36) if row not in rows]
    assert [path for path, _ in result.damaged] == [files.paths[row] for row in rows]
    assert result.rows.tolist() == kept
    assert torch.equal(result.images, whole.images[kept])
    assert all(why for _, why in result.damaged)
    again = decoded("mine", files, 16)
    assert again.damaged == result.damaged
    assert torch.equal(again.images, result.images)


def test_a_file_that_is_gone_or_locked_is_no_damage(files, cache, monkeypatch):
    (files.root / files.paths[7]).unlink()
    with pytest.raises(DataError, match=f"{files.paths[7]} cannot be read: No such file"):
        decoded("mine", files, 16)


def test_a_file_that_cannot_be_opened_is_no_damage(files, cache, monkeypatch):
    def refused(file):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "read_picture", refused)
    with pytest.raises(DataError, match=r"\.png cannot be read: Permission denied"):
        decoded("mine", files, 16)
    assert not list(cache.glob("images-*"))
    assert not list(cache.glob(".images-*"))


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "images.u8").read_bytes())
    content[1000] ^= 1
    (folder / "images.u8").write_bytes(content)


def cut(folder: Path) -> None:
    with (folder / "images.u8").open("r+b") as file:
        file.truncate(1000)


def lose_description(folder: Path) -> None:
    (folder / "images.json").unlink()


def break_description(folder: Path) -> None:
    (folder / "images.json").write_text("[1, 2")


def describe_others(folder: Path) -> None:
    facts = json.loads((folder / "images.json").read_text())
    (folder / "images.json").write_text(json.dumps(facts | {"shape": [1, 3, 16, 16]}))


@pytest.mark.parametrize("harm", [flip_a_bit, cut, lose_description, break_description, describe_others])
def test_a_damaged_cache_is_made_again_with_a_warning(files, cache, caplog, counted, harm):
    expected = decoded("mine", files, 16)
    harm(only(cache))
    with caplog.at_level(logging.WARNING):
        again = decoded("mine", files, 16)
    assert "is damaged and will be made again" in caplog.text
    assert torch.equal(again.images, expected.images)
    assert len(counted) == 72
    decoded("mine", files, 16)
    assert len(counted) == 72


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(files, cache, monkeypatch, code):
    def full(*given):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"too full for decoded images .* NEGLORA_CACHE"):
        decoded("mine", files, 16)
    assert not [path for path in cache.iterdir() if path.name != ".locks"]


def test_a_cache_that_cannot_be_written_is_said(files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEGLORA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"cannot be kept in .*Not a directory"):
        decoded("mine", files, 16)


def test_where_the_cache_lies(monkeypatch):
    monkeypatch.setenv("NEGLORA_CACHE", "~/images")
    assert cache_folder() == Path.home() / "images"
    monkeypatch.delenv("NEGLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/neglora")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "neglora"


def _decode_and_tell(files, queue, together):
    together.wait()
    times = []
    original = module.read_picture
    module.read_picture = lambda file: (times.append(file), original(file))[1]
    queue.put((decoded("mine", files, 16).digest, len(times)))


def test_several_processes_decode_once(files, cache):
    context = multiprocessing.get_context("fork")
    queue, together = context.Queue(), context.Barrier(3)
    processes = [context.Process(target=_decode_and_tell, args=(files, queue, together)) for _ in range(3)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert len({digest for digest, _ in results}) == 1
    assert sorted(count for _, count in results) == [0, 0, 36]


def test_what_a_killed_process_left_is_removed(files, cache):
    decoded("mine", files, 16)
    folder = only(cache)
    left = folder.with_name(f".{folder.name}-abc")
    folder.rename(left)
    decoded("mine", files, 16)
    assert folder.is_dir()
    assert not left.exists()


def test_progress_is_logged(files, cache, caplog, monkeypatch):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "neglora.data.decoded"):
        decoded("mine", files, 16, workers=1)
    assert "mine: decoding 36 images to 16x16, once" in caplog.text
    assert "mine: decoded 50%" in caplog.text
    assert "mine: decoded 36 images in" in caplog.text


def test_the_description_is_for_people(files, cache):
    decoded("mine", files, 16)
    facts = json.loads((only(cache) / "images.json").read_text())
    pixels = np.fromfile(only(cache) / "images.u8", np.uint8)
    assert facts["shape"] == [36, 3, 16, 16]
    assert facts["dataset"] == "mine"
    assert facts["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
