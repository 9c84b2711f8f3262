"""Training batches whose images are decoded from their files anew in every epoch, by processes that do nothing else.

What an image looks like in an epoch depends on the seed, the epoch and the image alone: not on how many processes
decode, nor on how many workers share the training.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from neglora.data.augment import Augmentation, holes
from neglora.data.batches import batch_starts, epoch_order, normalization
from neglora.data.dataset import DataError
from neglora.data.files import ImageFiles
from neglora.data.picture import FILTER, Damaged, fitted, pixels, read_picture
from neglora.seeds import derive_seed

logger = logging.getLogger(__name__)

#: Processes that decode for one training, where nobody says how many: as many as there are processors, up to this.
MOST_WORKERS = 16
#: Batches that each of them prepares ahead.
AHEAD = 2
#: Where batches pass from one process to the other.
SHARED_MEMORY = "/dev/shm"  # noqa: S108
#: Width over height of a random crop, from and to, and how often one that fits is sought.
CROP_RATIO, CROP_ATTEMPTS = (3 / 4, 4 / 3), 10
#: Settings of timm's RandAugment: magnitude, operations an image, largest magnitude, deviation of the magnitude,
#: probability of an operation, whether operations grow stronger with the magnitude.
RANDAUGMENT = re.compile(r"rand(-(m|n|mmax)\d+|-(mstd|p)\d+(\.\d+)?|-inc[01])*")
#: Number of an epoch, and the rows that a batch holds.
Request = tuple[int, list[int]]


class FileBatches:
    """Batches of images decoded from files; see `neglora.data.batches.TrainingBatches`.

    The processes that decode start with the first epoch and end with this object. One epoch can be under way at a time.

    Args:
        files: of the training images.
        index: which of them, `[m]`.
        batch_size: as of `TensorBatches`.
        seed: of order and augmentation.
        augmentation: crop, shift, flip and RandAugment of each image where it is decoded, in this order; the rest on
            the device.
        image_size: pixels of a side.
        mean, std: per channel, of pixel values scaled to [0, 1].
        device: where batches are put together.
        workers: processes; 0 decodes in this one, None takes as many as there are processors, 16 at most. A process
            that may have no children, such as another such worker, decodes by itself.

    Raises:
        DataError: the setting of RandAugment is none.
    """

    def __init__(
        self,
        files: ImageFiles,
        *,
        index: Tensor,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        workers: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size should be at least 1, got {batch_size}")
        self.index, self.batch_size, self.seed = index.cpu(), batch_size, seed
        self.augmentation, self.image_size, self.device = augmentation, image_size, device
        self.labels = files.labels
        self.workers = _usable_workers(workers, batch_size * 3 * image_size**2)
        self._decoder = Decoder(files, image_size, seed, augmentation, tuple(mean))
        self._decoder.check()
        self._normalized = normalization(mean, std, device)
        self._plan = _Plan()
        self._turn = 0
        self._next = 0

    def __len__(self) -> int:
        return len(batch_starts(len(self.index), self.batch_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        number = self._next
        self._next += 1
        return self.epoch(number)

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """See `TrainingBatches.epoch`. Of every batch, only this rank's share is decoded.

        Raises:
            DataError: a file cannot be decoded any more.
        """
        order = self.index[epoch_order(len(self.index), self.seed, number)]
        starts = batch_starts(len(self.index), self.batch_size)
        batches = [order[first:last] for first, last in pairwise([*starts, len(self.index)])][start:]
        requests: list[Request] = [(number, rows[rank::world].tolist()) for rows in batches]
        for place, (rows, images) in enumerate(zip(batches, self._decoded(requests), strict=True), start=start):
            if isinstance(images, str):
                raise DataError(images)
            inputs = self._normalized(images.to(self.device, non_blocking=True))
            if self.augmentation.erase:
                generator = torch.Generator().manual_seed(derive_seed(self.seed, "erase", number, place))
                size = (self.image_size, self.image_size)
                hole = holes(len(rows), size, self.augmentation.erase, generator, self.device)
                inputs = inputs.masked_fill(hole[rank::world], 0.0)
            yield inputs, self.labels[rows[rank::world]].to(self.device)

    def _decoded(self, requests: list[Request]) -> Iterator[Tensor | str]:
        if not self.workers:
            yield from map(self._decoder.__getitem__, requests)
            return
        self._turn += 1
        turn = self._turn
        self._plan.requests = requests
        images = iter(self._loader)
        for _ in requests:
            if turn != self._turn:
                raise RuntimeError("another epoch of the same batches was begun before this one ended")
            yield next(images)

    @cached_property
    def _loader(self) -> DataLoader[Tensor]:
        # Neither fork, which copies the locks of threads that do not come along, nor a fresh interpreter for every
        # worker, which imports torch each time: a server that imports it once and has no threads is forked.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [__name__, *(["timm.data.auto_augment"] if self.augmentation.randaugment else [])]
        )
        return DataLoader(
            self._decoder,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self._plan,
            num_workers=self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=_end_with_parent,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=context,
            persistent_workers=True,
            prefetch_factor=AHEAD,
        )


@dataclass(frozen=True)
class Decoder:
    """Decodes the images of a batch. It travels to the processes that do so.

    Attributes:
        files, image_size, seed, augmentation: as of `FileBatches`.
        mean: the colour that RandAugment fills gaps with.
    """

    files: ImageFiles
    image_size: int
    seed: int
    augmentation: Augmentation
    mean: tuple[float, ...]

    def __getitem__(self, request: Request) -> Tensor | str:
        """The images of a request, uint8 `[n, 3, size, size]`; or what went wrong, for people."""
        epoch, rows = request
        images = numpy.empty((len(rows), 3, self.image_size, self.image_size), numpy.uint8)
        for place, row in enumerate(rows):
            file = self.files.root / self.files.paths[row]
            try:
                images[place] = pixels(self.varied(read_picture(file), derive_seed(self.seed, "image", epoch, row)))
            except Damaged as error:
                return f"{file} was whole before and cannot be decoded any more: {error}"
            except OSError as error:
                return f"{file} was there before and cannot be read any more: {error.strerror}"
        return torch.from_numpy(images)

    def varied(self, picture: Image.Image, seed: int) -> Image.Image:
        """An image as training sees it: crop or fit, shift, flip, RandAugment."""
        wanted, size, draws = self.augmentation, self.image_size, random.Random(seed)
        if wanted.crop_scale:
            left, top, width, height = crop_box(*picture.size, wanted.crop_scale, draws)
            picture = picture.crop((left, top, left + width, top + height)).resize((size, size), FILTER)
        else:
            picture = fitted(picture, size)
        if wanted.shift:
            right, down = (draws.randint(-wanted.shift, wanted.shift) for _ in range(2))
            picture = picture.crop((right, down, right + size, down + size))
        if wanted.flip and draws.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self._randaugment:
            with _global_seed(draws.getrandbits(31)):
                picture = self._randaugment(picture)
        return picture

    def check(self) -> None:
        """
        Raises:
            DataError: the setting of RandAugment is none.
        """
        setting = self.augmentation.randaugment
        # timm itself passes over what it does not know.
        if setting is not None and not RANDAUGMENT.fullmatch(setting):
            raise DataError(
                f"randaugment: expected 'rand' and sections of timm's RandAugment, such as rand-m9-mstd0.5-inc1, got "
                f"{setting!r}"
            )

    @cached_property
    def _randaugment(self) -> Callable[[Image.Image], Image.Image] | None:
        if self.augmentation.randaugment is None:
            return None
        # Only whoever uses it waits for timm.
        from timm.data.auto_augment import rand_augment_transform

        # What timm hands over in its own training: gaps have the mean colour, shifts are a share of the image.
        fill = tuple(min(255, round(255 * value)) for value in self.mean)
        return rand_augment_transform(
            self.augmentation.randaugment, {"translate_const": int(self.image_size * 0.45), "img_mean": fill}
        )


def crop_box(width: int, height: int, scale: tuple[float, float], draws: random.Random) -> tuple[int, int, int, int]:
    """A random crop: its left and upper edge, width and height, in pixels of the image.

    Its area is a share of the image's drawn from `scale`, width over height is drawn from [3/4, 4/3] on a logarithmic
    scale. Where none of ten draws fits, it is the middle of the image, as much of it as the nearest ratio allows.

    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", in torchvision's form (`RandomResizedCrop`).
    """
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    for _ in range(CROP_ATTEMPTS):
        area = width * height * draws.uniform(*scale)
        ratio = math.exp(draws.uniform(low, high))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return draws.randint(0, width - wide), draws.randint(0, height - tall), wide, tall
    ratio = min(max(width / height, CROP_RATIO[0]), CROP_RATIO[1])
    wide, tall = min(width, round(height * ratio)), min(height, round(width / ratio))
    wide, tall = max(wide, 1), max(tall, 1)
    return (width - wide) // 2, (height - tall) // 2, wide, tall


class _Plan(Sampler[Request]):
    """What an epoch asks for, replaced for the next one: the loader and its processes stay."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


