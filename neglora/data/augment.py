"""Random augmentation of training images: what is drawn on the device, batch by batch, and what a dataset asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied. The default leaves them as they are.

    Attributes:
        shift: largest shift in pixels, in both directions, filled with black: a random crop after so much padding.
        flip: mirror left and right, half of the images.
        crop_scale: share of the original image's area, from and to, that a random crop resized to the image size
            holds; drawn where files are decoded. None crops nothing.
        randaugment: the setting of timm's RandAugment, such as `rand-m9-mstd0.5-inc1`, applied where files are decoded.
        erase: probability that a random rectangle is erased after normalization, in [0, 1].
    """

    shift: int = 0
    flip: bool = False
    crop_scale: tuple[float, float] | None = None
    randaugment: str | None = None
    erase: float = 0.0

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def changed(self, changes: Mapping[str, Any]) -> Augmentation:
        """This augmentation with its own fields that are not None in `changes` replaced; other keys are passed over."""
        own = {name: changes[name] for name in self.names() if changes.get(name) is not None}
        if "crop_scale" in own:
            own["crop_scale"] = tuple(own["crop_scale"])
        return replace(self, **own)

    @property
    def decodes(self) -> bool:
        """Whether originals have to be decoded anew for every epoch."""
        return self.crop_scale is not None or self.randaugment is not None


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Shift every image by its own whole number of pixels in [-most, most], filling with zeros.

    Args:
        images: `[n, channels, height, width]`.
        most: the largest shift in pixels, in each direction.
        generator: a CPU generator.
    """
    count, channels, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (2, count), generator=generator).to(images.device, non_blocking=True)
    rows = offsets[0].view(-1, 1) + torch.arange(height, device=images.device)
    columns = offsets[1].view(-1, 1) + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[image, channel, rows.view(count, 1, height, 1), columns.view(count, 1, 1, width)]


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image left and right with probability 1/2.

    Args:
        images: `[n, channels, height, width]`.
        generator: a CPU generator.
    """
    mirror = (torch.rand(len(images), generator=generator) < 0.5).to(images.device, non_blocking=True)
    return torch.where(mirror.view(-1, 1, 1, 1), images.flip(3), images)


#: Area of the erased rectangle as a share of the image, and its height over its width, from and to.
ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)


def erased(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Erase a random rectangle of a share of the images, with zeros: the mean colour once images are normalized.

    Args:
        images: `[n, channels, height, width]`, normalized.
        share: probability that an image is erased, in [0, 1].
        generator: a CPU generator.

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation".
    Differs: a rectangle that would not fit is clipped to the image instead of drawn again.
    """
    hole = holes(len(images), images.shape[2:], share, generator, images.device)
    return images.masked_fill(hole, 0.0)


def holes(count: int, size: Sequence[int], share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Where `count` images of `size` (height and width) are erased: true there, `[count, 1, height, width]`."""
    height, width = size
    drawn = torch.rand(5, count, generator=generator)
    area = (ERASED_AREA[0] + drawn[1] * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    low, high = (torch.tensor(end).log() for end in ERASED_RATIO)
    ratio = (low + drawn[2] * (high - low)).exp()
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = (drawn[3] * (height - tall + 1)).floor()
    left = (drawn[4] * (width - wide + 1)).floor()
    ends = torch.stack((top, top + tall, left, left + wide, drawn[0])).to(device, non_blocking=True).unsqueeze(2)
    rows, columns = torch.arange(height, device=device).view(1, -1), torch.arange(width, device=device).view(1, -1)
    within_rows = (rows >= ends[0]) & (rows < ends[1]) & (ends[4] < share)
    within_columns = (columns >= ends[2]) & (columns < ends[3])
    return (within_rows.unsqueeze(2) & within_columns.unsqueeze(1)).unsqueeze(1)
