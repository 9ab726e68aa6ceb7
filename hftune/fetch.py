"""Everything that a recipe takes from elsewhere, brought here for a run without a network."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hftune.components import bind
from hftune.data.hub_files import fetch_files
from hftune.data.hub_source import hub_dataset
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.recipe.schema import Component, ModelRecipe, Recipe

# The options of the other data sources that name a folder or a file.
_PATHS = ("path", "root", "train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that a recipe needs, and the `setting` that says so.

    What came from the Hub has its `commit`, its local `folder`, the number of its `files` and
    their `size` in bytes. What is `local` is not looked at; `network` is what only a run with a
    network can do.
    """

    setting: str
    place: Literal["hub", "local", "network"]
    name: str
    commit: str | None = None
    folder: Path | None = None
    files: int = 0
    size: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self) | {"folder": None if self.folder is None else str(self.folder)}


def fetch_recipe(recipe: Recipe) -> tuple[Need, ...]:
    """Bring all that `recipe` takes from the Hub here, as its run will look for it; list the rest.

    Side effect: fills the caches of the Hub's client and of `datasets`. Raises HubError and its
    kin, DataError, DiskError and RefError.
    """
    return (
        *_of_model(recipe.model),
        *_of_teacher(recipe.distill.teacher),
        *_of_data(recipe.data.source),
        *_of_network(recipe),
    )


def _of_model(model: ModelRecipe) -> Iterator[Need]:
    if model.repo is not None:
        yield _pulled("model.repo", model.repo, model.revision)
    if model.weights is not None:
        yield Need(setting="model.weights", place="local", name=model.weights)


def _of_teacher(teacher: str | None) -> Iterator[Need]:
    if teacher is not None:
        yield _pulled("distill.teacher", teacher, None)


def _of_data(source: Component) -> Iterator[Need]:
    if source.name != hub_dataset.__name__:
        named = [str(source.options[key]) for key in _PATHS if source.options.get(key) is not None]
        for name in [source.name] if source.is_code else named:
            yield Need(setting="data.source", place="local", name=name)
        return
    table = {hub_dataset.__name__: hub_dataset}
    facts = bind(source, table, family="data source")().facts
    repo, config = str(source.options["repo"]), source.options.get("config")
    if facts.commit is None:
        yield Need(setting="data.source", place="local", name=repo)
        return
    ref = parse_ref(str(facts.repo_id), kind="dataset", revision=facts.commit)
    got = fetch_files(ref, config)
    yield Need(
        setting="data.source",
        place="hub",
        name=repo,
        commit=facts.commit,
        folder=got.ref.folder,
        files=len(got.sizes),
        size=sum(got.sizes.values()),
    )


def _of_network(recipe: Recipe) -> Iterator[Need]:
    if recipe.hub.push_to is not None:
        yield Need(setting="hub.push_to", place="network", name=recipe.hub.push_to)


def _pulled(setting: str, name: str, revision: str | None) -> Need:
    """Bring one model here, unless it is a folder of this machine."""
    ref = parse_ref(name, revision=revision)
    if ref.folder is not None:
        return Need(setting=setting, place="local", name=name)
    got = pull(ref)
    assert got.folder is not None
    sizes = [path.stat().st_size for path in got.folder.rglob("*") if path.is_file()]
    return Need(
        setting=setting,
        place="hub",
        name=name,
        commit=got.commit,
        folder=got.folder,
        files=len(sizes),
        size=sum(sizes),
    )
