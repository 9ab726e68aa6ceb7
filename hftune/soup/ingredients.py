"""What goes into a soup: the best weights of finished runs, or checkpoints, that fit together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hftune.errors import RequestError, RunFolderError, WeightsError
from hftune.files import digest_file
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.train.best import read_best_step
from hftune.train.checkpoint import CHECKPOINTS, STEP_PREFIX, read_checkpoint
from hftune.train.plan import best_of
from hftune.train.run_facts import BEST_WEIGHTS, MODEL_FILE, RunFacts, read_run

_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """Weights of a finished run, and the run. `digest` is the sha256 of the file `weights`."""

    name: str
    path: Path
    weights: Path
    digest: str
    step: int
    recipe: Recipe
    facts: RunFacts


def open_ingredients(paths: Sequence[Path]) -> tuple[Ingredient, ...]:
    """Open run folders and checkpoints (`RUN/checkpoints/step-N`), and check that they fit.

    Raises RunFolderError for one that is neither, or unfinished, and RequestError for fewer than
    two, for one that is named twice, and for those that differ in what must be equal.
    """
    if len(paths) < 2:
        raise RequestError(
            "a soup needs two ingredients",
            found=", ".join(map(str, paths)) or "none",
            allowed="two or more run folders, or checkpoints such as RUN/checkpoints/step-00000100",
        )
    places = [path.resolve() for path in paths]
    twice = sorted({str(place) for place in places if places.count(place) > 1})
    if twice:
        raise RequestError("an ingredient is named twice", found=", ".join(twice))
    opened = _numbered([_open(path) for path in paths])
    check_fit(opened)
    return opened


def check_fit(ingredients: Sequence[Ingredient]) -> None:
    """Refuse ingredients that differ from the first in what must be equal. Raises RequestError."""
    first = ingredients[0]
    wanted = _must_be_equal(first)
    lines = []
    for other in ingredients[1:]:
        found = _must_be_equal(other)
        differing = [name for name in wanted if wanted[name] != found[name]]
        lines += [
            f"{other.name}: {name} {found[name]}, not {wanted[name]} as in {first.name}"
            for name in differing
        ]
        if not differing:
            lines += [f"{other.name}: {text}" for text in _unlike_tensors(first, other)]
    if lines:
        raise RequestError(
            "these weights cannot be averaged",
            found="\n".join(lines),
            allowed="the same backbone, input, classes, data and metric in all",
            remedy="leave out what differs, or train it again with the settings of the others",
        )


def _open(path: Path) -> Ingredient:
    """Open one run or checkpoint. Of a run with optim.ema the averaged weights are taken."""
    if (path / MODEL_FILE).is_file():
        run, weights, step, name = path, path / BEST_WEIGHTS, None, path.resolve().name
    elif path.is_dir() and path.name.startswith(STEP_PREFIX) and path.parent.name == CHECKPOINTS:
        run = path.parent.parent
        averaged = path / "average.safetensors"
        weights = averaged if averaged.is_file() else path / "model.safetensors"
        step = read_checkpoint(path).progress.step  # its digests are verified
        name = f"{run.resolve().name}/{path.name}"
    else:
        raise RunFolderError(
            "this is neither a run nor a checkpoint of one",
            where=str(path),
            allowed="RUN, or RUN/checkpoints/step-00000100",
        )
    facts = read_run(run)
    return Ingredient(
        name=name,
        path=path,
        weights=weights,
        digest=digest_file(weights),
        step=read_best_step(run) if step is None else step,
        recipe=load_recipe(run / "recipe.yaml"),
        facts=facts,
    )


def _numbered(ingredients: Sequence[Ingredient]) -> tuple[Ingredient, ...]:
    """Tell apart runs of one name in different folders, without naming the folders."""
    often: Counter[str] = Counter()
    told_apart = []
    for one in ingredients:
        often[one.name] += 1
        number = often[one.name]
        told_apart.append(one if number == 1 else replace(one, name=f"{one.name} ({number})"))
    return tuple(told_apart)


def _must_be_equal(one: Ingredient) -> Mapping[str, str]:
    """Give, as text, what weights must have in common for their mean to mean something."""
    model, data = one.facts.model, one.facts.data
    base = model.base
    start = (
        (base.hub_id or base.repo_id or "local weights") if base.pretrained else "random weights"
    )
    spec = asdict(model.input_spec)
    # Dropout shapes training, not the weights; the head is compared by its classes.
    options = {k: v for k, v in model.model_args.items() if "drop" not in k and k != "num_classes"}
    return {
        "architecture": model.architecture,
        "options": ", ".join(f"{key} {value}" for key, value in sorted(options.items())),
        "backbone": f"{start} at {base.commit}" if base.commit else start,
        "problem": model.problem,
        "classes": ", ".join(model.label_names),
        "input": ", ".join(f"{key} {value}" for key, value in spec.items()),
        "data": ", ".join(f"{name} {split.digest[:12]}" for name, split in data.splits.items()),
        "metric": best_of(one.recipe),
    }


def _unlike_tensors(first: Ingredient, other: Ingredient) -> list[str]:
    """Say which tensors are missing, new or of another shape."""
    wanted, found = _shapes(first.weights), _shapes(other.weights)
    unlike = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if not unlike:
        return []
    shown = ", ".join(unlike[:_SHOWN]) + (", ..." if len(unlike) > _SHOWN else "")
    return [f"{len(unlike)} tensors are of another shape or missing: {shown}"]


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise WeightsError(
            "this weight file is damaged or incomplete", found=str(error), where=str(path)
        ) from error
