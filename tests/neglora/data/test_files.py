import pytest
from torchvision.datasets import ImageFolder

from neglora.data.dataset import DataError
from neglora.data.files import ImageFiles, has_images, list_classes, list_images, named, subfolders
from tests.trees import write_image_folder


def test_order_and_classes_against_torchvision(tmp_path):
    write_image_folder(tmp_path, classes=["b", "B", "10", "9", "é", "a b"], train=3)
    (tmp_path / "train" / "9" / "inner").mkdir()
    (tmp_path / "train" / "9" / "9_000.png").rename(tmp_path / "train" / "9" / "inner" / "x.PNG")
    reference = ImageFolder(str(tmp_path / "train"))
    classes = tuple(subfolders(tmp_path / "train"))
    files = list_classes(tmp_path, "train", classes)
    assert classes == tuple(reference.classes)
    expected = [(path.removeprefix(f"{tmp_path}/"), label) for path, label in reference.samples]
    assert list(zip(files.paths, files.classes, strict=True)) == expected
    assert len(files) == 18
    assert files.labels.tolist() == reference.targets
    assert files.counts(6) == [3] * 6


def test_hidden_files_and_others_are_passed_over_and_links_followed(tmp_path):
    write_image_folder(tmp_path, classes=["a"], train=2, test=None)
    folder = tmp_path / "a"
    for name in (".hidden.png", "notes.txt", "png"):
        (folder / name).write_bytes(b"")
    (folder / ".cache").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "link.JPG").symlink_to(folder / "a_000.png")
    (folder / "loop").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "z.webp").write_bytes(b"")
    (folder / "linked").symlink_to(elsewhere)
    assert list_images(tmp_path, "a") == ["a/a_000.png", "a/a_001.png", "a/link.JPG", "a/linked/z.webp"]
    assert has_images(folder)
    assert not has_images(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the folder .*nowhere cannot be read: No such file"):
        subfolders(tmp_path / "nowhere")


def test_parts_and_names(tmp_path):
    files = ImageFiles(tmp_path, ("a/1.png", "a/2.png", "b/3.png"), (0, 0, 1))
    assert files[[2, 0]] == ImageFiles(tmp_path, ("b/3.png", "a/1.png"), (1, 0))
    assert files[[0, 1]] + files[[2]] == files
    assert named(["a", "b"]) == "a, b"
    assert named([str(n) for n in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (12 in all)"
