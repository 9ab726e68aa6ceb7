"""A recipe: what is trained, on what, how long, and what each phase does to each layer."""

from collections.abc import Sequence
from dataclasses import replace

from hftune.describe.description import Cell, Description, Table, listed
from hftune.errors import HubError
from hftune.hub.failure import unable
from hftune.recipe import Resolved, resolve_recipe
from hftune.recipe.schema import ModelRecipe, Recipe
from hftune.recipe.words import component_text, rates_text


def describe_recipe(source: str, overrides: Sequence[str] = ()) -> Description:
    """Describe a recipe file or a shipped recipe, down to its layers.

    Where the Hub cannot be reached and its cache has no config of the backbone, what the recipe
    says by itself remains, with the reason. Raises RecipeError, HubError, ModelError and PlanError.
    """
    resolved = resolve_recipe(source, overrides)
    plain = _describe_alone(resolved)
    from hftune.describe.phases import with_layers  # loads torch, which takes seconds

    try:
        return with_layers(plain, resolved.recipe)
    except HubError as error:
        if not unable(error):
            raise
        missing = f"not shown, for the config of the backbone is not here: {error.problem}"
        return replace(plain, facts={**plain.facts, "layers": missing})


def _describe_alone(resolved: Resolved) -> Description:
    """Give what a recipe says by itself."""
    recipe = resolved.recipe
    optim = recipe.optim
    facts: dict[str, Cell] = {
        "run": recipe.run,
        "files": ", ".join(path.name for path in resolved.merged.files),
        "backbone": _backbone(recipe.model),
        "data": component_text(recipe.data.source),
        "augmentation": listed([part.name for part in recipe.data.augment]) or "none",
        "problem": recipe.problem,
        "loss": component_text(recipe.loss) if recipe.loss else "the problem's own",
        "length": recipe.train.length,
        "batch size": recipe.train.batch_size,
        "optimizer": f"{component_text(optim.method)}, rate {optim.lr:g}, "
        f"weight decay {optim.weight_decay:g}",
        "schedule": component_text(optim.schedule),
        "rates by part": rates_text(optim) or "none",
        "frozen for good": _frozen(recipe),
        "precision": recipe.train.precision,
        "pushed to": recipe.hub.push_to or "nowhere",
    }
    return Description(kind="recipe", name=resolved.source, facts=facts, tables=(_phases(recipe),))


def _backbone(model: ModelRecipe) -> str:
    name = model.repo or model.architecture or ""
    start = "pretrained" if model.pretrained else "from random weights"
    file = f", weights of {model.weights}" if model.weights is not None else ""
    return f"{name}, {start}{file}"


def _frozen(recipe: Recipe) -> str:
    """Say what the freeze block holds back, and what frozen batch norm does."""
    freeze = recipe.freeze
    parts = [f"the first {freeze.stages} stages"] if freeze.stages else []
    parts += freeze.layers
    return f"{', '.join(parts) or 'nothing'}; batch norm of frozen layers: {freeze.batch_norm}"


def _phases(recipe: Recipe) -> Table:
    rows = tuple((step.at, ", ".join(step.train)) for step in recipe.unfreeze)
    return Table(title="phases", columns=("from", "trains"), rows=rows)
