"""The memory estimate against real forward passes, real optimizers and sums by hand."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hftune.core import Model, Phase, RunPlan, WeightsReport
from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.optim.optimizers import make_optimizer
from hftune.recipe.schema import Component, FreezeRecipe, L2SPRecipe, OptimRecipe
from hftune.train.memory import estimate_memory, num_bytes, optimizer_bytes, saved_bytes
from hftune.train.plan import plan_groups
from hftune.train.session import memory_layout
from tests.drawn import SIZE, tiny_model, tiny_recipe
from tests.train.test_receipt import names_at, plan_of

CPU = torch.device("cpu")


def head_then_all(model: Model, **recipe: object) -> RunPlan:
    """Ten steps of the head, ten of everything, four images at a time."""
    head = names_at(model, {model.layers.num_stages})
    everything = frozenset(name for name, _ in model.module.named_parameters())
    plan = plan_of(model, head, everything)
    return replace(plan, recipe=tiny_recipe(**recipe))


def really_saved(plan: RunPlan, model: Model, phase: Phase) -> int:
    """Run the phase's forward pass with real values and count."""
    module = copy.deepcopy(model.module).to(memory_format=memory_layout(plan, model.module))
    apply_freeze(module, phase.trainable)
    set_train_mode(
        module,
        model.layers,
        trainable=phase.trainable,
        batch_norm=plan.recipe.freeze.batch_norm,
    )
    inputs = torch.randn(plan.micro_batch_size, 3, SIZE, SIZE)
    half = plan.precision == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        return saved_bytes(module, inputs.to(memory_format=memory_layout(plan, model.module)))


def test_saved_bytes_of_two_layers_by_hand():
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    inputs = torch.randn(3, 4)
    # Linear keeps its input [3, 4]; ReLU its output [3, 5], which is the other Linear's input.
    assert saved_bytes(module, inputs) == 4 * (3 * 4 + 3 * 5)
    module[0].requires_grad_(False)
    assert saved_bytes(module, inputs) == 4 * (3 * 5)
    module.requires_grad_(False)
    assert saved_bytes(module, inputs) == 0


@pytest.mark.parametrize(
    "architecture", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet"]
)
def test_activations_are_those_of_a_real_forward_pass(architecture):
    model = tiny_model(architecture)
    plan = head_then_all(model)
    estimates = estimate_memory(plan, model, CPU)
    real = [really_saved(plan, model, phase) for phase in plan.phases]
    assert [estimate.activations for estimate in estimates] == real
    assert real[0] < real[1] / 50


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_half_precision_is_counted_as_autocast_casts(architecture):
    model = tiny_model(architecture)
    # Enough images to outweigh the half-precision copies of the weights.
    full = replace(head_then_all(model), micro_batch_size=64)
    half = replace(full, precision="bf16")
    counted = estimate_memory(half, model, CPU)[1].activations
    real = really_saved(half, model, half.phases[1])
    # A norm's few statistics are kept in another type on the CPU than the kernel for shapes says.
    assert counted == pytest.approx(real, rel=0.01)
    assert counted < 0.8 * estimate_memory(full, model, CPU)[1].activations


def test_memory_falls_where_little_trains_and_grows_with_the_micro_batch():
    model = tiny_model("test_resnet")
    plan = head_then_all(model)
    head, everything = estimate_memory(plan, model, CPU)
    sizes = {name: value.numel() for name, value in model.module.named_parameters()}
    head_size = sum(sizes[name] for name in plan.phases[0].trainable)
    total = sum(sizes.values())
    assert head.weights == everything.weights == num_bytes(model.module.state_dict().values())
    assert (head.gradients, everything.gradients) == (4 * head_size, 4 * total)
    assert head.total < everything.total
    assert head.optimizer < everything.optimizer
    twice = estimate_memory(replace(plan, micro_batch_size=8), model, CPU)[1]
    # All but the statistics of batch norm, 8 bytes per channel, counts per image.
    channels = sum(m.num_features for m in model.module.modules() if hasattr(m, "num_features"))
    assert twice.activations is not None
    assert everything.activations is not None
    fixed = 2 * everything.activations - twice.activations
    assert 0 < fixed <= 8 * channels


def test_frozen_statistics_save_memory_too():
    model = tiny_model("test_resnet")
    names = frozenset(name for name, _ in model.module.named_parameters())
    norms = frozenset(name for name in names if model.layers.role[name] == "norm")
    plan = plan_of(model, norms)
    moving = estimate_memory(plan, model, CPU)[0].activations
    fixed = replace(plan, recipe=tiny_recipe(freeze=FreezeRecipe(batch_norm="all")))
    assert estimate_memory(fixed, model, CPU)[0].activations < moving


@pytest.mark.parametrize(
    "method", ["adamw", "sgd", "adafactor", "lamb", "lars", "novograd", "muon", "lion", "rmsprop"]
)
def test_an_optimizer_is_taken_at_its_word(method):
    model = tiny_model("test_resnet")
    plan = head_then_all(model, optim=OptimRecipe(method=Component(name=method)))
    phase = plan.phases[1]
    module = copy.deepcopy(model.module)
    groups = plan_groups(plan, replace(model, module=module), phase)
    optimizer = make_optimizer(groups, module, plan.recipe.optim)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    values = [value for state in optimizer.state.values() for value in state.values()]
    real = num_bytes(value for value in values if isinstance(value, Tensor))
    assert optimizer_bytes(plan, model, phase) == real


def test_adamw_keeps_two_moments_and_a_counter_by_hand():
    model = tiny_model("test_resnet")
    plan = head_then_all(model)
    head = [p for n, p in model.module.named_parameters() if n in plan.phases[0].trainable]
    # exp_avg and exp_avg_sq in float32, and a float32 step counter per tensor
    assert optimizer_bytes(plan, model, plan.phases[0]) == sum(8 * p.numel() + 4 for p in head)


def test_copies_are_counted_where_they_are_held():
    model = tiny_model("test_resnet")
    head = names_at(model, {model.layers.num_stages})
    model = replace(model, weights=WeightsReport(reset=tuple(head)))
    parameters = dict(model.module.named_parameters())
    plan = head_then_all(model, optim=OptimRecipe(ema=0.9))
    state = num_bytes(model.module.state_dict().values())
    assert [e.copies for e in estimate_memory(plan, model, CPU)] == [state, state]
    late = replace(head_then_all(model), swa_start=15, swa_every=1)
    assert [e.copies for e in estimate_memory(late, model, CPU)] == [
        0,
        num_bytes(parameters.values()),
    ]
    drawn = head_then_all(model, optim=OptimRecipe(l2_sp=L2SPRecipe(strength=0.1)))
    matrices = [p for n, p in parameters.items() if p.ndim > 1 and n not in head]
    assert [e.copies for e in estimate_memory(drawn, model, CPU)] == [0, num_bytes(matrices)]


class LooksAtValues(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) if inputs.sum().item() > 0 else inputs


def test_a_model_that_looks_at_values_is_not_guessed():
    model = tiny_model("test_resnet")
    plan = head_then_all(model)
    model.module.forward = LooksAtValues(nn.Flatten()).forward  # type: ignore[method-assign]
    estimate = estimate_memory(plan, model, CPU)[1]
    assert estimate.activations is None
    assert estimate.total == estimate.weights + estimate.gradients + estimate.optimizer


def test_estimating_leaves_the_model_as_it_was():
    model = tiny_model("test_resnet")
    model.module.eval()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    estimate_memory(head_then_all(model), model, CPU)
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())
    assert not any(child.training for child in model.module.modules())
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert type(after["conv1.0.weight"]) is Tensor
