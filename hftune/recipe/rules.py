"""What a recipe's settings must fulfil together, where every one of them is fine alone."""

from collections.abc import Iterator
from itertools import pairwise

from hftune.recipe.class_rules import broken_class_rules
from hftune.recipe.decay_rules import broken_decay_rules
from hftune.recipe.freeze_rules import broken_freeze_rules
from hftune.recipe.read import SettingPath
from hftune.recipe.regression_rules import broken_regression_rules
from hftune.recipe.schema import Component, ModelRecipe, Recipe, UnfreezeStep
from hftune.recipe.swa_rules import broken_swa_rules
from hftune.recipe.types import component_paths
from hftune.units import parse_span

Finding = tuple[SettingPath, str]


def broken_rules(recipe: Recipe) -> Iterator[Finding]:
    """Give each setting that does not go with the others, and the sentence about it."""
    yield from _model(recipe.model)
    yield from _unfreeze(recipe.unfreeze)
    yield from broken_class_rules(recipe)
    yield from broken_freeze_rules(recipe)
    yield from broken_decay_rules(recipe)
    yield from broken_swa_rules(recipe)
    yield from broken_regression_rules(recipe)
    yield from _mirror(recipe)


def named_code(recipe: Recipe) -> Iterator[Finding]:
    """Give each component that names code of its own, which may be refused."""
    for path, component in components_of(recipe):
        if component.is_code:
            text = f"'{component.name}' is code; a recipe from elsewhere may not run any"
            yield (*path, "name"), text


def components_of(recipe: Recipe) -> Iterator[tuple[SettingPath, Component]]:
    """Give every component of a recipe with its setting."""
    for path in component_paths():
        value: object = recipe
        for part in path:
            value = getattr(value, str(part))
        if isinstance(value, Component):
            yield path, value
        elif isinstance(value, tuple):
            for index, component in enumerate(value):
                yield (*path, index), component


def _model(model: ModelRecipe) -> Iterator[Finding]:
    if model.repo is None and model.architecture is None:
        yield (
            ("model", "repo"),
            "missing; give the repository of a backbone, or model.architecture for a timm name",
        )
    if model.revision is not None and model.repo is None:
        yield ("model", "revision"), "there is no model.repo that it could belong to"
    if model.revision is not None and model.repo is not None and "@" in model.repo:
        yield ("model", "revision"), f"model.repo names one as well: '{model.repo}'; keep one"
    if model.strip_prefix is not None and model.weights is None:
        yield ("model", "strip_prefix"), "this is for the file model.weights, which is not given"
    if model.weights is not None and not model.pretrained:
        yield ("model", "weights"), "pretrained: false starts from random weights; keep one"
    if model.base_names and model.head_rows == "new":
        yield ("model", "base_names"), "head_rows: new takes no row from the base; keep one"


def _mirror(recipe: Recipe) -> Iterator[Finding]:
    save, hub = recipe.save, recipe.hub
    if save.push_every is None:
        return
    if hub.push_to is None:
        yield ("save", "push_every"), "there is no hub.push_to that checkpoints could be sent to"
    if save.push_branch in ("main", hub.revision):
        text = f"'{save.push_branch}' is for what is published; name a branch for checkpoints alone"
        yield ("save", "push_branch"), text


def _unfreeze(steps: tuple[UnfreezeStep, ...]) -> Iterator[Finding]:
    """Check the order as far as it can be seen without the length of the data."""
    if not steps:
        yield ("unfreeze",), "this is empty; give at least {at: 0%, train: [all]}"
        return
    if parse_span(steps[0].at).value != 0:
        yield ("unfreeze", 0, "at"), f"'{steps[0].at}' is too late; the first must be at 0%"
    for index, (before, step) in enumerate(pairwise(steps), start=1):
        earlier, later = parse_span(before.at), parse_span(step.at)
        if earlier.unit == later.unit and later.value <= earlier.value:
            text = f"'{step.at}' is not after '{before.at}'; give the steps in order"
            yield ("unfreeze", index, "at"), text
