import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, PILToTensor, RandomResizedCrop, Resize
from torchvision.transforms import functional as seen

from neglora.data import decoding
from neglora.data.augment import Augmentation
from neglora.data.batches import TensorBatches
from neglora.data.dataset import DataError
from neglora.data.decoding import Decoder, FileBatches, crop_box
from neglora.data.files import list_classes
from neglora.seeds import derive_seed
from tests.trees import write_image_folder

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")
EVERYTHING = Augmentation(shift=2, flip=True, crop_scale=(0.3, 1.0), randaugment="rand-m9-mstd0.5-inc1", erase=0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = write_image_folder(tmp_path_factory.mktemp("images"), train=7, size=24, suffix=".jpg")
    return list_classes(root, "train", ("0", "1", "2"))


def batches(files, **changes) -> FileBatches:
    settings = {
        "index": torch.arange(len(files)),
        "batch_size": 6,
        "seed": 0,
        "augmentation": EVERYTHING,
        "image_size": 16,
        "mean": MEAN,
        "std": STD,
        "device": CPU,
        "workers": 0,
    } | changes
    return FileBatches(files, **settings)


def same(first, second) -> bool:
    pairs = list(zip(first, second, strict=True))
    assert pairs
    return all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_without_augmentation_it_is_what_evaluation_sees_in_the_order_of_tensor_batches(files):
    images = torch.stack(
        [
            PILToTensor()(CenterCrop(16)(Resize(16, InterpolationMode.BICUBIC)(Image.open(files.root / path))))
            for path in files.paths
        ]
    )
    index = torch.tensor([20, 3, 5, 11, 9, 0, 1, 17])
    expected = TensorBatches(images, files.labels, mean=MEAN, std=STD, batch_size=3, index=index, seed=4)
    made = batches(files, index=index, batch_size=3, seed=4, augmentation=Augmentation())
    assert len(made) == len(expected) == 3
    assert same(made.epoch(2), expected.epoch(2))
    assert same(made.epoch(2, start=1), expected.epoch(2, start=1))
    assert same(made, expected.epoch(0))
    assert same(made, expected.epoch(1))


def test_the_number_of_processes_does_not_matter(files):
    expected = [list(batches(files).epoch(number)) for number in range(3)]
    with_two = batches(files, workers=2)
    assert with_two.workers == 2
    for number in (1, 0):
        assert same(with_two.epoch(number), expected[number])
    assert same(with_two.epoch(2, start=2), expected[2][2:])
    abandoned = with_two.epoch(0)
    next(abandoned)
    assert same(with_two.epoch(1), expected[1])
    with pytest.raises(RuntimeError, match="another epoch"):
        list(abandoned)
    iterator = with_two._loader._iterator
    workers = list(iterator._workers)
    assert all(worker.is_alive() for worker in workers)
    del abandoned, iterator, with_two
    assert not any(worker.is_alive() for worker in workers), "they end with the batches"


def test_processes_start_from_a_thread_and_an_error_in_them_names_the_file(files, tmp_path):
    copy = write_image_folder(tmp_path, train=3, size=24)
    listed = list_classes(copy, "train", ("0", "1", "2"))
    broken = copy / listed.paths[4]
    result = {}

    def work():
        result["whole"] = list(batches(listed, workers=1).epoch(0))
        broken.write_bytes(broken.read_bytes()[:90])
        try:
            list(batches(listed, workers=1).epoch(0))
        except DataError as error:
            result["error"] = str(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=120)
    assert same(result["whole"], batches(write_again(listed, broken)).epoch(0))
    assert f"{broken} was whole before and cannot be decoded any more" in result["error"]
    assert "Traceback" not in result["error"]


def write_again(listed, broken):
    write_image_folder(listed.root, train=3, size=24)
    assert broken.is_file()
    return listed


OWNER = """
import sys
import time
from pathlib import Path

import torch

from neglora.data.augment import Augmentation
from neglora.data.decoding import FileBatches
from neglora.data.files import list_classes

if __name__ == "__main__":
    files = list_classes(Path(sys.argv[1]), "train", ("0", "1", "2"))
    made = FileBatches(
        files, index=torch.arange(12), batch_size=2, seed=0, augmentation=Augmentation(flip=True), image_size=16,
        mean=(0, 0, 0), std=(1, 1, 1), device=torch.device("cpu"), workers=2,
    )
    epoch = made.epoch(0)
    next(epoch)
    print(*[worker.pid for worker in made._loader._iterator._workers], flush=True)
    time.sleep(120)
"""


def test_processes_end_when_their_owner_is_killed(tmp_path):
    write_image_folder(tmp_path / "images")
    (tmp_path / "owner.py").write_text(OWNER)
    command = [sys.executable, str(tmp_path / "owner.py"), str(tmp_path / "images")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        workers = [int(word) for word in owner.stdout.readline().split()]
        assert len(workers) == 2
        owner.kill()
        until = time.monotonic() + 20
        while any(alive(worker) for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)
        left = [worker for worker in workers if alive(worker)]
        for worker in left:
            os.kill(worker, signal.SIGKILL)
    assert not left


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _decode_as_a_daemon(files, queue):
    made = batches(files, workers=2)
    queue.put((made.workers, sum(inputs.double().sum().item() for inputs, _ in made.epoch(0))))


def test_a_process_that_may_have_no_children_decodes_by_itself(files):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_decode_as_a_daemon, args=(files, queue), daemon=True)
    process.start()
    workers, total = queue.get(timeout=60)
    process.join(timeout=60)
    assert workers == 0
    assert total == sum(inputs.double().sum().item() for inputs, _ in batches(files).epoch(0))


@pytest.mark.parametrize("world", [2, 4])
def test_shares_make_up_the_whole_batch(files, world):
    whole = list(batches(files).epoch(1))
    shares = [list(batches(files).epoch(1, rank=rank, world=world)) for rank in range(world)]
    for place, (inputs, labels) in enumerate(whole):
        put_together = torch.empty_like(inputs)
        owners = torch.empty_like(labels)
        for rank in range(world):
            put_together[rank::world], owners[rank::world] = shares[rank][place]
        assert torch.equal(put_together, inputs)
        assert torch.equal(owners, labels)


def test_only_a_rank_s_share_is_decoded(files, monkeypatch):
    read = []
    original = decoding.read_picture
    monkeypatch.setattr(decoding, "read_picture", lambda file: (read.append(file), original(file))[1])
    list(batches(files).epoch(0, rank=1, world=3))
    assert len(read) == 7


def test_every_epoch_and_image_is_drawn_anew_and_the_seed_reproduces_it(files):
    made = batches(files, batch_size=21, augmentation=Augmentation(crop_scale=(0.3, 1.0), flip=True))
    (first, labels), (second, other_labels) = next(made.epoch(0)), next(made.epoch(1))
    assert labels.sort().values.tolist() == other_labels.sort().values.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert len({image.numpy().tobytes() for image in torch.cat([first, second])}) == 42
    assert torch.equal(next(batches(files, batch_size=21, augmentation=made.augmentation).epoch(0))[0], first)
    other = batches(files, batch_size=21, augmentation=made.augmentation, seed=1)
    assert not torch.equal(next(other.epoch(0))[0], first)


def test_global_generators_are_left_as_they_were(files):
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    list(batches(files).epoch(0))
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.random.get_rng_state(), before[2])


