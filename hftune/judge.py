"""A run, an artifact or a repository -> its metrics on a split, of its own data or another's."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from hftune.core import EvalResult, LabelSpace, ProblemName, Split, Splits
from hftune.data.cached_rows import read_decoded
from hftune.data.sources import open_splits
from hftune.errors import DataError, RequestError
from hftune.export.artifact import ARTIFACT
from hftune.export.drift import Comparison, compare_with_probe
from hftune.export.probe import PROBE, read_probe
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.published import Classifier, load_classifier
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.train.evaluate import ask, evaluate
from hftune.train.pins import pinned_recipe
from hftune.train.predictions import (
    Predictions,
    predictions_from,
    read_predictions,
    write_predictions,
)
from hftune.train.run_facts import MODEL_FILE
from hftune.train.run_folder import check_same_data
from hftune.train.trained import load_run
from hftune.train.world import join_world

PUBLISHED_RECIPE = "hftune/recipe.yaml"


def judge_thing(
    thing: str, *, data: str | None = None, split: str | None = None, trust_code: bool = False
) -> EvalResult:
    """Judge a run folder, an artifact folder or a repository.

    `data` names a recipe whose data to use in place of the thing's own; `split` is train, val or
    test, by default test where there is one. Classes are matched by name. Code that the recipe of
    an artifact or a repository names is refused without `trust_code`; a run folder is the work of
    whoever trains here. Raises DataError where the names differ, RecipeError for refused code, and
    RequestError where there is no recipe of the model's problem or no such split.
    """
    classifier, own = open_thing(thing)
    if data is None and not own.is_file():
        raise RequestError(
            "this model does not say which data it was judged on",
            where=thing,
            remedy="name a recipe whose data to judge it on: --data RECIPE",
        )
    recipe = own_recipe(own, trust_code=trust_code) if data is None else load_recipe(data)
    check_problem(classifier, recipe.problem)
    splits = open_splits(recipe.data, problem=recipe.problem)
    chosen = read_decoded(choose_split(splits, split), recipe.data)
    return evaluate(match_classes(classifier, splits.labels), chosen, recipe)


def compare_thing(thing: str) -> Comparison:
    """Compare an artifact folder or a repository with the probe that was published with it.

    Of a run folder its artifact is taken. Raises PublishError where there is no probe.
    """
    folder = Path(thing)
    source = pull(parse_ref(str(folder / ARTIFACT) if is_run(folder) else thing))
    if source.folder is None:
        raise AssertionError("a pulled repository has a folder")
    return compare_with_probe(load_classifier(source), read_probe(source.folder / PROBE))


def predictions_of(run: Path, split: str) -> Predictions:
    """Give what a finished run's best weights say about one of its own splits: val or test.

    What the run kept is read. A run that kept nothing is asked now, and what it says is kept.
    Called by every rank; rank 0 writes. Raises RunFolderError where the data changed since, and
    RequestError where there is no such split.
    """
    kept = read_predictions(run, split)
    if kept is not None:
        return kept
    recipe = pinned_recipe(run)
    splits = open_splits(recipe.data, problem=recipe.problem)
    check_same_data(run, splits)
    chosen = read_decoded(choose_split(splits, split), recipe.data)
    outputs = ask(match_classes(load_run(run), splits.labels), chosen, recipe)
    said = predictions_from(chosen, outputs)
    if join_world().is_first:
        write_predictions(run, said)
    return said


def check_problem(classifier: Classifier, problem: ProblemName) -> None:
    """Raise RequestError where the model answers another question than the recipe asks."""
    if classifier.labels.problem != problem:
        raise RequestError(
            "the model and the recipe are for different problems",
            found=f"a recipe for {problem}",
            allowed=f"a recipe for {classifier.labels.problem}, as the model is",
            remedy="name such a recipe with --data",
        )


def open_thing(thing: str) -> tuple[Classifier, Path]:
    """Load a run, an artifact or a repository; also give where its recipe lies, if it has one."""
    folder = Path(thing)
    if is_run(folder):
        return load_run(folder), folder / "recipe.yaml"
    source = pull(parse_ref(thing))
    if source.folder is None:
        raise AssertionError("a pulled repository has a folder")
    return load_classifier(source), source.folder / PUBLISHED_RECIPE


def own_recipe(path: Path, *, trust_code: bool) -> Recipe:
    """Read the recipe of a thing, with the commits that its run took.

    A run folder is the work of whoever trains here. Raises RecipeError for code of others.
    """
    if is_run(path.parent):
        return pinned_recipe(path.parent)
    return load_recipe(path, trust_code=trust_code)


def is_run(folder: Path) -> bool:
    """Say whether a folder is that of a run, finished or not."""
    return (folder / MODEL_FILE).is_file()


def choose_split(splits: Splits, name: str | None) -> Split:
    """Give the named split; without a name the test split, or validation where there is none."""
    present = {"train": splits.train, "val": splits.val}
    if splits.test is not None:
        present["test"] = splits.test
    if name is None:
        return present.get("test", splits.val)
    if name not in present:
        raise RequestError("this data has no such split", found=name, allowed=", ".join(present))
    return present[name]


def match_classes(classifier: Classifier, labels: LabelSpace) -> Classifier:
    """Give the classifier with its logits in the order of `labels`. Raises DataError.

    A number is matched with the number of the data, whatever their columns are called.
    """
    if labels.numeric and classifier.labels.numeric:
        return replace(classifier, labels=labels)
    own = classifier.labels.index
    if set(own) != set(labels.names):
        raise DataError(
            "the model and the data have other classes",
            found=f"data: {', '.join(labels.names[:10])}",
            allowed=f"model: {', '.join(list(own)[:10])}",
            remedy="judge it on data with the model's own class names",
        )
    if classifier.labels.names == labels.names:
        return classifier
    order = [own[name] for name in labels.names]
    return Classifier(
        module=Reordered(classifier.module, order),
        input_spec=classifier.input_spec,
        labels=labels,
    )


class Reordered(nn.Module):
    """A classifier whose logits [B, K] come in another order of the classes."""

    def __init__(self, module: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.module = module
        self.order = order

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the logits [B, K] of inputs [B, C, H, W]."""
        logits: Tensor = self.module(inputs)
        return logits[:, self.order]
