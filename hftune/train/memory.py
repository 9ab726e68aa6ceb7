"""How much device memory each phase will hold, counted before anything is trained.

Weights, gradients and copies follow from names and shapes. What an optimizer keeps is asked of the
optimizer itself. Activations are counted by running the forward pass on tensors without values and
listening to what autograd saves.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # documented, in spite of its name

from hftune.core import Model, Phase, Precision, RunPlan
from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.model.skeleton import skeleton
from hftune.optim.groups import takes_decay
from hftune.optim.optimizers import make_optimizer
from hftune.recipe.schema import OptimRecipe
from hftune.train.plan import plan_groups
from hftune.train.session import memory_layout

logger = logging.getLogger(__name__)

LEFT_OUT = (
    "what the allocator keeps beyond its use, work space of cuDNN and cuBLAS, what a layer needs "
    "only while it runs, the batch that is loaded ahead, a teacher, and the device's own context"
)
_AUTOCAST: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class PhaseMemory:
    """Bytes on one device while a phase trains.

    `weights` are all parameters and buffers; `copies` the averages of the weights and the point
    that L2-SP draws to; `activations` what autograd keeps of one micro-batch, casts of the weights
    to half precision included, None where the model cannot be run without values.
    """

    label: str
    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int | None

    @property
    def total(self) -> int:
        """All that is known of."""
        known = self.weights + self.gradients + self.optimizer + self.copies
        return known + (self.activations or 0)

    def to_json(self) -> dict[str, object]:
        """Give the fields and the total as JSON values."""
        return asdict(self) | {"total": self.total}


def estimate_memory(plan: RunPlan, model: Model, device: torch.device) -> tuple[PhaseMemory, ...]:
    """Estimate each phase of `plan` on `device`, for one process; `LEFT_OUT` is not counted.

    Takes little memory and time itself, and leaves `model` as it is.
    """
    return tuple(estimate_phase(plan, model, phase, device) for phase in plan.phases)


def estimate_phase(plan: RunPlan, model: Model, phase: Phase, device: torch.device) -> PhaseMemory:
    """Estimate one phase of `plan` on `device`, for one process; `LEFT_OUT` is not counted."""
    parameters = dict(model.module.named_parameters())
    trainable = [parameters[name] for name in phase.trainable]
    return PhaseMemory(
        label=phase.label,
        weights=num_bytes(_state(model.module)),
        gradients=num_bytes(trainable),
        optimizer=optimizer_bytes(plan, model, phase),
        copies=copy_bytes(plan, model, phase),
        activations=_activations(plan, model, phase, device),
    )


def optimizer_bytes(plan: RunPlan, model: Model, phase: Phase) -> int:
    """Ask the recipe's optimizer what it keeps for the parameters of a phase, in bytes.

    It takes one real step on one parameter of each shape, by itself, so no more than the largest
    parameter is held at a time.
    """
    parameters = dict(model.module.named_parameters())
    known: dict[tuple[str, torch.Size], int] = {}
    total = 0
    for group in plan_groups(plan, model, phase):
        for name in group.names:
            key = (group.label, parameters[name].shape)
            if key not in known:
                alone = nn.Module()
                alone.register_parameter("only", nn.Parameter(torch.zeros(key[1])))
                known[key] = _state_after_step(
                    make_optimizer((replace(group, names=("only",)),), alone, plan.recipe.optim)
                )
            total += known[key]
    return total


def saved_bytes(module: nn.Module, inputs: Tensor) -> int:
    """Count the bytes that autograd keeps for the backward pass of `module(inputs)`.

    Each storage counts once and whole, whoever shares it; the module's own parameters and buffers
    do not count. The forward pass is run.
    """
    own = {id(storage): storage for storage in map(_storage, _state(module))}
    found: dict[int, torch.UntypedStorage] = {}  # held, so that no id is given out twice

    def note(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if id(storage) not in own:
            found[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(inputs)
    return sum(storage.nbytes() for storage in found.values())


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Give the context in which a model runs in `precision`."""
    return torch.autocast(device.type, dtype=_AUTOCAST[precision], enabled=precision != "fp32")


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """Count the bytes of all values."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _activations(plan: RunPlan, model: Model, phase: Phase, device: torch.device) -> int | None:
    """Count activations on fake tensors: meta tensors that say which device they stand for.

    Plain meta tensors know no autocast, and take other attention kernels than the device does.
    """
    spec = model.input_spec
    shape = (plan.micro_batch_size, spec.channels, spec.height, spec.width)
    layout = memory_layout(plan, model.module)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            copy = skeleton(model.module, device, layout=layout)
            apply_freeze(copy, phase.trainable)
            set_train_mode(
                copy,
                model.layers,
                trainable=phase.trainable,
                batch_norm=plan.recipe.freeze.batch_norm,
            )
            inputs = torch.empty(shape, device=device, memory_format=layout)
            with autocast(plan.precision, device):
                return saved_bytes(copy, inputs)
    except RuntimeError as error:  # a forward pass that looks at values
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.info("activations cannot be counted for this model: %s", reason)
        return None


def copy_bytes(plan: RunPlan, model: Model, phase: Phase) -> int:
    """Count averages of the weights, as far as this phase has them, and the point of L2-SP."""
    optim: OptimRecipe = plan.recipe.optim
    parameters = dict(model.module.named_parameters())
    total = 0
    if optim.ema is not None:
        total += num_bytes(_state(model.module))
    if plan.swa_start is not None and phase.stop >= plan.swa_start:
        total += num_bytes(parameters.values())
    if optim.l2_sp.strength > 0:
        total += num_bytes(
            parameters[name]
            for name in phase.trainable - set(model.weights.reset)
            if takes_decay(name, model.layers.role[name], num_dims=parameters[name].ndim)
        )
    return total


def _state_after_step(optimizer: torch.optim.Optimizer) -> int:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return num_bytes(
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    )


def _state(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
