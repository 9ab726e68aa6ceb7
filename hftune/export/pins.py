"""A recipe with every name that may move replaced by the commit that the run took."""

from dataclasses import replace

from hftune.core import BaseFacts, DataFacts
from hftune.recipe.schema import DataRecipe, ModelRecipe, Recipe


def pin(recipe: Recipe, base: BaseFacts, data: DataFacts) -> Recipe:
    """Give `recipe` with the commits of its backbone and of its data set, where they have one."""
    return replace(recipe, model=_model(recipe.model, base), data=_data(recipe.data, data))


def _model(model: ModelRecipe, base: BaseFacts) -> ModelRecipe:
    if model.repo is None or base.commit is None:
        return model
    return replace(model, repo=model.repo.partition("@")[0], revision=base.commit)


def _data(data: DataRecipe, facts: DataFacts) -> DataRecipe:
    repo = data.source.options.get("repo")
    if not isinstance(repo, str) or facts.commit is None:
        return data
    pinned = {"repo": repo.partition("@")[0], "revision": facts.commit}
    source = replace(data.source, options={**data.source.options, **pinned})
    return replace(data, source=source)
