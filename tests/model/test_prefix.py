"""Prefix and rest are the model: the same layers, in the same order, with the same bits."""

import pytest
import timm
import torch
from torch import nn

from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.model.layer_map import map_layers
from hftune.model.packing import settle_packing
from hftune.model.prefix import Prefix, Rest, find_cut, prefix_state
from hftune.model.select import select

SMALL_VIT = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 32, "num_heads": 2}
# Models whose forward method decides by the shapes that it meets.
BY_SHAPE = {
    "test_vit": {},
    "test_vit4": {},
    "test_vit_relpos": {"img_size": 32, "patch_size": 8, "depth": 3},
    "vit_small_patch16_dinov3": SMALL_VIT,
    "twins_svt_small": {
        "img_size": 32, "patch_size": 2, "depths": (1, 1, 2, 1), "embed_dims": (16, 16, 16, 16),
        "num_heads": (1, 1, 1, 1), "wss": (4, 4, 4, 4),
    },
}  # fmt: skip
FAMILIES = BY_SHAPE | {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "mobilenetv3_small_050": {},
    "regnetx_002": {},
    "densenet121": {"block_config": (1, 1, 1), "growth_rate": 8},
    "vit_tiny_patch16_224": SMALL_VIT,
    "deit_tiny_distilled_patch16_224": SMALL_VIT,
    "eva02_tiny_patch14_224": SMALL_VIT,
    "beit_base_patch16_224": SMALL_VIT,
    "swin_tiny_patch4_window7_224": {
        "img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (1, 1, 1),
        "num_heads": (1, 2, 4),
    },
    "maxvit_pico_rw_256": {"img_size": 64, "depths": (1, 1, 1), "embed_dim": (32, 32, 32)},
}  # fmt: skip


class Opened:
    """A frozen model in train mode, and a few images of its size."""

    def __init__(self, module: nn.Module, selectors: tuple[str, ...], policy="statistics"):
        self.module = module
        self.layers = map_layers(module)
        names = [name for name, _ in module.named_parameters()]
        self.trainable = select(selectors, self.layers, names)
        self.policy = policy
        apply_freeze(module, self.trainable)
        self.train_mode()
        side = 64 if type(module).__name__ == "MaxxVit" else 32
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(3, 3, side, side, generator=generator)

    def train_mode(self) -> None:
        set_train_mode(self.module, self.layers, trainable=self.trainable, batch_norm=self.policy)

    def cut(self):
        return find_cut(self.module, self.inputs[:2], head=self.layers.head)


def opened(name: str, *selectors: str, policy="statistics", **options) -> Opened:
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=2, **(FAMILIES.get(name, {}) | options))
    return Opened(module, selectors, policy)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("selectors", [("head",), ("head", "stage.-1")])
def test_a_step_of_the_two_parts_is_a_step_of_the_whole(name, selectors):
    one = opened(name, *selectors)
    cut = one.cut()
    assert cut is not None
    rest = Rest(one.module, cut.trained, cut.packing)
    features = Prefix(one.module, cut)(one.inputs)
    assert features.shape == (3, cut.packing.width)
    assert not features.requires_grad
    buffers = [buffer.clone() for buffer in one.module.buffers()]
    torch.manual_seed(5)
    whole = one.module(one.inputs)
    expected = torch.autograd.grad(whole.square().sum(), trained(one.module))
    for buffer, before in zip(one.module.buffers(), buffers, strict=True):
        buffer.copy_(before)
    torch.manual_seed(5)
    parts = rest(features)
    found = torch.autograd.grad(parts.square().sum(), trained(one.module))
    assert torch.equal(parts, whole)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    own = {id(value) for value in rest.parameters() if value.requires_grad}
    assert own == {id(value) for value in trained(one.module)}


def trained(module: nn.Module) -> list[nn.Parameter]:
    return [value for value in module.parameters() if value.requires_grad]


@pytest.mark.parametrize("name", BY_SHAPE)
def test_a_model_that_decides_by_shapes_is_cut_before_its_head_alone(name):
    one = opened(name, "head")
    assert one.cut().last_layer == "head_drop"
    assert one.cut().packing.width == one.module.num_features


@pytest.mark.parametrize("name", BY_SHAPE)
def test_a_model_that_decides_by_shapes_is_cut_in_half_precision_too(name):
    one = opened(name, "head", "stage.-1")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cut = one.cut()
        assert cut is not None
        rest = Rest(one.module, cut.trained, cut.packing)
        assert torch.equal(rest(Prefix(one.module, cut)(one.inputs)), one.module(one.inputs))


