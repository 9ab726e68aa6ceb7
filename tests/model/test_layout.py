"""Which models are kept with channels last."""

import pytest
import timm
import torch

from hftune.model.layout import gains_from_channels_last, memory_format


@pytest.mark.parametrize(
    ("architecture", "gains"),
    [
        ("tf_efficientnet_lite0", True),
        ("mobilenetv3_large_100", True),
        ("resnet18", True),
        ("vgg11", True),
        ("vit_tiny_patch16_224", False),
        ("convnext_atto", False),
        ("swin_tiny_patch4_window7_224", False),
    ],
)
def test_networks_of_convolutions_gain(architecture, gains):
    with torch.device("meta"):
        module = timm.create_model(architecture, num_classes=2)
    assert gains_from_channels_last(module) == gains


@pytest.mark.parametrize(
    ("wanted", "architecture", "expected"),
    [
        ("auto", "test_resnet", torch.channels_last),
        ("auto", "test_vit", torch.contiguous_format),
        (True, "test_vit", torch.channels_last),
        (False, "test_resnet", torch.contiguous_format),
    ],
)
def test_a_stated_layout_wins(wanted, architecture, expected):
    assert memory_format(wanted, timm.create_model(architecture)) == expected
