"""Where each parameter and buffer of a timm model lives: depth, stage and role, by dotted name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, cast

from timm.models import group_parameters
from timm.optim import auto_group_layers
from torch import nn

from hftune.core import LayerMap


class _TimmModule(Protocol):
    """The part of timm's model interface that is used here."""

    pretrained_cfg: Mapping[str, object]
    group_matcher: Callable[..., object]
    get_classifier: Callable[[], object]


def map_layers(module: nn.Module) -> LayerMap:
    """Map every parameter and buffer of a timm model, each name once.

    Depths are timm's own layer groups, so layer-wise decay agrees with timm's. What stands between
    the last group and the classifier (a final norm, in some families) shares the classifier's depth
    and belongs to the last stage. The classifier's stage is `num_stages`, one past the last, so
    that stage -1 is the end of the backbone. A buffer lives where its module's parameters live.
    """
    head = head_modules(module)
    depth = _lift_head(_groups(module, coarse=False), head)
    stage = _stages(_groups(module, coarse=True), head)
    num_stages = 1 + max((n for name, n in stage.items() if not is_under(name, head)), default=-1)
    first_below = _first_parameter_below(depth)
    for name, _ in module.named_buffers():
        neighbour = next(first_below[owner] for owner in _owners(name) if owner in first_below)
        depth[name] = depth[neighbour]
        stage[name] = stage[neighbour]
    return LayerMap(
        depth=depth,
        stage=stage,
        role=_roles(module, head),
        num_depths=max(depth.values()) + 1,
        num_stages=num_stages,
        head=head,
    )


def head_modules(module: nn.Module) -> tuple[str, ...]:
    """Name the classifier modules that hold parameters; several for distilled models.

    Starts from `get_classifier()`. Where timm declares a module inside it, only that last layer of
    a deeper head counts; a declared module elsewhere (an auxiliary head) counts too.
    """
    timm_module = cast("_TimmModule", module)
    classifier = timm_module.get_classifier()
    parts = tuple(classifier) if isinstance(classifier, tuple | list) else (classifier,)
    names = {id(child): name for name, child in module.named_modules() if name}
    found = [names[id(part)] for part in parts if id(part) in names]
    for name in _declared_heads(timm_module.pretrained_cfg):
        if name in names.values() and not any(is_under(have, (name,)) for have in found):
            found = [have for have in found if not is_under(name, (have,))] + [name]
    return tuple(name for name in found if _has_parameters(module.get_submodule(name)))


def is_under(name: str, modules: Iterable[str]) -> bool:
    """Say whether `name` is one of `modules` or lies inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def is_norm(module: nn.Module) -> bool:
    """Say whether a module is a normalisation layer, by the name of its class or a parent class."""
    return any("norm" in kind.__name__.lower() for kind in type(module).__mro__)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _declared_heads(pretrained_cfg: Mapping[str, object]) -> tuple[str, ...]:
    declared = pretrained_cfg.get("classifier")
    if isinstance(declared, str):
        return (declared,)
    return tuple(map(str, declared)) if isinstance(declared, tuple | list) else ()


def _groups(module: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Give timm's layer number of every parameter, rising from 0 at the input."""
    if not hasattr(module, "group_matcher"):
        return dict(auto_group_layers(module))
    timm_module = cast("_TimmModule", module)
    try:
        matcher = timm_module.group_matcher(coarse=coarse)
    except AssertionError:  # how a few families of timm say that they have no coarse groups
        matcher = timm_module.group_matcher(coarse=False)
    return dict(group_parameters(module, matcher, reverse=True))


def _lift_head(groups: Mapping[str, int], head: tuple[str, ...]) -> dict[str, int]:
    """Put the classifier at the last depth, where a family's pattern puts it lower."""
    body = [group for name, group in groups.items() if not is_under(name, head)]
    heads = {group for name, group in groups.items() if is_under(name, head)}
    last = max(groups.values())
    top = last if heads <= {last} else max(body, default=-1) + 1
    return {name: top if is_under(name, head) else group for name, group in groups.items()}


def _stages(groups: Mapping[str, int], head: tuple[str, ...]) -> dict[str, int]:
    """Number the coarse groups; what shares the classifier's group joins the last stage before."""
    body = {name: group for name, group in groups.items() if not is_under(name, head)}
    heads = {group for name, group in groups.items() if name not in body}
    kept = sorted(set(body.values()) - heads) or sorted(set(body.values()))
    number = {group: position for position, group in enumerate(kept)}
    last = len(kept) - 1
    return {n: number.get(body[n], last) if n in body else len(kept) for n in groups}


def _owners(name: str) -> Iterator[str]:
    """Give the modules around a parameter or buffer, innermost first; the root is ''."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _first_parameter_below(parameters: Iterable[str]) -> dict[str, str]:
    """Map each module that holds parameters, at any depth, to the first of them."""
    first: dict[str, str] = {}
    for parameter in parameters:
        for owner in _owners(parameter):
            first.setdefault(owner, parameter)
    return first


def _roles(module: nn.Module, head: tuple[str, ...]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for owner, child in module.named_modules():
        own = [*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)]
        for leaf, tensor in own:
            name = f"{owner}.{leaf}" if owner else leaf
            if is_under(name, head):
                roles[name] = "head"
            else:
                roles[name] = "norm" if is_norm(child) else _role(name, tensor.ndim)
    return roles


def _role(name: str, ndim: int) -> str:
    """Tell embeddings (patches, positions, extra tokens) and biases from the body, by name."""
    *owners, leaf = name.split(".")
    positional = leaf.endswith(("_embed", "_token", "_tokens", "relative_position_bias_table"))
    if positional or any("embed" in owner for owner in owners):
        return "embed"
    return "bias" if ndim == 1 and (leaf == "bias" or leaf.endswith("_bias")) else "body"
