"""Batch norm folded into convolutions: the same function but for rounding, and nothing touched."""

import logging

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, StdConv2d
from torch import nn

from hftune.model.fused import Fuser, Pair, find_pairs, fused

SHAPE = (3, 64, 64)
# Of the largest output, in fp32. In fp64 the two agree to twelve digits: all of it is rounding.
ROUNDING = 2e-5

# architecture -> how many of its batch norms are folded, and how many it has
FAMILIES = {
    "test_efficientnet": (13, 13),
    "test_resnet": (15, 15),
    "test_byobnet": (14, 14),
    "tf_mobilenetv3_small_minimal_100": (34, 34),  # convolutions that pad their input themselves
    "regnetx_002": (44, 44),
    "densenet121": (59, 121),  # the rest take several outputs put together
    "test_nfnet": (0, 0),
    "test_convnext": (0, 0),
    "test_mambaout": (0, 0),
}


def lived(module: nn.Module) -> nn.Module:
    """Give every batch norm numbers of its own, as after a training."""
    draw = torch.Generator().manual_seed(0)
    for norm in norms(module):
        size = norm.num_features
        norm.running_mean.copy_(torch.randn(size, generator=draw) * 0.3)
        norm.running_var.copy_(torch.rand(size, generator=draw) + 0.2)
        norm.weight.data.copy_(torch.rand(size, generator=draw) + 0.5)
        norm.bias.data.copy_(torch.randn(size, generator=draw) * 0.3)
    return module


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def inputs(number: int = 2) -> torch.Tensor:
    return torch.randn(number, *SHAPE, generator=torch.Generator().manual_seed(1))


def said(module: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    with torch.inference_mode():
        return module.eval()(inputs().to(dtype))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(("name", "numbers"), FAMILIES.items(), ids=str)
def test_families_lose_batch_norms_and_say_the_same(name, numbers):
    torch.manual_seed(0)
    module = lived(timm.create_model(name, num_classes=5))
    pairs = find_pairs(module, SHAPE)
    folded = fused(module, pairs)
    assert (len(pairs), len(norms(module))) == numbers
    assert len(norms(folded)) == numbers[1] - numbers[0]
    assert difference(said(folded), said(module)) < ROUNDING
    exact = said(fused(module.double(), pairs), torch.float64)
    assert difference(exact, said(module, torch.float64)) < 1e-12


def test_module_is_left_as_it_was():
    module = lived(timm.create_model("test_resnet", num_classes=5)).train()
    module.to(memory_format=torch.channels_last)
    module.layer1.eval()
    module.conv1.requires_grad_(False)
    before = facts(module)
    random = torch.get_rng_state()
    folded = fused(module, find_pairs(module, SHAPE))
    with torch.inference_mode():
        folded(inputs())
    assert facts(module) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part.training for part in folded.modules())


def facts(module: nn.Module) -> tuple[object, ...]:
    """All of a module that training could feel."""
    tensors = module.state_dict(keep_vars=True)
    return (
        {
            name: (id(one), one._version, one.requires_grad, one.stride(), bits(one))
            for name, one in tensors.items()
        },
        {name: (id(part), part.training) for name, part in module.named_modules()},
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()],
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def test_only_folded_weights_take_memory():
    module = timm.create_model("test_efficientnet", num_classes=5)
    pairs = find_pairs(module, SHAPE)
    own = {tensor.data_ptr() for tensor in module.parameters()}
    folded = fused(module, pairs)
    new = {name for name, one in folded.named_parameters() if one.data_ptr() not in own}
    assert new == {f"{pair.convolution}.{kind}" for pair in pairs for kind in ("weight", "bias")}


def test_folded_weights_keep_channels_last():
    module = timm.create_model("test_resnet").to(memory_format=torch.channels_last)
    folded = fused(module, find_pairs(module, SHAPE))
    assert folded.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


