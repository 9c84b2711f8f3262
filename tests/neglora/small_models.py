"""One small model of every family, for tests that train or ascend; shapes alone are tested over the whole registry."""

import torch
from torch import nn

from neglora.data import TensorBatches

SMALL = ["tinyvit_nano", "resnet_nano", "timm:test_vit"]


def with_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm weights and statistics that are not 0 and 1, as a trained model has them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0.0, 0.1, generator=generator)
    return model


def random_images(batch_size: int = 10, seed: int | None = None, count: int = 24) -> TensorBatches:
    """Random images, by default three batches of which the last is smaller."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return TensorBatches(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=batch_size, seed=seed)
