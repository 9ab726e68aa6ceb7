"""A module without its numbers: same parts, names, shapes and flags, and no memory for values."""

import copy

import torch
from torch import Tensor, nn


def skeleton(
    module: nn.Module,
    device: torch.device,
    *,
    layout: torch.memory_format = torch.contiguous_format,
) -> nn.Module:
    """Copy a module with empty tensors on `device` in place of its own; tied ones stay tied.

    4-d tensors lie as `layout` says. On the meta device, and on any device under torch's
    FakeTensorMode, it takes no memory for values; what is done to the copy leaves `module` alone.
    """
    empty: dict[int, object] = {
        id(parameter): nn.Parameter(
            _empty(parameter, device, layout), requires_grad=parameter.requires_grad
        )
        for parameter in module.parameters()
    }
    empty |= {id(buffer): _empty(buffer, device, layout) for buffer in module.buffers()}
    return copy.deepcopy(module, empty)  # what `empty` holds is taken from there, not copied


def _empty(tensor: Tensor, device: torch.device, layout: torch.memory_format) -> Tensor:
    lies = layout if tensor.ndim == 4 else torch.contiguous_format
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device, memory_format=lies)
