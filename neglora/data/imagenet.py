"""`imagenet100`: the 100 classes of ImageNet that the paper's Table 1 lists, from an ImageNet tree on disk.

The tree is looked for under `--data-root` (or `data/`): there itself, in `imagenet/`, or in Kaggle's
`ILSVRC/Data/CLS-LOC/`. It has `train/WNID/*.JPEG` and either `val/WNID/*.JPEG` or all validation images in `val/`; then
a list says what each is (`LISTS`). Folders of other classes are not looked into. Nothing is fetched: ImageNet's licence
has to be accepted in person, at image-net.org.
"""

from __future__ import annotations

import re
from pathlib import Path

from neglora.data.archive import DEFAULT_ROOT
from neglora.data.augment import Augmentation
from neglora.data.dataset import DataError, DataOptions, DatasetEntry, DatasetInfo, ImageDataset
from neglora.data.files import ImageFiles, is_image, list_classes, named, subfolders
from neglora.data.from_files import CHANNELS, load_files, normalized_with

NAME = "imagenet100"
#: The classes by WordNet id, sorted, as labels of ImageNet are by custom.
# fmt: off
CLASSES = (
    "n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668",
    "n01514859", "n01531178", "n01537544", "n01560419", "n01582220", "n01592084", "n01601694", "n01608432",
    "n01614925", "n01622779", "n01630670", "n01632458", "n01632777", "n01644900", "n01664065", "n01665541",
    "n01667114", "n01667778", "n01675722", "n01677366", "n01685808", "n01687978", "n01693334", "n01695060",
    "n01698640", "n01728572", "n01729322", "n01729977", "n01734418", "n01735189", "n01739381", "n01740131",
    "n01742172", "n01749939", "n01751748", "n01753488", "n01755581", "n01756291", "n01770081", "n01770393",
    "n01773157", "n01773549", "n01773797", "n01774384", "n01774750", "n01775062", "n01776313", "n01795545",
    "n01796340", "n01798484", "n01806143", "n01818515", "n01819313", "n01820546", "n01824575", "n01828970",
    "n01829413", "n01833805", "n01843383", "n01847000", "n01855672", "n01860187", "n01877812", "n01883070",
    "n01910747", "n01914609", "n01924916", "n01930112", "n01943899", "n01944390", "n01950731", "n01955084",
    "n01968897", "n01978287", "n01978455", "n01984695", "n01985128", "n01986214", "n02002556", "n02006656",
    "n02007558", "n02011460", "n02012849", "n02013706", "n02018207", "n02018795", "n02027492", "n02028035",
    "n02037110", "n02051845", "n02058221", "n02077923",
)
# fmt: on
IMAGE_SIZE = 224
#: The paper's augmentation.
#: Differs: the paper's text has RandAugment with "n=9, m=0.5"; in the recipe of TinyViT, where the numbers come from, 9
#: is the magnitude and 0.5 its deviation, which is what is done here.
AUGMENTATION = Augmentation(crop_scale=(0.05, 1.0), flip=True, randaugment="rand-m9-mstd0.5-inc1", erase=0.25)
#: Where a tree may lie under the root.
PLACES = (".", "imagenet", "ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC")
#: Names of the list of a flat `val/`, which lies in it, beside it, or where the search for the tree began: Kaggle's
#: table; one WordNet id a line in the order of the files; or lines such as `ILSVRC2012_val_00000001.JPEG n01751748`.
KAGGLE, BY_NUMBER = "LOC_val_solution.csv", "imagenet_2012_validation_synset_labels.txt"
LISTS = (KAGGLE, BY_NUMBER, "ILSVRC2012_val.txt", "val.txt")
VALIDATION_FILE = "ILSVRC2012_val_{:08d}.JPEG"
WORDNET_ID = re.compile(r"n\d{8}")


def info(options: DataOptions) -> DatasetInfo:
    """What is known without a tree.

    Raises:
        DataError: mean and std do not fit.
    """
    normalized_with(options)
    return DatasetInfo(NAME, CLASSES, options.image_size or IMAGE_SIZE, CHANNELS)


