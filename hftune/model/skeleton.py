"""A module without its numbers: same parts, names, shapes and flags, and no memory for values."""

import copy

import torch
from torch import Tensor, nn


def skeleton(module: nn.Module, device: torch.device) -> nn.Module:
    """Copy a module with empty tensors on `device` in place of its own; tied ones stay tied.

    On the meta device, and on any device under torch's FakeTensorMode, it takes no memory for
    values, and what is done to the copy leaves `module` as it is.
    """
    empty: dict[int, object] = {
        id(parameter): nn.Parameter(_empty(parameter, device), requires_grad=_trains(parameter))
        for parameter in module.parameters()
    }
    empty |= {id(buffer): _empty(buffer, device) for buffer in module.buffers()}
    return copy.deepcopy(module, empty)  # what `empty` holds is taken from there, not copied


def _empty(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


def _trains(parameter: Tensor) -> bool:
    return parameter.requires_grad
