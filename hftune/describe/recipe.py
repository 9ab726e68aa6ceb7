"""A recipe in a dozen lines: what is trained, on what, how long and where it goes."""

from hftune.describe.description import Cell, Description, Table, listed
from hftune.recipe import resolve_recipe
from hftune.recipe.schema import Component, ModelRecipe, Recipe


def describe_recipe(source: str) -> Description:
    """Describe a recipe file or a shipped recipe. Raises RecipeError."""
    resolved = resolve_recipe(source)
    recipe = resolved.recipe
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
        "optimizer": f"{component_text(recipe.optim.method)}, rate {recipe.optim.lr:g}",
        "schedule": component_text(recipe.optim.schedule),
        "precision": recipe.train.precision,
        "pushed to": recipe.hub.push_to or "nowhere",
    }
    return Description(kind="recipe", name=resolved.source, facts=facts, tables=(_phases(recipe),))


def component_text(component: Component) -> str:
    """Give a component as name and options."""
    options = ", ".join(f"{name}={value}" for name, value in component.options.items())
    return f"{component.name} ({options})" if options else component.name


def _backbone(model: ModelRecipe) -> str:
    name = model.repo or model.architecture or ""
    start = "pretrained" if model.pretrained else "from random weights"
    file = f", weights of {model.weights}" if model.weights is not None else ""
    return f"{name}, {start}{file}"


def _phases(recipe: Recipe) -> Table:
    rows = tuple((step.at, ", ".join(step.train)) for step in recipe.unfreeze)
    return Table(title="what trains", columns=("from", "layers"), rows=rows)