class Small(nn.Module):
    """A convolution and a batch norm; what derives from it has a forward pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).mean((2, 3))


class OutputUsedAgain(Small):
    def forward(self, x):
        given = self.conv(x)
        return (given + self.norm(given)).mean((2, 3))


class OutputGivenToo(Small):
    def forward(self, x):
        given = self.conv(x)
        return self.norm(given), given


class ChangedInBetween(Small):
    def forward(self, x):
        return self.norm(self.conv(x).relu_()).mean((2, 3))


class ViewInBetween(Small):
    def forward(self, x):
        return self.norm(self.conv(x)[:, :, 1:]).mean((2, 3))


class ConvolutionTwice(Small):
    def forward(self, x):
        return self.norm(self.conv(self.conv(x))).mean((2, 3))


class NormTwice(Small):
    def forward(self, x):
        return self.norm(self.norm(self.conv(x))).mean((2, 3))


class NormOfTwoNames(Small):
    def __init__(self):
        super().__init__()
        self.again = self.norm


class NoStatistics(Small):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)


class StandardisedWeights(Small):
    def __init__(self):
        super().__init__()
        self.conv = StdConv2d(3, 3, 3, padding=1)


class Parametrised(Small):
    def __init__(self):
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


class WatchedConvolution(Small):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda *passed: passed[2] * 2)


class LooksAtValues(Small):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


KEPT = (
    OutputUsedAgain,
    OutputGivenToo,
    ChangedInBetween,
    ViewInBetween,
    ConvolutionTwice,
    NormTwice,
    NormOfTwoNames,
    NoStatistics,
    StandardisedWeights,
    Parametrised,
    WatchedConvolution,
    LooksAtValues,
)


def test_a_convolution_and_its_norm_are_a_pair():
    assert find_pairs(Small(), SHAPE) == (Pair(convolution="conv", norm="norm"),)


@pytest.mark.parametrize("kind", KEPT)
def test_what_folding_would_change_is_kept(kind):
    assert find_pairs(kind(), SHAPE) == ()


def test_a_forward_pass_that_looks_at_values_is_said(caplog):
    with caplog.at_level(logging.INFO, "hftune"):
        find_pairs(LooksAtValues(), SHAPE)
    assert "batch norm is evaluated layer by layer" in caplog.text


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folded_numbers_by_hand(bias, affine):
    module = nn.Sequential(nn.Conv2d(1, 1, 1, bias=bias), nn.BatchNorm2d(1, eps=0.0, affine=affine))
    module[0].weight.data.fill_(3.0)
    module[1].running_mean.fill_(2.0)
    module[1].running_var.fill_(4.0)
    if bias:
        module[0].bias.data.fill_(6.0)
    if affine:
        module[1].weight.data.fill_(8.0)
        module[1].bias.data.fill_(0.5)
    scale, shift = (8.0, 0.5) if affine else (1.0, 0.0)
    folded = fused(module, find_pairs(module, (1, 2, 2)))
    # (3 x + bias - mean) / sqrt(variance) * scale + shift
    assert folded[0].weight.item() == 3 / 2 * scale
    assert folded[0].bias.item() == ((6.0 if bias else 0.0) - 2) / 2 * scale + shift


def test_the_activation_of_a_norm_stays():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4, act_layer=nn.SiLU))
    folded = fused(module, find_pairs(module, SHAPE))
    assert any(isinstance(part, nn.SiLU) for part in folded[1].modules())
    assert difference(said(folded), said(module)) < ROUNDING


def test_pairs_are_found_within_inference_mode():
    module = timm.create_model("test_resnet")
    with torch.inference_mode():
        inside = find_pairs(module, SHAPE)
    assert inside == find_pairs(module, SHAPE)
    assert len(inside) == 15


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_half_precision_stays_within_its_own_rounding(dtype, most):
    """Folding is as far from fp32 as the layers by themselves are, in each half precision."""
    module = lived(timm.create_model("test_efficientnet", num_classes=5))
    exact = said(module)
    folded = fused(module, find_pairs(module, SHAPE))
    with torch.autocast("cpu", dtype=dtype):
        assert difference(said(module).float(), exact) < most
        assert difference(said(folded).float(), exact) < most


def test_a_fuser_follows_the_weights_of_each_module():
    fuse = Fuser()
    modules = [lived(timm.create_model(name)) for name in ("test_resnet", "test_efficientnet")]
    for module in modules * 2:
        for parameter in module.parameters():
            parameter.data.mul_(1.5)
        folded = fuse(module.train(), SHAPE)
        assert not module.training
        assert norms(folded) == []
        assert difference(said(folded), said(module)) < ROUNDING


def test_what_has_nothing_to_fold_is_itself():
    module = timm.create_model("test_convnext")
    assert Fuser()(module, SHAPE) is module
