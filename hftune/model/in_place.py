"""Activations that work in place although they copy their input first."""

from torch import nn

# Their derivative needs the input, which autograd has to copy before it is overwritten.
_COPIED_FIRST = (nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.SiLU)


def avoid_copies(module: nn.Module) -> None:
    """Let activations that would be copied first write elsewhere instead: same values, same memory.

    Of those that need only their output for the derivative, such as ReLU, none is changed. Side
    effect: changes the `inplace` of activations in `module`, which is no part of its state.
    """
    for part in module.modules():
        if isinstance(part, _COPIED_FIRST) and part.inplace:
            part.inplace = False
