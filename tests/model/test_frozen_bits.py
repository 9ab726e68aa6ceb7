"""What is frozen keeps every bit, and costs no memory in the backward pass.

Three kinds of norm, three policies for batch norm, and the mode put right after each evaluation.
"""

import pytest
import timm
import torch
from torch import nn

from hftune.core import LayerMap
from hftune.model.freeze import BatchNormPolicy, apply_freeze, set_train_mode
from hftune.model.layer_map import map_layers
from hftune.model.select import select

SIZE = 64
BATCH_NORM = ("test_resnet", "test_efficientnet")
OTHER_NORMS = ("test_efficientnet_gn", "test_efficientnet_ln", "test_vit", "test_convnext")
POLICIES: tuple[BatchNormPolicy, ...] = ("train", "statistics", "all")
SELECTIONS = (("head",), ("head", "stage.-1"), ("all", "not norm"), ("head", "norm"), ("all",))


def build(architecture: str, **options: object) -> tuple[nn.Module, LayerMap]:
    if architecture == "test_vit":
        options["img_size"] = SIZE
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=3, **options)
    return module, map_layers(module)


def trained(
    module: nn.Module, layers: LayerMap, trainable: frozenset[str], policy: BatchNormPolicy
) -> set[str]:
    """Train as a run does, with an evaluation between steps; give what has changed a bit."""
    apply_freeze(module, trainable)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=0.05, weight_decay=0.1)
    for _ in range(2):
        set_train_mode(module, layers, trainable=trainable, batch_norm=policy)
        nn.functional.cross_entropy(
            module(torch.randn(4, 3, SIZE, SIZE)), torch.tensor([0, 1, 2, 0])
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
        module.eval()
        module.train()  # what other code may do; the policy is applied again before each step
    after = module.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def live_statistics(
    module: nn.Module, layers: LayerMap, trainable: frozenset[str], policy: BatchNormPolicy
) -> set[str]:
    """Name the statistics that the policy lets move, by its definition."""
    rests = {layers.depth[name] for name, _ in module.named_parameters() if name not in trainable}
    live = set()
    for owner, child in module.named_modules():
        if isinstance(child, nn.BatchNorm2d):
            own = {f"{owner}.{name}" for name, _ in child.named_parameters(recurse=False)}
            moves = policy == "train" or bool(own & trainable)
            if policy == "all" and layers.depth[f"{owner}.running_mean"] in rests:
                moves = False
            if moves:
                live |= {f"{owner}.{name}" for name, _ in child.named_buffers(recurse=False)}
    return live


@pytest.mark.parametrize("selectors", SELECTIONS, ids=" ".join)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("architecture", BATCH_NORM)
def test_batch_norm_families_move_exactly_what_trains(
    architecture: str, policy: BatchNormPolicy, selectors: tuple[str, ...]
) -> None:
    module, layers = build(architecture)
    trainable = select(selectors, layers, [name for name, _ in module.named_parameters()])
    live = live_statistics(module, layers, trainable, policy)
    assert trained(module, layers, trainable, policy) == trainable | live


@pytest.mark.parametrize("selectors", SELECTIONS[:3], ids=" ".join)
@pytest.mark.parametrize("architecture", OTHER_NORMS)
def test_other_families_move_exactly_what_trains(
    architecture: str, selectors: tuple[str, ...]
) -> None:
    for policy in POLICIES:
        module, layers = build(architecture)
        trainable = select(selectors, layers, [name for name, _ in module.named_parameters()])
        assert trained(module, layers, trainable, policy) == trainable


def saved_bytes(architecture: str, *selectors: str) -> int:
    """Count the bytes of activations that a forward pass keeps for the backward pass."""
    module, layers = build(architecture)
    trainable = select(selectors, layers, [name for name, _ in module.named_parameters()])
    apply_freeze(module, trainable)
    set_train_mode(module, layers, trainable=trainable, batch_norm="statistics")
    own = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = module(torch.randn(8, 3, SIZE, SIZE))
    assert logits.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("architecture", [*BATCH_NORM, *OTHER_NORMS])
def test_frozen_layers_keep_nothing_for_the_backward_pass(architecture: str) -> None:
    everything = saved_bytes(architecture, "all")
    last_stage = saved_bytes(architecture, "head", "stage.-1")
    head = saved_bytes(architecture, "head")
    # A linear head keeps its input alone: 8 images, one float32 vector each. That of a ViT is the
    # first of 17 tokens, a view which holds them all.
    vectors = 17 if architecture == "test_vit" else 1
    assert head == 8 * vectors * build(architecture)[0].num_features * 4
    assert last_stage < everything / 5
    assert head < everything / 50
