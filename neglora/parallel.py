"""The processes that train one model together: each works on its share of every batch, as torch.distributed has it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """All of them, and which one this process is.

    Attributes:
        rank: of this process, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls) -> Workers:
        """Those of torch's default process group; this process alone where there is none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def joined(self, model: nn.Module) -> nn.Module:
        """The model as it is called in training: gradients are averaged over workers, all start from rank 0's weights.

        On GPUs, BatchNorm normalizes by the statistics of the whole batch (its layers are replaced in place, with the
        same parameters). On CPUs, where torch has no such layer, each worker normalizes by its share, and the running
        statistics are those of rank 0's.
        """
        if self.world == 1:
            return model
        device = next(model.parameters()).device
        if device.type == "cuda":
            model = convert_sync_batchnorm(model)
        return DistributedDataParallel(
            model, device_ids=[torch.cuda.current_device()] if device.type == "cuda" else None, broadcast_buffers=False
        )

    def filled(self, inputs: Tensor) -> Tensor:
        """A share of at least two images, `[b, c, h, w]`, filled up with images of the mean colour.

        A batch that is small may leave a worker with one image or none, on which BatchNorm cannot train.
        """
        missing = 2 - len(inputs)
        if self.world == 1 or missing <= 0:
            return inputs
        return torch.cat([inputs, inputs.new_zeros((missing, *inputs.shape[1:]))])

    def add_up(self, figures: Tensor) -> Tensor:
        """The sum over workers, in place."""
        if self.world > 1:
            distributed.all_reduce(figures)
        return figures

    def agree(self, number: int, device: torch.device) -> bool:
        """Whether every worker has the same number."""
        if self.world == 1:
            return True
        ends = torch.tensor([number, -number], device=device)
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        return bool(ends[0] == -ends[1])
