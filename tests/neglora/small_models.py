"""One small model of every family, for tests that train or ascend; shapes alone are tested over the whole registry."""

import torch
from torch import nn

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
