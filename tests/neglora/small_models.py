"""One small model of every family, for tests that train or ascend; shapes alone are tested over the whole registry."""

SMALL = ["tinyvit_nano", "resnet_nano", "timm:test_vit"]
