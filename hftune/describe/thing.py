"""What a text names, and the description of it."""

from collections.abc import Sequence
from pathlib import Path

from hftune.describe.description import Description
from hftune.describe.recipe import describe_recipe
from hftune.describe.run import describe_checkpoint, describe_run
from hftune.errors import RequestError
from hftune.files import user_path
from hftune.recipe.shipped import find_shipped
from hftune.train.run_facts import MODEL_FILE

_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_FORMS = (
    "a recipe, a run or checkpoint folder, a model folder, a folder of class folders with images, "
    "a table of images (csv, tsv, parquet, jsonl), org/name on the Hub, or a timm architecture"
)


def describe(thing: str, overrides: Sequence[str] = ()) -> Description:
    """Describe a recipe, run, checkpoint, model, artifact, data folder, table, repository or name.

    Files and folders come before names. A repository is pulled. `overrides` are for a recipe:
    'optim.lr=3e-4'. Raises RequestError for what is none of these, and the errors of what it is.
    """
    path = user_path(thing)
    if _is_recipe(thing, path):
        return describe_recipe(thing, overrides)
    if overrides:
        raise RequestError(
            "settings can be given for a recipe only",
            found=f"{', '.join(overrides)} after {thing}",
            remedy="name a recipe file, or one that comes with hftune: hftune recipe ls",
        )
    if path.is_dir():
        return _describe_folder(path)
    if path.is_file() and path.suffix.lower() in _TABLES:
        from hftune.describe.table import describe_table  # loads datasets, which takes seconds

        return describe_table(path)
    if path.is_file():
        raise RequestError("this file cannot be described", found=thing, allowed=_FORMS)
    # This loads torch, which takes seconds: only where a model is meant.
    from hftune.describe.model import describe_architecture, describe_repository

    return describe_repository(thing) if "/" in thing else describe_architecture(thing)


def _is_recipe(thing: str, path: Path) -> bool:
    if path.is_dir():
        return False
    return path.suffix in (".yaml", ".yml") or find_shipped(thing) is not None


def _describe_folder(folder: Path) -> Description:
    if (folder / MODEL_FILE).is_file():
        return describe_run(folder)
    if (folder / "state.json").is_file() and (folder / "model.safetensors").is_file():
        return describe_checkpoint(folder)
    if (folder / "config.json").is_file():
        from hftune.describe.model import describe_folder  # loads torch, which takes seconds

        return describe_folder(folder)
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        from hftune.describe.data import describe_data  # loads torch, which takes seconds

        return describe_data(folder)
    raise RequestError("it is not clear what this folder is", found=str(folder), allowed=_FORMS)