def decoder(files, **augmentation) -> Decoder:
    return Decoder(files, 16, 0, Augmentation(**augmentation), MEAN)


def test_crop_flip_and_shift_against_torchvision(files):
    picture = Image.open(files.root / files.paths[1]).convert("RGB")
    flips = set()
    for seed in range(40):
        draws = random.Random(seed)
        left, top, width, height = crop_box(*picture.size, (0.2, 0.9), draws)
        expected = seen.resized_crop(picture, top, left, height, width, [16, 16], InterpolationMode.BICUBIC)
        right, down = draws.randint(-3, 3), draws.randint(-3, 3)
        expected = seen.affine(seen.pad(expected, [3]), 0, [-right, -down], 1, [0, 0])
        expected = seen.center_crop(expected, [16, 16])
        if draws.random() < 0.5:
            expected = seen.hflip(expected)
            flips.add(seed)
        made = decoder(files, crop_scale=(0.2, 0.9), shift=3, flip=True).varied(picture, seed)
        np.testing.assert_array_equal(np.asarray(made), np.asarray(expected))
    assert 10 < len(flips) < 30


@pytest.mark.parametrize("size", [(500, 375), (40, 40), (600, 30), (30, 600), (1, 1), (1, 50)])
def test_crops_are_distributed_as_torchvision_s(size):
    picture = Image.new("RGB", size)
    scale, count = (0.05, 1.0), 1500
    draws = random.Random(0)
    ours = np.array([crop_box(*size, scale, draws) for _ in range(count)], float)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [RandomResizedCrop.get_params(picture, scale, (3 / 4, 4 / 3)) for _ in range(count)]
    theirs = np.array([(left, top, width, height) for top, left, height, width in theirs], float)
    assert (ours[:, 0] >= 0).all()
    assert (ours[:, 2] >= 1).all()
    assert (ours[:, 0] + ours[:, 2] <= size[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= size[1]).all()
    spread = theirs.std(0) + 1e-9
    assert (np.abs(ours.mean(0) - theirs.mean(0)) <= 5 * spread / count**0.5 + 1e-6).all()
    # Elsewhere nearly all draws fall back to the middle.
    if size == (500, 375):
        np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.1)