def test_a_cut_holds_for_tokens_that_lie_in_memory_as_a_convolution_left_them():
    """Without position embeddings added to them they are the transposed maps of the patches."""
    one = opened("test_vit_relpos", "head", "stage.-1", **BY_SHAPE["test_vit_relpos"])
    (piece,) = one.cut().packing.pieces
    assert (piece.shape, piece.order) == ((16, 96), (0, 2, 1))


@pytest.mark.parametrize(
    ("name", "last"),
    [("test_resnet", "global_pool"), ("regnetx_002", "head.drop")],
)
def test_pooling_before_a_lone_head_is_kept_as_well(name, last):
    one = opened(name, "head")
    cut = one.cut()
    assert cut.last_layer == last
    assert cut.packing.width == one.module.num_features


def test_a_final_norm_that_trains_belongs_to_the_rest():
    """It has the depth of the head in timm, and is frozen with the selector `head` alone."""
    alone = opened("vit_tiny_patch16_224", "head").cut()
    beside = opened("vit_tiny_patch16_224", "head", "name:norm.*").cut()
    assert alone.packing.width == 32
    assert beside.last_layer == "blocks"
    assert beside.packing.width == 17 * 32


def test_the_prefix_ends_before_statistics_that_move():
    assert opened("test_resnet", "head", policy="train").cut() is None  # from the stem on
    assert opened("test_resnet", "head", policy="all").cut().last_layer == "global_pool"


def test_the_prefix_ends_before_dropout_that_is_active():
    for name in ("test_resnet", "test_efficientnet", "vit_tiny_patch16_224"):
        one = opened(name, "head", drop_rate=0.5)
        cut = one.cut()
        one.train_mode()
        prefix = Prefix(one.module, cut)
        assert torch.equal(prefix(one.inputs), prefix(one.inputs))
        assert cut.packing.width == one.module.num_features


def test_a_model_that_trains_whole_or_from_its_first_layer_on_has_no_prefix():
    assert opened("test_resnet", "all").cut() is None
    assert opened("test_resnet", "head", "name:conv1.0.*").cut() is None


def test_looking_for_a_cut_leaves_no_trace():
    one = opened("test_efficientnet", "head", "stage.-1", drop_rate=0.5)
    before = {name: value.clone() for name, value in one.module.state_dict().items()}
    modes = [part.training for part in one.module.modules()]
    state = torch.get_rng_state()
    assert one.cut() is not None
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in one.module.modules()] == modes
    after = one.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_state_of_a_prefix_is_what_is_frozen_before_the_cut():
    one = opened("test_resnet", "head", "stage.-1")
    state = prefix_state(one.module, one.cut())
    assert not state.keys() & one.trainable
    assert {name.partition(".")[0] for name in state} == {
        "conv1", "bn1", "layer1", "layer2", "layer3",
    }  # fmt: skip
    assert "bn1.running_var" in state


def test_what_draws_at_random_by_another_name_is_found_out():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.empty_like(x).uniform_()

    one = opened("test_resnet", "head")
    one.module.layer2 = nn.Sequential(one.module.layer2, Noisy())
    assert one.cut() is None


def is_plain(x):
    assert type(x) is torch.Tensor


def counts_images(x):
    return {1: "one", 2: "two", 3: "three"}[x.shape[0]]


@pytest.mark.parametrize("check", [is_plain, counts_images])
def test_a_method_that_cannot_be_followed_leaves_the_model_whole(check):
    one = opened("test_resnet", "head")
    plain = type(one.module)

    class Checked(plain):
        def forward(self, x):
            check(x)
            return super().forward(x)

    one.module.__class__ = Checked
    assert one.module(one.inputs).shape == (3, 2)
    assert one.cut() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_tensors_come_back_bit_for_bit_in_their_layout(dtype):
    image = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    tokens = torch.randn(2, 6, 3).transpose(1, 2)
    values = (image, torch.randn(2, 7).to(dtype), tokens)
    packing = settle_packing(values, batch=2)
    rows = packing.pack(values)
    assert rows.shape == (2, 85)
    back = packing.unpack(rows)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(back, values, strict=True))
    assert [value.stride() for value in back] == [value.stride() for value in values]


@pytest.mark.parametrize("odd", [torch.arange(2), torch.zeros(3, 1), 4, torch.zeros(2)])
def test_what_is_no_row_of_numbers_per_image_cannot_be_packed(odd):
    assert settle_packing((torch.zeros(2, 1), odd), batch=2) is None
