"""The commits that a run took from the Hub: it goes on with them, wherever a branch moved to.

`pins.json` lies in the run folder. A branch that moves between a stop and the next start would
otherwise give the run another base than the one that its frozen layers, its receipt and its record
tell of, or another teacher. The recipe that is published names the same commits.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hftune.core import TeacherFacts
from hftune.errors import RunFolderError
from hftune.recipe import load_recipe
from hftune.recipe.schema import DataRecipe, DistillRecipe, ModelRecipe, Recipe
from hftune.train.json_record import build_record, read_mapping

PINS_FILE = "pins.json"


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The commits of the base and of the data, None for what is not from the Hub; the teacher."""

    model: str | None = None
    data: str | None = None
    teacher: TeacherFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


def read_pins(path: Path) -> Pins:
    """Read a `pins.json`. Raises RunFolderError."""
    return build_record(Pins, read_mapping(path), str(path))


def settled_pins(run: Path) -> Pins | None:
    """Give what the run in a folder was begun with; None where none was. Raises RunFolderError."""
    path = run / PINS_FILE
    return read_pins(path) if path.is_file() else None


def pinned_recipe(run: Path) -> Recipe:
    """Read the recipe of the run in a folder, with the commits that it took.

    Raises RecipeError and RunFolderError.
    """
    recipe, pins = load_recipe(run / "recipe.yaml"), settled_pins(run)
    return recipe if pins is None else pin(recipe, pins)


def pin(recipe: Recipe, pins: Pins) -> Recipe:
    """Give `recipe` with a commit in place of every name that may move."""
    return replace(
        recipe,
        model=_model(recipe.model, pins.model),
        data=_data(recipe.data, pins.data),
        distill=_distill(recipe.distill, pins.teacher),
    )


def check_same_teacher(begun: Pins | None, now: TeacherFacts | None, *, where: str) -> None:
    """Refuse to go on with a teacher whose weights changed. Raises RunFolderError."""
    before = None if begun is None else begun.teacher
    if before is None or now is None or before == now:
        return
    raise RunFolderError(
        "the teacher changed since this run began",
        found=now.words,
        allowed=before.words,
        where=where,
        remedy="restore the teacher, or start a new run with --output",
    )


def _model(model: ModelRecipe, commit: str | None) -> ModelRecipe:
    if model.repo is None or commit is None:
        return model
    return replace(model, repo=model.repo.partition("@")[0], revision=commit)


def _data(data: DataRecipe, commit: str | None) -> DataRecipe:
    repo = data.source.options.get("repo")
    if not isinstance(repo, str) or commit is None:
        return data
    pinned = {"repo": repo.partition("@")[0], "revision": commit}
    source = replace(data.source, options={**data.source.options, **pinned})
    return replace(data, source=source)


def _distill(distill: DistillRecipe, teacher: TeacherFacts | None) -> DistillRecipe:
    if distill.teacher is None or teacher is None or teacher.commit is None:
        return distill
    return replace(distill, teacher=f"{distill.teacher.partition('@')[0]}@{teacher.commit}")
