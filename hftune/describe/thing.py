"""What a text names, and the description of it."""

from pathlib import Path

from hftune.describe.description import Description
from hftune.describe.recipe import describe_recipe
from hftune.describe.run import describe_checkpoint, describe_run
from hftune.errors import RequestError
from hftune.recipe.shipped import find_shipped
from hftune.train.run_facts import MODEL_FILE

_FORMS = (
    "a recipe, a run or checkpoint folder, a model folder, a folder of class folders with images, "
    "org/name on the Hub, or a timm architecture"
)


def describe(thing: str) -> Description:
    """Describe a recipe, run, checkpoint, model, artifact, data folder, repository or architecture.

    Files and folders come before names. A repository is pulled. Raises RequestError for what is
    none of these, and the errors of whatever it is.
    """
    path = Path(thing).expanduser()
    if path.is_dir():
        return _describe_folder(path)
    if path.suffix in (".yaml", ".yml") or find_shipped(thing) is not None:
        return describe_recipe(thing)
    if path.is_file():
        raise RequestError("this file cannot be described", found=thing, allowed=_FORMS)
    # This loads torch, which takes seconds: only where a model is meant.
    from hftune.describe.model import describe_architecture, describe_repository

    return describe_repository(thing) if "/" in thing else describe_architecture(thing)


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
