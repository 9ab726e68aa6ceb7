"""A recipe's selectors against the layers of its backbone, where timm knows them by name.

So most of what only the model can tell is found before anything is downloaded, with all other
problems of the recipe. The rest is found when the plan is made, by the same functions.
"""

from collections.abc import Iterator

from hftune.errors import HftuneError, ModelError, PlanError
from hftune.model.known import known_structure
from hftune.model.select import select
from hftune.optim.groups import make_groups
from hftune.optim.phases import trainable_sets
from hftune.recipe.freeze_rules import selectors_of
from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.rules import Finding
from hftune.recipe.schema import Recipe
from hftune.recipe.selectors import parse_selector


def unfit_layers(recipe: Recipe) -> Iterator[Finding]:
    """Give each setting that does not go with the layers of the backbone, and why.

    Nothing for a backbone whose structure is not known yet.
    """
    structure = known_structure(recipe.model)
    if structure is None:
        return
    names = [name for name, _ in structure.module.named_parameters()]
    wrong = False
    for path, selector in selectors_of(recipe):
        try:
            select((parse_selector(selector).text,), structure.layers, names)
        except ModelError as error:
            wrong = True
            yield path, _sentence(error)
    if wrong:
        return
    try:
        trainable_sets(recipe, structure.layers, names)
        make_groups(recipe.optim, structure.layers, structure.module, trainable=frozenset(names))
    except (ModelError, PlanError) as error:
        yield _setting(error.where, recipe), _sentence(error)


def _setting(where: str | None, recipe: Recipe) -> SettingPath:
    """Give the setting that an error names by its dotted place."""
    settings: list[SettingPath] = [
        *(("optim", "rates", name) for name in recipe.optim.rates),
        *(("unfreeze", number, "train") for number in range(len(recipe.unfreeze))),
        ("optim", "layer_decay"),
        ("freeze", "layers"),
        ("freeze", "stages"),
        ("freeze",),
    ]
    return {dotted(setting): setting for setting in settings}[str(where)]


def _sentence(error: HftuneError) -> str:
    facts = [error.found, f"possible: {error.allowed}" if error.allowed else None]
    return "; ".join([error.problem, *(fact for fact in facts if fact)])
