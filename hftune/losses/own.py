"""A loss of the user's own: a function, or a module class whose `__init__` takes the options."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hftune.errors import PlanError


class OwnLoss:
    """A loss from outside hftune: it gets logits in fp32, and is kept on their device."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loss = loss

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Give what the loss gives for `logits` [B, K] and `targets`."""
        if isinstance(self.loss, nn.Module):
            # Its buffers travel once; moved in an evaluation, they must still serve in training.
            with torch.inference_mode(mode=False):
                self.loss.to(logits.device)
        return self.loss(logits.float(), targets)


def is_module_class(found: object) -> bool:
    """Say whether a loss is a class that is built once, with the options."""
    return isinstance(found, type) and issubclass(found, nn.Module)


def with_named_options(found: Callable[..., Any]) -> Callable[..., Any]:
    """Give a module class as a function of which every parameter of `__init__` is an option.

    Modules seldom mark their parameters as keyword-only, by which the options of a function are
    told. Anything else is given back as it is.
    """
    if not is_module_class(found):
        return found

    def build(**options: Any) -> Any:
        return found(**options)

    build.__signature__ = inspect.Signature(_options(found))  # type: ignore[attr-defined]
    build.__wrapped__ = found.__init__  # type: ignore[attr-defined]  # in whose module names are
    return build


def build_module(build: Callable[..., Any], *, name: str) -> nn.Module:
    """Build the module of a loss. Raises PlanError where it fails, or has weights to train."""
    try:
        module: nn.Module = build()
    except Exception as error:
        raise PlanError(
            f"the loss '{name}' cannot be built from its options",
            found=f"{type(error).__name__}: {error}",
            where="loss",
            remedy="correct the options, or the class",
        ) from error
    own = [key for key, value in module.named_parameters() if value.requires_grad]
    if own:
        raise PlanError(
            f"the loss '{name}' has weights of its own, which no optimizer trains",
            found=", ".join(own),
            where="loss.name",
            remedy="keep constants with register_buffer, or as plain numbers",
        )
    return module


def _options(module: Any) -> list[inspect.Parameter]:
    """Give what a module class takes, as keyword-only parameters."""
    if module.__init__ is nn.Module.__init__:  # which would take anything, and then refuse it
        return []
    return [
        parameter
        if parameter.kind is parameter.VAR_KEYWORD
        else parameter.replace(kind=parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(module).parameters.values()
        if parameter.kind is not parameter.VAR_POSITIONAL
    ]