def load(options: DataOptions) -> ImageDataset:
    """Decode the images of the 100 classes, or find them decoded.

    Raises:
        DataError: there is no tree, or classes, validation images or their list are missing; see also `load_files`.
    """
    known = info(options)
    root, tree = _tree(options)
    train = _complete(list_classes(tree, "train", CLASSES), tree / "train")
    if any(WORDNET_ID.fullmatch(name) for name in subfolders(tree / "val")):
        test = list_classes(tree, "val", CLASSES)
    else:
        test = _flat(root, tree)
    return load_files(known, train, _complete(test, tree / "val"), options, AUGMENTATION)


def _tree(options: DataOptions) -> tuple[Path, Path]:
    """Where the search began, and the folder that has `train` and `val`."""
    root = (options.folder or Path(DEFAULT_ROOT)).absolute()
    places = [root / place for place in PLACES]
    for tree in places:
        if (tree / "train").is_dir() and (tree / "val").is_dir():
            return root, tree
    raise DataError(
        f"{NAME} was not found. Looked for an ImageNet tree with the folders train and val in "
        f"{', '.join(map(str, places))}. Wanted are train/WNID/*.JPEG and val/WNID/*.JPEG for the 100 classes, WNID "
        "being a WordNet id such as n01440764; they come from image-net.org, or from Kaggle's ImageNet Object "
        "Localization Challenge. Another folder is named with --data-root (in a space: `data: {root: FOLDER}`)"
    )


def _complete(files: ImageFiles, folder: Path) -> ImageFiles:
    missing = [name for name, count in zip(CLASSES, files.counts(len(CLASSES)), strict=True) if not count]
    if missing:
        raise DataError(
            f"{folder} has no images of {named(missing)}; {NAME} needs all of its {len(CLASSES)} classes, in folders "
            "named by these WordNet ids"
        )
    return files


def _flat(root: Path, tree: Path) -> ImageFiles:
    """The validation images of the classes from a flat folder, in the order of classes and names."""
    folders = (tree / "val", tree, root)
    found = next((folder / name for name in LISTS for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{tree / 'val'} has no folders by WordNet id, and there is no list that says which image is of which "
            f"class. Looked for {' or '.join(LISTS)} in {', '.join(map(str, dict.fromkeys(folders)))}. A list has "
            f"lines such as '{VALIDATION_FILE.format(1)} n01751748'; or sort the images into folders val/WNID"
        )
    index = {name: place for place, name in enumerate(CLASSES)}
    listed = sorted((index[wnid], f"val/{name}") for name, wnid in _listed(found) if wnid in index)
    missing = [path for _, path in listed if not (tree / path).is_file()]
    if missing:
        raise DataError(f"{tree} lacks images that {found} lists: {named(missing)}")
    return ImageFiles(tree, tuple(path for _, path in listed), tuple(label for label, _ in listed))


def _listed(file: Path) -> list[tuple[str, str]]:
    """File name and WordNet id of each line of a list.

    Raises:
        DataError: it cannot be read, or a line is of another form.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if not words or (number == 1 and file.name == KAGGLE and words[0] == "ImageId"):
            continue
        if file.name == BY_NUMBER:
            words = [VALIDATION_FILE.format(number), *words]
        if len(words) < 2 or not WORDNET_ID.fullmatch(words[1]):
            raise DataError(
                f"{file}, line {number}: expected a file name and a WordNet id, such as '{VALIDATION_FILE.format(1)} "
                f"n01751748', got {line[:80]!r}"
            )
        name = words[0] if is_image(words[0]) else f"{words[0]}.JPEG"
        if Path(name).name != name:
            raise DataError(f"{file}, line {number}: expected the name of a file in val/, got {name[:80]!r}")
        pairs.append((name, words[1]))
    return pairs


ENTRY = DatasetEntry(
    about="100 classes of ImageNet (the paper's Table 1) at 224x224; from an ImageNet tree under --data-root",
    info=info,
    load=load,
    has_files=True,
)
