"""Listens to every module of a model for the first value that is not finite."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What some tensors hold: `largest` is the largest finite absolute value, 0 where none is.

    `rows` are the positions along the first dimension where something is not finite.
    """

    is_finite: bool
    largest: float
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest finite absolute value so far, and the module that gave it."""

    value: float = 0.0
    place: str = ""

    def with_value(self, value: float, place: str) -> "Peak":
        """Give the larger of the two."""
        return Peak(value=value, place=place) if value > self.value else self


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A module that was given finite values, up to `inputs`, and gave others.

    `before` is the peak of all modules until then. `is_first` where nothing came before it.
    """

    place: str
    inputs: float
    before: Peak
    is_first: bool = False


class Watch:
    """Hooks on all modules below `root`; use as a context manager around one forward pass.

    `fault` is the first module whose output is not finite although its inputs are. After a backward
    pass of the same graph, `backward_fault` tells of that one. Values stay as they are, and every
    one of them is looked at (host-device sync).
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.fault: Fault | None = None
        self.peak = Peak()
        self._inputs: list[Extent] = []  # of the modules that are running, the innermost last
        self._handles: list[RemovableHandle] = []
        # Of the backward pass, in its order: gradients that came to a module's outputs, and
        # those that went on to its inputs. A module may be called more than once.
        self._arrived: list[tuple[str, Extent]] = []
        self._faults: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        """Place the hooks."""
        for name, module in self.root.named_modules():
            place = place_of(name, module)
            before, after = partial(self._before, place), partial(self._after, place)
            self._handles.append(module.register_forward_pre_hook(before))
            self._handles.append(module.register_forward_hook(after))
        return self

    def __exit__(self, *_: object) -> None:
        """Take the hooks away; those on gradients go with the graph."""
        for handle in self._handles:
            handle.remove()

    def backward_fault(self, bad_weights: Sequence[str]) -> Fault | None:
        """Give the first module that got a finite gradient and passed on another.

        To its inputs, or to its own weights: `bad_weights` names all those whose gradient is not
        finite. None where no module did, as with a function between two of them.
        """
        faults = list(self._faults)
        owners = {name.rpartition(".")[0] for name in bad_weights}
        leaves = {
            place_of(name, module)
            for name, module in self.root.named_modules()
            if name in owners and not any(module.children())
        }
        for time, (place, gradient) in enumerate(self._arrived):
            if place in leaves and gradient.is_finite:
                faults.append((time, place))
        if not faults:
            return None
        time, place = min(faults)
        return Fault(
            place=place,
            inputs=max(found.largest for name, found in self._arrived[: time + 1] if name == place),
            before=self._gradient_peak(time),
        )

    def first_bad_gradient(self) -> Fault | None:
        """Give the module whose output is the first to get a gradient that is not finite."""
        for time, (place, gradient) in enumerate(self._arrived):
            if not gradient.is_finite:
                return Fault(
                    place=place,
                    inputs=gradient.largest,
                    before=self._gradient_peak(time - 1),
                    is_first=time == 0,
                )
        return None

    def _gradient_peak(self, time: int) -> Peak:
        peak = Peak()
        for place, gradient in self._arrived[: time + 1]:
            peak = peak.with_value(gradient.largest, place)
        return peak

    def _before(self, place: str, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Note what goes in, and give the module aliases, whose gradients are its alone."""
        self._inputs.append(extent(inputs))
        return tuple(self._alias(place, value) for value in inputs)

    def _alias(self, place: str, value: Any) -> Any:
        if not (isinstance(value, Tensor) and value.requires_grad):
            return value
        alias = value.view_as(value)
        _listen(alias, partial(self._gradient_left, place))
        return alias

    def _after(self, place: str, _: nn.Module, __: tuple[Any, ...], outputs: Any) -> None:
        given, made = self._inputs.pop(), extent(outputs)
        for tensor in _tensors(outputs):
            if tensor.requires_grad:
                _listen(tensor, partial(self._gradient_arrived, place))
        if self.fault is None and given.is_finite and not made.is_finite:
            self.fault = Fault(place=place, inputs=given.largest, before=self.peak)
        self.peak = self.peak.with_value(made.largest, place)

    def _gradient_arrived(self, place: str, gradient: Tensor) -> None:
        self._arrived.append((place, extent(gradient)))

    def _gradient_left(self, place: str, gradient: Tensor) -> None:
        came = [found.is_finite for name, found in self._arrived if name == place]
        if came and came[-1] and not extent(gradient).is_finite:
            self._faults.append((len(self._arrived) - 1, place))


def place_of(name: str, module: nn.Module) -> str:
    """Name a module in a message: its dotted name and its class."""
    return f"{name or 'the model'} ({type(module).__name__})"


def extent(value: Any) -> Extent:
    """Measure all floating-point tensors in `value`: a tensor, or nested tuples and lists of them.

    Host-device sync.
    """
    is_finite, largest = True, 0.0
    rows: tuple[int, ...] = ()
    for tensor in _tensors(value):
        values = tensor.detach()
        good = values.isfinite()
        if values.numel():
            largest = max(largest, float(torch.where(good, values.abs(), 0).amax()))
        if not bool(good.all()):
            is_finite = False
            rows = rows or _bad_rows(good)
    return Extent(is_finite=is_finite, largest=largest, rows=rows)


def _listen(tensor: Tensor, hear: Callable[[Tensor], None]) -> None:
    tensor.register_hook(hear)  # type: ignore[no-untyped-call]  # torch leaves it without types


def _bad_rows(good: Tensor) -> tuple[int, ...]:
    if good.ndim == 0:
        return ()
    bad = (~good).reshape(len(good), -1).any(dim=1)
    return tuple(bad.nonzero().flatten().tolist())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
