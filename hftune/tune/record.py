"""study.json: what a study searches, how and on which data; any other needs another folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hftune.core import Splits
from hftune.errors import DataError, RunFolderError
from hftune.files import committed_folder, write_json, write_text
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.recipe.show import differences, to_yaml
from hftune.train.json_record import build_record, read_mapping

STUDY_FILE = "study.json"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """What all trials of a study share besides the recipe. `data` holds each split's digest."""

    metric: str
    sampler: str
    pruner: str
    seed: int
    space: Mapping[str, str]
    data: Mapping[str, str]


def begin_folder(folder: Path, record: StudyRecord, recipe: Recipe) -> None:
    """Make the folder of a new study, whole or not at all. Called by rank 0 only.

    Raises DiskError.
    """
    with committed_folder(folder) as aside:
        write_text(aside / RECIPE_FILE, to_yaml(recipe))
        write_json(aside / STUDY_FILE, asdict(record))


def check_folder(folder: Path, recipe: Recipe, record: StudyRecord) -> None:
    """Refuse a folder that holds another study, or something that is none.

    The data are looked at by `check_data`, once they are open. Raises RunFolderError.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / STUDY_FILE).is_file():
        raise RunFolderError(
            "this folder holds something that is no study",
            where=str(folder),
            remedy="choose another folder with --output, or empty this one",
        )
    changes = _changes(_read(folder), record)
    changes += [
        f"{setting}: {old} there, {new} here"
        for setting, old, new in differences(load_recipe(folder / RECIPE_FILE), recipe)
    ]
    if changes:
        raise RunFolderError(
            "this folder holds a study of another question, whose trials do not compare",
            found="\n".join(changes),
            allowed="the same recipe, space, sampler, pruner and seed; --trials and --time may "
            "change",
            where=str(folder),
            remedy="search in another folder with --output",
        )


def check_data(folder: Path, splits: Splits) -> None:
    """Raise DataError where a study that was begun saw other images or labels."""
    if not (folder / STUDY_FILE).is_file():
        return
    before, now = _read(folder).data, digests(splits)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise DataError(
            "the data changed since this study began, so its trials would not compare",
            found=f"other images or labels in: {', '.join(changed)}",
            where=str(folder),
            remedy="restore the data, or search in another folder with --output",
        )


def digests(splits: Splits) -> dict[str, str]:
    """Give the digest of each split that trials see."""
    return {"train": splits.train.digest, "val": splits.val.digest}


def _read(folder: Path) -> StudyRecord:
    path = folder / STUDY_FILE
    return build_record(StudyRecord, read_mapping(path), str(path))


def _changes(before: StudyRecord, now: StudyRecord) -> list[str]:
    """Say what differs between two records but for their data."""
    then, here = (asdict(replace(record, space={}, data={})) for record in (before, now))
    pairs = [(name, then[name], here[name]) for name in then]
    pairs += [
        (setting, before.space.get(setting, "not searched"), now.space.get(setting, "not searched"))
        for setting in {**before.space, **now.space}
    ]
    return [f"{name}: {old} there, {new} here" for name, old, new in pairs if old != new]