def test_randaugment_is_timm_s(files):
    from timm.data.auto_augment import rand_augment_transform

    picture = Image.open(files.root / files.paths[1]).convert("RGB").resize((16, 16))
    fill = tuple(round(255 * value) for value in MEAN)
    theirs = rand_augment_transform("rand-m9-mstd0.5-inc1", {"translate_const": 7, "img_mean": fill})
    changed = 0
    for seed in range(30):
        draws = random.Random(seed)
        made = decoder(files, randaugment="rand-m9-mstd0.5-inc1").varied(picture, seed)
        global_seed = draws.getrandbits(31)
        state, numpy_state = random.getstate(), np.random.get_state()
        random.seed(global_seed)
        np.random.seed(global_seed)
        expected = np.asarray(theirs(picture))
        random.setstate(state)
        np.random.set_state(numpy_state)
        np.testing.assert_array_equal(np.asarray(made), expected)
        changed += not np.array_equal(expected, np.asarray(picture))
    assert changed > 10


@pytest.mark.parametrize("setting", ["augmix-m5", "rand-q7", "rand-mx", "rand-m9-", "rand-tnone", "random", ""])
def test_a_setting_of_randaugment_that_is_none_is_refused(files, setting):
    with pytest.raises(DataError, match="expected 'rand' and sections of timm's RandAugment"):
        batches(files, augmentation=Augmentation(randaugment=setting))


def test_erased_as_tensor_batches_do_it(files):
    plain = Augmentation(flip=True, crop_scale=(0.5, 1.0))
    made = list(batches(files, augmentation=replace(plain, erase=0.6)).epoch(3))
    whole = list(batches(files, augmentation=plain).epoch(3))
    holes = 0
    for place, ((erased, _), (inputs, _)) in enumerate(zip(made, whole, strict=True)):
        generator = torch.Generator().manual_seed(derive_seed(0, "erase", 3, place))
        assert torch.equal(erased, decoding_erased(inputs, 0.6, generator))
        holes += int((erased != inputs).flatten(1).any(1).sum())
    assert 5 < holes < 20


def decoding_erased(inputs, share, generator):
    from neglora.data.augment import erased

    return erased(inputs, share, generator)


def test_a_file_that_is_gone_is_named(files, tmp_path):
    listed = list_classes(write_image_folder(tmp_path, train=2), "train", ("0", "1", "2"))
    (listed.root / listed.paths[3]).unlink()
    with pytest.raises(DataError, match=r"1_001\.png was there before and cannot be read any more: No such file"):
        list(batches(listed).epoch(0))


def test_fewer_processes_where_shared_memory_is_small(files, monkeypatch, caplog):
    class Usage:
        free = 3 * 6 * 3 * 16 * 16 * 2.5

    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda folder: Usage)
    assert batches(files, workers=4).workers == 2
    assert "room for the batches of 2 decoding processes of 4" in caplog.text
    Usage.free = 0
    assert batches(files, workers=4).workers == 0


def test_as_many_processes_as_processors(files, monkeypatch):
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda process: set(range(12)))
    assert batches(files, workers=None).workers == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert batches(files, workers=None).workers == 3
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda process: set(range(200)))
    assert batches(files, workers=None).workers == decoding.MOST_WORKERS
