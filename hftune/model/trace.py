"""Follow a model's forward method into a graph of its own layers.

Where it asks for a shape, the shape is looked up: the layers so far are run on two batches. What is
the same for both is a number from then on, also where the method decides by it; what differs,
such as the number of images, stays open.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any  # what a traced method handles is of any type

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

MayEnter = Callable[[nn.Module, str], bool]

# What makes a tensor of numbers alone, the same every time.
_MAKERS = frozenset(
    {torch.arange, torch.eye, torch.full, torch.linspace, torch.ones, torch.tensor, torch.zeros}
)


def trace(module: nn.Module, inputs: Tensor, may_enter: MayEnter) -> fx.Graph:
    """Give what `module` does with images in its present modes.

    It is followed into the layers that `may_enter` names; all others stay whole. `inputs` are two
    images or more. Side effect: may move statistics and draw random numbers, as a forward pass
    does. Raises TraceError, and whatever a method raises that cannot be followed.
    """
    _, *others = inspect.signature(module.forward).parameters.values()
    defaults = {one.name: one.default for one in others if one.default is not one.empty}
    tracer = _Tracer(may_enter, batches=(inputs, torch.cat([inputs, inputs[:1]])))
    with torch.no_grad(), _Making(tracer):
        return without_idle(tracer.trace(module, concrete_args=defaults))


def without_idle(graph: fx.Graph) -> fx.Graph:
    """Drop what nobody reads. Side effect: changes `graph`."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    graph.lint()
    return graph


class _Shaped(fx.Proxy):
    """Stands for a value while a method is followed, and knows its shape."""

    tracer: _Tracer

    @property
    def shape(self) -> tuple[Any, ...]:
        """Give a number for each dimension that is the same for any batch."""
        return self.tracer.shape(self)

    def size(self, dim: int | None = None) -> Any:
        """Give `shape`, or one dimension of it."""
        return self.shape if dim is None else self.shape[dim]

    @property
    def ndim(self) -> int:
        """Give the number of dimensions."""
        return len(self.shape)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __len__(self) -> int:
        return len(list(self))

    def dim(self) -> int:
        """Give the number of dimensions."""
        return self.ndim

    def numel(self) -> Any:
        """Give the number of values."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Give the type of the values."""
        return self.tracer.dtype(self)


class _Tracer(fx.Tracer):
    """Follows a method for two batches at once, as far as it asks for shapes."""

    proxy_buffer_attributes = True

    def __init__(self, may_enter: MayEnter, *, batches: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.may_enter = may_enter
        self.batches = batches
        self.runs: list[fx.Interpreter] = []
        self.is_running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self.may_enter(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Shaped(node, self)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:  # what runs to be looked at is not followed
        if self.is_running:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self.is_running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_arg(self, a: Any) -> Any:
        """Refuse tensors that the method made of nothing: fx would leave them in the module."""
        if isinstance(a, Tensor) and a not in self.tensor_attrs:
            raise fx.proxy.TraceError("a tensor is made while the method is followed")
        return super().create_arg(a)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Give the parts of a value, if they are as many for both batches."""
        one, other = self.values(obj.node)
        if len(one) != len(other):
            return super().iter(obj)
        return iter(
            [
                a if _is_settled(a, b) else self._made(operator.getitem, obj, place)
                for place, (a, b) in enumerate(zip(one, other, strict=True))
            ]
        )

    def shape(self, obj: fx.Proxy) -> tuple[Any, ...]:
        """Give the shape of a tensor."""
        one, other = (value.shape for value in self.values(obj.node))
        return tuple(
            a if _is_settled(a, b) else self._made(torch.Tensor.size, obj, place)
            for place, (a, b) in enumerate(zip(one, other, strict=True))
        )

    def dtype(self, obj: fx.Proxy) -> torch.dtype:
        """Give the type of a tensor's values."""
        one, _ = self.values(obj.node)
        dtype: torch.dtype = one.dtype
        return dtype

    def values(self, node: fx.Node) -> list[Any]:
        """Give what a node stands for, for each batch. Side effect: runs what leads to it."""
        if not self.runs:
            self.runs = [
                fx.Interpreter(self.root, garbage_collect_values=False, graph=self.graph)
                for _ in self.batches
            ]
        ahead = self._not_run(node)
        self.is_running = True
        try:
            for run, batch in zip(self.runs, self.batches, strict=True):
                for one in ahead:
                    run.env[one] = batch if one.op == "placeholder" else run.run_node(one)
        finally:
            self.is_running = False
        return [run.env[node] for run in self.runs]

    def _not_run(self, node: fx.Node) -> list[fx.Node]:
        """Give what leads to a node, itself included, as far as it was not run yet, in order."""
        known, found, waiting = self.runs[0].env, set[fx.Node](), [node]
        while waiting:
            one = waiting.pop()
            if one not in known and one not in found:
                found.add(one)
                waiting += one.all_input_nodes
        return [one for one in self.graph.nodes if one in found]

    def _made(self, function: Callable[..., Any], obj: fx.Proxy, place: int) -> fx.Proxy:
        return self.create_proxy("call_function", function, (obj, place), {})


def _is_settled(one: object, other: object) -> bool:
    """Say whether two values are the same number, or the same numbers."""
    numbers = one if isinstance(one, tuple | list) else (one,)
    return all(isinstance(number, int) for number in numbers) and one == other


class _Making(TorchFunctionMode):
    """Has tensors that a method makes of numbers made by the graph.

    By itself fx would leave them in the module, where no digest of its weights sees them.
    """

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _MAKERS and not self.tracer.is_running:
            return self.tracer.create_proxy("call_function", func, args, kwargs or {})
        return func(*args, **(kwargs or {}))
