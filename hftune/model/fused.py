"""A module for evaluation: batch norm becomes a part of the convolution before it.

What belongs together is seen in a forward pass on tensors without values, not guessed from names.
"""

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode  # documented, in spite of its name
from torch.utils._pytree import tree_leaves  # what torch itself looks through arguments with

from hftune.model.skeleton import skeleton

logger = logging.getLogger(__name__)

# Exact types: what derives from them may use its weights, or end its work, in another way.
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Names of a convolution and of the batch norm that alone takes what it gives."""

    convolution: str
    norm: str


class Fuser:
    """Fuses modules again and again while their weights change; what to fold is found once each."""

    def __init__(self) -> None:
        self._pairs: WeakKeyDictionary[nn.Module, tuple[Pair, ...]] = WeakKeyDictionary()

    def __call__(self, module: nn.Module, shape: Sequence[int]) -> nn.Module:
        """Give `module` fused for inputs [B, *shape], or itself where nothing can be folded.

        Side effect: puts `module` into evaluation mode.
        """
        module.eval()
        pairs = self._pairs.get(module)
        if pairs is None:
            pairs = self._pairs.setdefault(module, find_pairs(module, shape))
        return fused(module, pairs) if pairs else module


def fused(module: nn.Module, pairs: Iterable[Pair]) -> nn.Module:
    """Give a copy of `module` in evaluation mode, with the batch norm of each pair folded away.

    Its outputs differ from `module`'s by rounding. Folding is done in the weights' own precision.
    Tensors that are not folded are shared, not copied; `module` is left as it is.
    """
    own = [*module.parameters(), *module.buffers()]
    alike = copy.deepcopy(module, {id(tensor): tensor for tensor in own}).eval()
    with torch.no_grad():
        for pair in pairs:
            _fold(alike, pair)
    return alike


def find_pairs(module: nn.Module, shape: Sequence[int]) -> tuple[Pair, ...]:
    """Find what can be folded in `module` for inputs [B, *shape], which is left as it is.

    A batch norm counts that runs once, on all that one convolution gives in its one run. Nothing
    is found where the forward pass looks at values.
    """
    hollow = skeleton(module, torch.device("meta")).eval()
    record = _Record()
    for name, part in _single_parts(hollow):
        if type(part) in _CONVOLUTIONS:
            part.register_forward_hook(record.after_convolution(name))
        elif type(part) in _NORMS and part.running_var is not None:
            part.register_forward_pre_hook(record.before_norm(name))
            part.register_forward_hook(record.after_norm)
    try:
        with torch.no_grad(), record:
            output = hollow(torch.empty(1, *shape, device="meta"))
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.info("batch norm is evaluated layer by layer: %s", reason)
        return ()
    record.note_use(output)
    return record.pairs()


class _Record(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Notes which batch norm is at work, if any, when something that a convolution gave is used."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.given: dict[int, tuple[str, Tensor]] = {}  # held, so that no id is given out twice
        self.users: dict[str, set[str | None]] = {}
        self.runs: Counter[str] = Counter()
        self.norm: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note what an operation takes, and do it."""
        self.note_use((args, kwargs))
        return func(*args, **(kwargs or {}))

    def note_use(self, things: object) -> None:
        """Note the batch norm at work as a user of each convolution whose output is here."""
        for one in tree_leaves(things):
            if id(one) in self.given:
                self.users[self.given[id(one)][0]].add(self.norm)

    def after_convolution(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        """Give the hook that notes what a convolution gave."""

        def note(_: nn.Module, __: object, output: Tensor) -> None:
            self.runs[name] += 1
            self.given[id(output)] = (name, output)
            self.users.setdefault(name, set())

        return note

    def before_norm(self, name: str) -> Callable[[nn.Module, object], None]:
        """Give the hook that notes that a batch norm is at work."""

        def note(_: nn.Module, __: object) -> None:
            self.runs[name] += 1
            self.norm = name

        return note

    def after_norm(self, _: nn.Module, __: object, ___: object) -> None:
        """Note that no batch norm is at work."""
        self.norm = None

    def pairs(self) -> tuple[Pair, ...]:
        """Give what runs once, the batch norm being the only user."""
        found = []
        for convolution, users in self.users.items():
            norm = next(iter(users)) if len(users) == 1 else None
            if norm is not None and self.runs[convolution] == self.runs[norm] == 1:
                found.append(Pair(convolution=convolution, norm=norm))
        return tuple(found)


def _single_parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Give the parts that have one name and no hooks, which could use or change what they give."""
    named = list(module.named_modules(remove_duplicate=False))
    often = Counter(id(part) for _, part in named)
    return [
        (name, part)
        for name, part in named
        if often[id(part)] == 1 and not part._forward_hooks and not part._forward_pre_hooks
    ]


def _fold(module: nn.Module, pair: Pair) -> None:
    convolution = module.get_submodule(pair.convolution)
    norm = module.get_submodule(pair.norm)
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    rest = (norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else ()
    module.set_submodule(pair.norm, nn.Sequential(*rest).eval())
