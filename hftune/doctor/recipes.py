"""Whether a recipe can run here, as far as can be told without downloading or training."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from hftune.core import RepoKind
from hftune.doctor.finding import Finding, fault, fine
from hftune.doctor.hub import briefly, check_target, one_line
from hftune.errors import HftuneError
from hftune.files import user_path
from hftune.hub.client import HubSettings
from hftune.hub.ref import parse_ref
from hftune.hub.resolve import resolve_commit
from hftune.recipe import load_recipe
from hftune.recipe.schema import DataRecipe, ModelRecipe, Recipe

TOPIC = "recipe"

# Options of the data sources that name a folder or a file.
_PATHS = ("path", "root", "train", "val", "test")
_TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb",
             "mlflow": "mlflow", "comet_ml": "comet_ml", "clearml": "clearml"}  # fmt: skip


def check_recipe(source: str, settings: HubSettings, *, has_torch: bool) -> Iterator[Finding]:
    """Check a recipe, then its precision, its model, its data, its trackers and its target."""
    try:
        recipe = load_recipe(source)
    except HftuneError as error:
        yield fault(TOPIC, one_line(error), error.remedy or f"hftune recipe check {source}")
        return
    yield fine(TOPIC, f"{source}: every setting is valid")
    if has_torch:
        yield from _precision(recipe)
    yield from _model(recipe.model, settings)
    yield from _teacher(recipe.distill.teacher, settings)
    yield from _data(recipe.data, settings)
    for name in recipe.track.trackers:
        package = _TRACKERS.get(name)
        if package is not None and find_spec(package) is None:
            yield fault(TOPIC, f"track.trackers: no package '{package}'", f"pip install {package}")
    if recipe.hub.push_to is not None:
        yield from check_target(recipe.hub.push_to, settings)


def _precision(recipe: Recipe) -> Iterator[Finding]:
    """Ask whether this machine can do the recipe's precision. Loads torch."""
    import torch  # may not be in order: the caller has looked

    from hftune.train.world import choose_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = choose_precision(recipe.train.precision, device)
    except HftuneError as error:
        yield fault(TOPIC, one_line(error), error.remedy or "correct train.precision")
        return
    yield fine(TOPIC, f"train.precision: {recipe.train.precision}, which is {chosen} here")


def _model(model: ModelRecipe, settings: HubSettings) -> Iterator[Finding]:
    if model.repo is not None:
        yield from _repository("model.repo", model.repo, model.revision, settings)
    if model.weights is not None:
        yield from _file("model.weights", model.weights)


def _teacher(name: str | None, settings: HubSettings) -> Iterator[Finding]:
    if name is not None:
        yield from _repository("distill.teacher", name, None, settings)


def _data(data: DataRecipe, settings: HubSettings) -> Iterator[Finding]:
    options = data.source.options
    for name in _PATHS if data.source.name in ("image_folder", "table") else ():
        if options.get(name) is not None:
            yield from _file(f"data.source.{name}", str(options[name]))
    if options.get("repo") is not None:
        revision = options.get("revision")
        pinned = None if revision is None else str(revision)
        setting, repo = "data.source.repo", str(options["repo"])
        yield from _repository(setting, repo, pinned, settings, kind="dataset")


def _repository(
    setting: str,
    name: str,
    revision: str | None,
    settings: HubSettings,
    *,
    kind: RepoKind = "model",
) -> Iterator[Finding]:
    """Ask which commit a name stands for; nothing is downloaded."""
    try:
        ref = parse_ref(name, kind=kind, revision=revision)
        if ref.folder is not None:
            yield from _file(setting, str(ref.folder))
            return
        commit = resolve_commit(ref, settings=briefly(settings)).commit
    except HftuneError as error:
        yield fault(TOPIC, f"{setting}: {one_line(error)}", error.remedy or f"correct {setting}")
        return
    yield fine(TOPIC, f"{setting}: {name} is at {(commit or '')[:12]}")


def _file(setting: str, text: str) -> Iterator[Finding]:
    place = user_path(text)
    if place.exists():
        yield fine(TOPIC, f"{setting}: {text} is there")
    else:
        where = Path.cwd()
        yield fault(
            TOPIC, f"{setting}: there is no {text}, seen from {where}", f"correct {setting}"
        )
