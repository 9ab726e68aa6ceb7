"""The search over settings of a recipe: everything checked first, then trial after trial."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.errors import MissingPackageError, PlanError, RequestError
from hftune.finetune import prepare
from hftune.metrics import higher_is_better
from hftune.recipe import load_recipe
from hftune.report.tuning import Tuning
from hftune.report.tuning_plot import plot_tuning
from hftune.train.plan import best_of, make_plan
from hftune.train.world import from_first, join_world, wait_for_all
from hftune.tune.check import check_space, values_to_try
from hftune.tune.method import Method, check_method, most_trials
from hftune.tune.record import (
    STUDY_FILE,
    StudyRecord,
    begin_folder,
    check_data,
    check_folder,
    digests,
)
from hftune.tune.rounds import Budget, Search
from hftune.tune.space import Space, read_words
from hftune.tune.trial import OpenData, Searchable, own_values, reason_of

if TYPE_CHECKING:
    from hftune.tune.study import Study  # needs Optuna

PICTURE = "tuning.png"
USUAL_TRIALS = 20


def tune(
    source: str,
    words: Sequence[str],
    output: Path | None = None,
    *,
    method: Method | None = None,
    budget: Budget | None = None,
) -> Tuning:
    """Search the settings that `words` give a range or a choice, around the recipe `source`.

    Every trial is a whole run in `output`, by default runs/NAME-tune, judged on validation by the
    metric that picks the best weights. A search that was stopped goes on; nothing is published.
    Called by every process that the launcher started; rank 0 writes. Raises RecipeError and
    RequestError before anything is trained, MissingPackageError without Optuna; Stopped when a
    signal ended a trial.
    """
    open_study = _import_study()
    searchable, method = open_space(source, words), method or Method()
    check_method(method, searchable.space)
    recipe = searchable.resolved.recipe
    output = output or Path("runs") / f"{recipe.run}-tune"
    record = _record(searchable, method)
    check_folder(output, recipe, record)
    world, data = join_world(), OpenData()
    splits = data.of(recipe)
    check_data(output, splits)
    is_new = not (output / STUDY_FILE).is_file()
    if is_new:
        check_plans(searchable, data)
    wait_for_all()  # every rank has seen the same folder before it is written
    if is_new and world.is_first:
        begin_folder(output, replace(record, data=digests(splits)), recipe)
    opened = open_study(
        output, searchable.space, method, higher_is_better=higher_is_better(record.metric)
    )
    with opened if world.is_first else nullcontext() as study:
        search = Search(
            searchable=searchable,
            output=output,
            metric=record.metric,
            world=world,
            study=study,
            data=data,
        )
        first = None if method.sampler == "grid" else own_values(searchable)
        search.run(settled_budget(budget or Budget(), method, searchable.space), first)
        found = None if study is None else search.tuning()
        if found is not None:
            search.write(found)
            plot_tuning(found, output / PICTURE)
        found = from_first(found)  # collective
    assert found is not None
    return found


def open_space(source: str, words: Sequence[str]) -> Searchable:
    """Read and check what is searched around which recipe. Raises RecipeError, RequestError."""
    asked = read_words(words)
    resolved, space = check_space(source, asked.overrides, asked.space)
    return Searchable(source=source, overrides=asked.overrides, space=space, resolved=resolved)


def settled_budget(budget: Budget, method: Method, space: Space) -> Budget:
    """Give the budget with an end: a grid's number of points, or the usual number of trials."""
    points = most_trials(method, space)
    if points is not None:
        return replace(budget, trials=min(points, budget.trials or points))
    if budget == Budget():
        return Budget(trials=USUAL_TRIALS)
    return budget


def check_plans(searchable: Searchable, data: OpenData) -> None:
    """Make the plan of the recipe, and with every end and choice that leaves model and data alone.

    Called by every rank. Raises what `prepare` raises, and RequestError with every value that
    cannot be carried out.
    """
    recipe = searchable.resolved.recipe
    prepared = prepare(recipe, splits=data.of(recipe))
    wrong = []
    for one in searchable.space:
        for value in values_to_try(one):
            override = f"{one.setting}={value}"
            tried = load_recipe(searchable.source, (*searchable.overrides, override))
            if (tried.model, tried.data) != (recipe.model, recipe.data):
                continue
            try:
                make_plan(tried, prepared.model, prepared.splits, prepared.world)
            except PlanError as error:
                wrong.append(f"{override}: {reason_of(error)}")
    if wrong:
        raise RequestError(
            "some of the values cannot be trained with this recipe, data and model",
            found="\n".join(wrong),
            remedy="leave them out of the space, or change the recipe",
        )


def _import_study() -> Callable[..., AbstractContextManager["Study"]]:
    try:
        from hftune.tune.study import open_study  # Optional dependency: optuna.
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"searching settings needs the package '{error.name}', which is not installed",
            remedy="pip install 'hftune[tune]'",
        ) from None
    return open_study


def _record(searchable: Searchable, method: Method) -> StudyRecord:
    return StudyRecord(
        metric=best_of(searchable.resolved.recipe),
        sampler=method.sampler,
        pruner=method.pruner,
        seed=method.seed,
        space={one.setting: str(one) for one in searchable.space},
        data={},
    )
