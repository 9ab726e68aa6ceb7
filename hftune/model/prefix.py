"""Where a model can be cut: a frozen prefix that gives the same for an image every time, and the
rest, which trains. Both run the model's own layers, in the model's own order.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from hftune.model.as_it_was import as_it_was
from hftune.model.packing import Packing, settle_packing
from hftune.model.trace import MayEnter, trace, without_idle

logger = logging.getLogger(__name__)

# What draws at random where a forward method calls it as a function; layers say so by their name.
_RANDOM_WORDS = ("drop", "rand", "bernoulli", "multinomial", "noise")
# How such layers name the share that they drop.
_SHARES = ("p", "drop_prob", "prob")

# What a forward method raises over values that stand for others; TraceError is a ValueError.
_NOT_FOLLOWED = (
    AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Graphs over the submodules of a model, and how what crosses from one to the other is packed.

    `trained` and `judged` are the rest in train and in evaluation mode.
    """

    prefix: fx.Graph
    trained: fx.Graph
    judged: fx.Graph
    packing: Packing

    @property
    def last_layer(self) -> str:
        """The name of the last module that the prefix runs."""
        return [str(node.target) for node in self.prefix.nodes if node.op == "call_module"][-1]


class Prefix(nn.Module):
    """The frozen layers of `module`: inputs [B, C, H, W] -> what the rest needs of them, [B, D]."""

    def __init__(self, module: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.layers = fx.GraphModule(module, cut.prefix)
        self.packing = cut.packing

    def forward(self, inputs: Tensor) -> Tensor:
        """Give one row of numbers per image."""
        return self.packing.pack(self.layers(inputs))


class Rest(nn.Module):
    """All layers of `module` after the prefix, the very same objects: [B, D] -> logits [B, K]."""

    def __init__(self, module: nn.Module, graph: fx.Graph, packing: Packing) -> None:
        super().__init__()
        self.layers = fx.GraphModule(module, graph)
        self.packing = packing

    def forward(self, features: Tensor) -> Tensor:
        """Give what the whole module gives for the images of these features."""
        logits: Tensor = self.layers(*self.packing.unpack(features))
        return logits


def find_cut(module: nn.Module, inputs: Tensor, *, head: Sequence[str] = ()) -> Cut | None:
    """Cut `module` as deep as what is frozen goes; None where nothing can be cut off.

    `head` names the classifier, as a LayerMap does: what stands before it within the same part,
    such as pooling, belongs to the prefix.

    `module` is in train mode with `set_train_mode` applied, and exactly what trains requires
    gradients; `inputs` are a few images on its device, of any content. The result is tried out on
    them: prefix and rest must give the bits of the whole in either mode, and the prefix the same
    again. Leaves modes, buffers and random state as they are. Call it under the run's autocast.
    """
    if all(parameter.requires_grad for parameter in module.parameters()):
        return None

    def enters(layer: nn.Module, name: str) -> bool:
        return _is_mixed(layer) or any(part.startswith(f"{name}.") for part in head)

    def stays_outside(layer: nn.Module, name: str) -> bool:  # noqa: ARG001  # as `enters`
        return False

    for may_enter in (enters, stays_outside):
        try:
            with as_it_was(module, inputs.device):
                cut = _cut(module, inputs, may_enter)
            if cut is not None and _is_exact(module, cut, inputs):
                return cut
        except _NOT_FOLLOWED as error:
            logger.debug("no cut that %s: %s", may_enter.__name__, error)
    return None


def prefix_state(module: nn.Module, cut: Cut) -> dict[str, Tensor]:
    """Give the parameters and buffers that the prefix reads, by their names in `module`."""
    read = [str(node.target) for node in cut.prefix.nodes if node.op in ("call_module", "get_attr")]
    tensors = itertools.chain(
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    )
    return {
        name: tensor.detach()
        for name, tensor in tensors
        if any(name == place or name.startswith(f"{place}.") for place in read)
    }


def _cut(module: nn.Module, inputs: Tensor, may_enter: MayEnter) -> Cut | None:
    """Trace both modes, divide them alike, and see on `inputs` what crosses."""
    trained = trace(module, inputs, may_enter)
    frozen = _frozen_nodes(module, trained)
    module.eval()
    judged = trace(module, inputs, may_enter)
    frozen_in_judged = _same_nodes(judged, frozen)
    crossing = _crossing(trained, frozen)
    if not crossing or crossing != _crossing(judged, frozen_in_judged):
        return None
    if any(node.op == "placeholder" and node.name in crossing for node in trained.nodes):
        return None  # the rest looks at the image itself
    prefix = _first_part(frozen_in_judged, crossing)
    with torch.no_grad():
        values = fx.GraphModule(module, prefix)(inputs)
    packing = settle_packing(values, batch=len(inputs))
    if packing is None:
        return None
    return Cut(
        prefix=prefix,
        trained=_last_part(trained, crossing),
        judged=_last_part(judged, crossing),
        packing=packing,
    )


def _is_mixed(layer: nn.Module) -> bool:
    """Say whether only some of a layer's parameters train."""
    return len({parameter.requires_grad for parameter in layer.parameters()}) > 1


def _frozen_nodes(module: nn.Module, graph: fx.Graph) -> list[fx.Node]:
    """Give the nodes whose values are a function of the image alone, in this phase."""
    frozen: list[fx.Node] = []
    known: set[fx.Node] = set()
    for node in graph.nodes:
        if set(node.all_input_nodes) <= known and _stands_still(module, node):
            frozen.append(node)
            known.add(node)
    return frozen


def _same_nodes(graph: fx.Graph, frozen: Collection[fx.Node]) -> list[fx.Node]:
    """Give the nodes of another graph with the names of these, as far as they hang together."""
    names = {node.name for node in frozen}
    same: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.name in names and same.keys() >= set(node.all_input_nodes):
            same[node] = None
    return list(same)


def _stands_still(module: nn.Module, node: fx.Node) -> bool:
    if node.op == "output":
        return False
    if node.op == "call_module":
        return _is_deterministic(module.get_submodule(str(node.target)))
    if node.op == "get_attr":
        return not _attribute(module, str(node.target)).requires_grad
    if node.op == "placeholder":
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return not any(word in name.lower() for word in _RANDOM_WORDS)


def _is_deterministic(layer: nn.Module) -> bool:
    """Say whether a layer neither trains, nor moves statistics, nor draws at random.

    In train mode that is only said of layers that hold nothing, such as pooling.
    """
    if any(parameter.requires_grad for parameter in layer.parameters()):
        return False
    return not any(part.training and (_holds(part) or _draws(part)) for part in layer.modules())


def _holds(layer: nn.Module) -> bool:
    own = itertools.chain(layer.parameters(recurse=False), layer.buffers(recurse=False))
    return next(own, None) is not None


def _draws(layer: nn.Module) -> bool:
    """Say whether a layer draws at random in train mode; dropout with a share of 0 does not."""
    shares = [getattr(layer, name) for name in _SHARES if hasattr(layer, name)]
    is_random = any(word in type(layer).__name__.lower() for word in _RANDOM_WORDS)
    return is_random and not (shares and not any(shares))


def _attribute(module: nn.Module, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    value: Tensor = getattr(module.get_submodule(owner), leaf)
    return value


def _crossing(graph: fx.Graph, frozen: Collection[fx.Node]) -> tuple[str, ...]:
    """Name the frozen nodes that others read. What no image decides is none: either side has it."""
    inside = set(frozen)
    seen: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not seen.isdisjoint(node.all_input_nodes):
            seen.add(node)
    return tuple(
        node.name
        for node in graph.nodes
        if node in inside and node in seen and any(user not in inside for user in node.users)
    )


def _first_part(frozen: Collection[fx.Node], crossing: Collection[str]) -> fx.Graph:
    """Give a graph from the image to what crosses."""
    part = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in frozen:
        copied[node] = part.node_copy(node, copied.__getitem__)
    part.output(tuple(copied[node] for node in frozen if node.name in crossing))
    return without_idle(part)


def _last_part(graph: fx.Graph, crossing: Collection[str]) -> fx.Graph:
    """Give a graph from what crosses to the logits."""
    part = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.name in crossing:
            copied[node] = part.placeholder(node.name)
    for node in graph.nodes:
        if node in copied or not _is_needed(node, copied):
            continue
        copied[node] = part.node_copy(node, copied.__getitem__)
    return without_idle(part)


def _is_needed(node: fx.Node, copied: Mapping[fx.Node, fx.Node]) -> bool:
    """Say whether a node can be computed from what crosses and from weights."""
    return node.op != "placeholder" and all(one in copied for one in node.all_input_nodes)


def _is_exact(module: nn.Module, cut: Cut, inputs: Tensor) -> bool:
    """Say whether prefix and rest give the whole module's bits in train and in evaluation mode.

    The prefix has to give the same in both, whatever random numbers there are. Tried out on one
    image more than the cut was found with: no graph may hold their number.
    """
    inputs = torch.cat([inputs, inputs[:1]])
    with as_it_was(module, inputs.device), torch.no_grad():
        trained = _features(module, cut, inputs, rest=cut.trained, seed=1)
        if trained is None:
            return False
        module.eval()
        judged = _features(module, cut, inputs, rest=cut.judged, seed=2)
        return judged is not None and torch.equal(trained, judged)


def _features(
    module: nn.Module, cut: Cut, inputs: Tensor, *, rest: fx.Graph, seed: int
) -> Tensor | None:
    """Give what the prefix gives; None where the rest does not make the whole module's bits of it.

    Side effect: draws random numbers from `seed` on.
    """
    torch.manual_seed(seed)
    features: Tensor = Prefix(module, cut)(inputs)
    torch.manual_seed(0)
    whole = module(inputs)
    torch.manual_seed(0)
    return features if torch.equal(Rest(module, rest, cut.packing)(features), whole) else None
