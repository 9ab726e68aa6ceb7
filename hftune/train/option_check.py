"""A recipe's components against their functions: every wrong name and option with its place.

Needs no data, no model and no GPU. What needs them is checked when the plan is made.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hftune.components import find, judge_options
from hftune.data.augment import AUGMENTATIONS, Given
from hftune.data.class_weights import CLASS_WEIGHTS
from hftune.data.sources import SOURCES
from hftune.errors import ComponentError
from hftune.losses import GIVEN, LOSSES, UNMIXED, find_loss, losses_for
from hftune.metrics import LOSS, METRICS
from hftune.optim.optimizers import OPTIMIZERS
from hftune.optim.schedules import PLATEAU, SCHEDULES
from hftune.recipe import Resolved
from hftune.recipe.check import recipe_error
from hftune.recipe.forms import SpanText
from hftune.recipe.read import SettingPath
from hftune.recipe.rules import Finding, components_of
from hftune.recipe.schema import Component, Recipe
from hftune.recipe.wording import did_you_mean, listed
from hftune.train.layer_check import unfit_layers
from hftune.train.plan import metrics_of

_MOST_NAMES = 16


@dataclass(frozen=True, kw_only=True)
class Family:
    """Functions of one kind: their table, what the caller fills in, what a wrapper understands.

    `finder` gives the function for a name, where a look into the table is not enough.
    """

    name: str
    table: Mapping[str, Callable[..., Any]]
    filled: frozenset[str] = frozenset()
    wrapper: Callable[..., Any] | None = None
    finder: Callable[[str], Callable[..., Any]] | None = None

    def find(self, name: str) -> Callable[..., Any]:
        """Give the function called `name`. Raises ComponentError."""
        return self.finder(name) if self.finder else find(name, self.table, family=self.name)


def with_warmup(*, warmup: SpanText = "0%") -> None:
    """Stand for what every schedule takes besides its own options."""


FAMILIES: Mapping[SettingPath, Family] = {
    ("data", "source"): Family(name="data source", table=SOURCES),
    ("data", "augment"): Family(
        name="augmentation",
        table=AUGMENTATIONS,
        filled=frozenset(field.name for field in fields(Given)),
    ),
    ("data", "class_weights"): Family(name="class weights", table=CLASS_WEIGHTS),
    ("loss",): Family(name="loss", table=LOSSES, filled=GIVEN, finder=find_loss),
    ("optim", "method"): Family(name="optimizer", table=OPTIMIZERS),
    ("optim", "schedule"): Family(name="schedule", table=SCHEDULES, wrapper=with_warmup),
}


def check_options_of(resolved: Resolved) -> None:
    """Raise RecipeError with every component that is unknown or wrongly set, or fits no layer.

    Side effect: a recipe's own code is imported.
    """
    recipe = resolved.recipe
    found = [*wrong_components(recipe), *unfit_layers(recipe)]
    if found:
        raise recipe_error(resolved.merged, found)


def wrong_components(recipe: Recipe) -> Iterator[Finding]:
    """Give each setting of a component that cannot be used, and the sentence about it."""
    for path, component in components_of(recipe):
        setting = path[:-1] if isinstance(path[-1], int) else path
        for option, text in _wrong(component, FAMILIES[setting]):
            yield (*path, *option), text
    if recipe.loss is not None and recipe.loss.name in LOSSES:
        yield from _unfit_loss(recipe, recipe.loss.name)
    yield from _unfit_metrics(recipe)
    yield from _unfit_schedule(recipe)


def _wrong(component: Component, family: Family) -> Iterator[Finding]:
    """Give the wrong options of one component, or its name when that is unknown."""
    try:
        function = family.find(component.name)
    except ComponentError as error:
        yield ("name",), _in_one(error)
        return
    subject = f"'{component.name}'"
    options = dict(component.options)
    if family.wrapper is not None:
        outer = judge_options(family.wrapper, _taken(options, "warmup"), subject=subject)
        yield from outer.problems.items()
    checked = judge_options(function, options, subject=subject, filled=family.filled)
    yield from checked.problems.items()


def _taken(options: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: options.pop(name)} if name in options else {}


def _in_one(error: ComponentError) -> str:
    """Give an error's facts as one sentence; names are listed when few and none is close."""
    details = [part for part in (error.found, error.where) if part]
    text = ": ".join([error.problem, *details])
    names = (error.allowed or "").split(", ")
    if not error.allowed or "did you mean" in text or len(names) > _MOST_NAMES:
        return text
    return f"{text}; possible: {listed(names)}"


def _unfit_loss(recipe: Recipe, name: str) -> Iterator[Finding]:
    fitting = losses_for(recipe.problem)
    if name not in fitting:
        text = f"'{name}' does not fit the problem '{recipe.problem}'; give {listed(fitting)}"
        yield ("loss", "name"), text
    elif recipe.data.mix.is_on and name in UNMIXED:
        mixable = [other for other in fitting if other not in UNMIXED]
        text = f"'{name}' cannot learn from the shares that data.mix gives; give {listed(mixable)}"
        yield ("loss", "name"), f"{text}, or set data.mix.mixup and data.mix.cutmix to 0"


def _unfit_metrics(recipe: Recipe) -> Iterator[Finding]:
    fitting = [name for name, makers in METRICS.items() if recipe.problem in makers]
    asked: list[tuple[SettingPath, str, list[str]]] = [
        (("eval", "metrics", index), name, fitting)
        for index, name in enumerate(recipe.eval.metrics)
    ]
    if recipe.eval.best is not None:
        asked.append((("eval", "best"), recipe.eval.best, [*fitting, LOSS]))
    for path, name, possible in asked:
        if name in METRICS and name not in possible:
            yield path, f"'{name}' is not for '{recipe.problem}'; give {listed(possible)}"
        elif name not in possible:
            close = did_you_mean(name, possible) or f"; give {listed(possible)}"
            yield path, f"no metric for '{recipe.problem}' is called '{name}'{close}"


def _unfit_schedule(recipe: Recipe) -> Iterator[Finding]:
    """Check what a schedule needs from the rest of the recipe, or from its options together."""
    path, options = ("optim", "schedule"), recipe.optim.schedule.options
    if recipe.optim.schedule.name == "step":
        given = [name for name in ("every", "milestones") if options.get(name)]
        if len(given) != 1:
            found = "both are given" if given else "neither is given"
            yield path, f"'step' needs either 'every' or 'milestones'; {found}"
    metric = options.get("metric")
    if recipe.optim.schedule.name == PLATEAU and isinstance(metric, str):
        computed = dict.fromkeys((*metrics_of(recipe), LOSS))
        if metric not in computed:
            text = f"this run does not compute '{metric}'; give {listed(computed)}"
            yield (*path, "metric"), f"{text}, or add it to eval.metrics"