def _as_it_is(images: Any) -> Any:
    return images


def _end_with_parent(worker: int) -> None:
    """End a decoding process when the process that it decodes for is gone, however that ended.

    torch's own watchdog looks at the process that forked it, the server; and the server lives as long as its children.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _usable_workers(workers: int | None, batch_bytes: int) -> int:
    """Processes that decode: as wanted, fewer where the memory that they hand batches over in is too small."""
    if multiprocessing.current_process().daemon:
        return 0
    if workers is None:
        # Several workers of one training share their machine's processors.
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", 1))), MOST_WORKERS)
    if not workers or not os.path.isdir(SHARED_MEMORY):
        return workers
    fitting = int(shutil.disk_usage(SHARED_MEMORY).free * 0.9 / ((AHEAD + 1) * batch_bytes))
    if fitting < workers:
        logger.warning(
            "%s has room for the batches of %d decoding processes of %d: enlarge it (in a container: --shm-size)",
            *(SHARED_MEMORY, fitting, workers),
        )
    return min(workers, fitting)


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed the generators of Python and numpy that timm draws from, and put them back as they were."""
    before, numpy_before = random.getstate(), numpy.random.get_state()
    try:
        random.seed(seed)
        numpy.random.seed(seed)
        yield
    finally:
        random.setstate(before)
        numpy.random.set_state(numpy_before)
