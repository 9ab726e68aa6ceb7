"""Optimizers by name: two of torch's with their options spelled out, our own, timm's registry.

An optimizer is a function (parameter groups, *, options) -> torch optimizer. Rates and weight
decay are not options: they are in the groups. To add one, give `OPTIMIZERS` a line.

AdamW, Adam and SGD take their step in one kernel (`fused`) where they can; elsewhere torch chooses.
The formula is the same, rounded elsewhere: ten steps of 1e-2 differ by less than 1e-7.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import timm.optim
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim import Optimizer

from hftune.components import bind
from hftune.errors import ComponentError
from hftune.optim.groups import ParamGroup
from hftune.optim.layer_adaptive import LayerAdaptive
from hftune.recipe.schema import OptimRecipe

TorchGroups: TypeAlias = list[dict[str, object]]
OptimizerFunction = Callable[..., Optimizer]
Beta = Annotated[float, Ge(0), Lt(1)]

# What has a fused kernel on a CPU and on CUDA alike.
_FUSED = (torch.optim.Adam, torch.optim.SGD)  # AdamW is an Adam
_FUSED_DEVICES = ("cpu", "cuda")

# Packages that are not among our dependencies; second derivatives, which the loop does not take;
# state in lists, which a checkpoint does not hold.
_LEFT_OUT = ("bnb*", "fused*", "adahessian", "kron*")

# In the groups already, or a matter of the machine and not of the result.
_NOT_OPTIONS = frozenset(
    {
        "lr",
        "weight_decay",
        "maximize",
        "foreach",
        "fused",
        "capturable",
        "differentiable",
        "verbose",
    }
)


def make_optimizer(
    groups: Sequence[ParamGroup],
    module: nn.Module,
    optim: OptimRecipe,
    *,
    folder: Path | None = None,
) -> Optimizer:
    """Give the recipe's optimizer over `groups` of the module's parameters.

    Each torch group carries `scale`, `label` and `names`, and starts at the peak rate times its
    scale. `folder` is where relative './file.py' code lies. Raises ComponentError for an unknown
    name and for options that the optimizer does not take.
    """
    parameters = dict(module.named_parameters())
    torch_groups: TorchGroups = [
        {
            "params": [parameters[name] for name in group.names],
            "lr": optim.lr * group.scale,
            "weight_decay": group.weight_decay,
            "scale": group.scale,
            "label": group.label,
            "names": list(group.names),
        }
        for group in groups
    ]
    make = bind(optim.method, OPTIMIZERS, family="optimizer", folder=folder)
    try:
        return make(torch_groups)
    except ValueError as error:
        raise ComponentError(
            f"the optimizer '{optim.method.name}' refuses its options",
            found=str(error),
            where="optim.method",
        ) from error


def adamw(
    groups: TorchGroups,
    *,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(
        groups, betas=betas, eps=eps, amsgrad=amsgrad, fused=takes_fused_step(groups)
    )


def sgd(groups: TorchGroups, *, momentum: Beta = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent; weight decay is added to the gradient."""
    return torch.optim.SGD(
        groups, momentum=momentum, nesterov=nesterov, fused=takes_fused_step(groups)
    )


def layer_adaptive(
    groups: TorchGroups,
    *,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> Optimizer:
    """Momentum with one step size per tensor, from its moments; see `LayerAdaptive`."""
    return LayerAdaptive(groups, betas=betas, eps=eps)


def timm_optimizer(name: str) -> OptimizerFunction:
    """Give timm's optimizer of that name; its signature shows the options that it takes."""
    info = timm.optim.get_optimizer_info(name)
    kind = timm.optim.get_optimizer_class(name, bind_defaults=False)
    fixed = {"momentum": 0.9} if info.has_momentum else {}  # as timm's own factory has it
    fixed |= info.defaults or {}

    def make(groups: TorchGroups, **options: object) -> Optimizer:
        peak = max(float(str(group["lr"])) for group in groups)
        # With dampening a first step differs from the others, and the fused one takes one kind.
        has_fused = issubclass(kind, _FUSED) and not options.get("dampening")
        fused = {"fused": takes_fused_step(groups)} if has_fused else {}
        optimizer: Optimizer = kind(groups, lr=peak, **(fixed | fused | options))
        return optimizer

    make.__name__ = name
    make.__doc__ = info.description
    options = _options(kind, fixed)
    groups = inspect.Parameter("groups", inspect.Parameter.POSITIONAL_ONLY)
    make.__signature__ = inspect.Signature([groups, *options])  # type: ignore[attr-defined]
    make.__annotations__ = {option.name: option.annotation for option in options}
    return make


def takes_fused_step(groups: TorchGroups) -> bool:
    """Say whether fused kernels are right for all parameters of `groups`.

    On a CPU they walk through memory, so a parameter has to lie in it without gaps: a gradient then
    has the strides of its parameter, by the layout contract of torch's autograd.
    """
    parameters: list[Tensor] = [value for group in groups for value in group["params"]]  # type: ignore[attr-defined]  # a list of tensors
    return all(
        value.device.type in _FUSED_DEVICES
        and value.is_floating_point()
        and torch.empty_like(value, device="meta").stride() == value.stride()
        for value in parameters
    )


def _options(kind: type, fixed: Mapping[str, object]) -> list[inspect.Parameter]:
    """Give the constructor's options as keyword-only parameters with plain types."""
    options = []
    for parameter in list(inspect.signature(kind).parameters.values())[1:]:
        default = fixed.get(parameter.name, parameter.default)
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty or "torch." in str(annotation):
            annotation = _type_of(default)
        if parameter.name not in _NOT_OPTIONS and annotation is not None:
            options.append(
                inspect.Parameter(
                    parameter.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=annotation,
                )
            )
    return options


def _type_of(default: object) -> object | None:
    """Give the type of an option by its default, or None for one that a recipe cannot state."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float):
        return float
    if isinstance(default, tuple):
        return tuple[(float,) * len(default)]  # type: ignore[misc]  # a length known at run time
    return None


OPTIMIZERS: dict[str, OptimizerFunction] = {
    name: timm_optimizer(name)
    for name in timm.optim.list_optimizers(exclude_filters=list(_LEFT_OUT))
} | {
    "adamw": adamw,
    "sgd": sgd,
    "layer_adaptive": layer_adaptive,
}
