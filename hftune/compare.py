"""Fair twins: recipes trained on the same data with the same budget, judged image by image.

A comparison lives in one folder, with one run folder `ARM-seedN` per recipe and seed. Runs that
are finished are taken as they are, so doing it again costs only the table.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hftune.errors import ComponentError, DataError, RecipeError, RequestError, RunFolderError
from hftune.files import write_json, write_text
from hftune.finetune import prepare, train_and_judge
from hftune.judge import predictions_of
from hftune.metrics import LOSS, METRICS
from hftune.problems import PROBLEMS
from hftune.recipe import Resolved, load_recipe
from hftune.recipe.schema import Recipe
from hftune.recipe.terms import BUDGET_TERMS, DATA_TERMS, unequal_terms
from hftune.report.comparison_plot import plot_twins
from hftune.report.comparison_text import comparison_page
from hftune.report.history import read_history
from hftune.report.verdict import Comparison, TwinRun, weigh
from hftune.train.json_record import read_mapping
from hftune.train.option_check import check_options_of
from hftune.train.plan import best_of
from hftune.train.run_facts import (
    PLAN_FILE,
    RESULTS_FILE,
    read_data_record,
    read_results_record,
)
from hftune.train.run_folder import all_splits, check_run_folder
from hftune.train.world import join_world, wait_for_all

logger = logging.getLogger(__name__)

PAGE = "comparison.md"
PICTURE = "comparison.png"
NUMBERS = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Twin:
    """One run to come or finished: the arm's recipe with the seed set, and where it lies."""

    recipe: Recipe
    origins: Mapping[str, str]
    folder: Path

    @property
    def arm(self) -> str:
        """The arm's name."""
        return self.recipe.run


def compare(
    recipes: Sequence[Resolved],
    output: Path,
    *,
    seeds: int = 3,
    metric: str | None = None,
    allow_other_budget: bool = False,
) -> Comparison:
    """Train each recipe with each of `seeds` seeds where that is not done yet, and compare them.

    Writes runs and comparison into `output`; publishes nothing. `metric` is by default the one
    that picks the best weights. Called by every process that the launcher started; rank 0 writes.
    Raises RequestError, before anything is trained, for arms that are no fair twins.
    """
    world = join_world()
    check_arms(recipes, allow_other_budget=allow_other_budget)
    first = recipes[0].recipe
    metric = choose_metric(first, metric)
    twins = plan_twins(recipes, output, seeds=seeds)
    owed = [twin for twin in twins if not is_finished(twin)]
    wait_for_all()  # every rank has seen the same folders before one of them is written
    check_data_before(owed, twins)
    for number, twin in enumerate(owed, start=1):
        logger.info("run %d of %d: %s", number, len(owed), twin.folder.name)
        train_and_judge(twin.recipe, twin.folder, origins=twin.origins)
    check_data_after(twins)
    arms = read_arms(twins)
    comparison = weigh(arms, metric=metric, problem=first.problem)
    if world.is_first:
        write_comparison(comparison, arms, output)
    return comparison


def check_arms(recipes: Sequence[Resolved], *, allow_other_budget: bool) -> None:
    """Refuse arms that cannot be told apart by name, that cannot run, or that are no fair twins.

    Raises RequestError, or RecipeError with the problems of all recipes.
    """
    names = [resolved.recipe.run for resolved in recipes]
    if len(names) < 2 or len(set(names)) < len(names):
        raise RequestError(
            "a comparison needs at least two recipes with names of their own",
            found=", ".join(names) or "none",
            remedy="give each recipe a name of its own in `run`",
        )
    wrong = [error for error in map(_wrong_options, recipes) if error is not None]
    if wrong:
        problems = [problem for error in wrong for problem in error.problems]
        raise RecipeError(", ".join(error.source for error in wrong), problems)
    plain = [resolved.recipe for resolved in recipes]
    data, budget = (unequal_terms(plain, terms) for terms in (DATA_TERMS, BUDGET_TERMS))
    if data or (budget and not allow_other_budget):
        found = [*data, *(() if allow_other_budget else budget)]
        raise RequestError(
            "these recipes are no fair twins: their results would differ for other reasons",
            found="\n".join(map(str, found)),
            allowed="the same data, seed, batch, length and choice of the best weights",
            remedy="set them alike for all: key.path=value after the recipes"
            + ("" if data else "; or accept another budget with --allow-other-budget"),
        )
    for text in map(str, budget):
        logger.warning("another budget: %s", text)


def choose_metric(recipe: Recipe, name: str | None) -> str:
    """Give the metric to compare by; by default what picks the weights, or the problem's own.

    Raises ComponentError where the problem has no such metric.
    """
    if name is None:
        best = best_of(recipe)
        return PROBLEMS[recipe.problem].best_metric if best == LOSS else best
    fitting = [known for known, makers in METRICS.items() if recipe.problem in makers]
    if name not in fitting:
        raise ComponentError(
            "this is no metric to compare by",
            found=name,
            allowed=", ".join(fitting),
            where="--metric",
        )
    return name


def plan_twins(recipes: Sequence[Resolved], output: Path, *, seeds: int) -> list[Twin]:
    """Give every run of the comparison, seed by seed, so that a stop leaves whole comparisons."""
    return [
        Twin(
            recipe=replace(
                resolved.recipe,
                train=replace(resolved.recipe.train, seed=resolved.recipe.train.seed + seed),
                hub=replace(resolved.recipe.hub, push_to=None),
            ),
            origins={**resolved.origins, "train.seed": "override"},
            folder=output / f"{resolved.recipe.run}-seed{seed}",
        )
        for seed in range(seeds)
        for resolved in recipes
    ]


def is_finished(twin: Twin) -> bool:
    """Say whether a run is there and done. Raises RunFolderError for a run of another recipe.

    Another length is another recipe here, though a run may go on with one: the schedule differs.
    """
    run = twin.folder
    check_run_folder(run, twin.recipe)
    if not (run / "recipe.yaml").is_file():
        return False
    length = load_recipe(run / "recipe.yaml").train.length
    if length != twin.recipe.train.length:
        raise RunFolderError(
            "this folder holds a run of another length",
            found=length,
            allowed=twin.recipe.train.length,
            where=str(run),
            remedy="compare in another folder with --output, or remove this run",
        )
    if not (run / RESULTS_FILE).is_file() or not (run / PLAN_FILE).is_file():
        return False
    results = read_results_record(run)
    # What an earlier, shorter length left is no result of this one.
    planned = read_mapping(run / PLAN_FILE).get("total_steps")
    return results.ended_early or (isinstance(planned, int) and results.steps >= planned)


def check_data_before(owed: Sequence[Twin], twins: Sequence[Twin]) -> None:
    """Build each arm that still trains once, and compare its splits with what is finished.

    What is wrong with the last arm is found here, and not after the first has trained. Raises
    what `prepare` raises, and DataError where arms see other images.
    """
    digests = {twin.folder.name: _digests(twin.folder) for twin in twins if twin not in owed}
    for arm in dict.fromkeys(twin.arm for twin in owed):
        twin = next(twin for twin in owed if twin.arm == arm)
        splits = prepare(twin.recipe).splits
        digests[arm] = {split.name: split.digest for split in all_splits(splits)}
    _check_equal(digests)


def check_data_after(twins: Sequence[Twin]) -> None:
    """Raise DataError unless all finished runs saw the same images, labels and order."""
    _check_equal({twin.folder.name: _digests(twin.folder) for twin in twins})


def read_arms(twins: Sequence[Twin]) -> dict[str, list[TwinRun]]:
    """Read what every run reported and said, by arm, in the order of the seeds.

    Called by every rank: a run that kept no answers is asked again. Raises RunFolderError, and
    DataError where answers are about other images.
    """
    results = {twin.folder: read_results_record(twin.folder) for twin in twins}
    has_test = all(record.of("test") is not None for record in results.values())
    arms: dict[str, list[TwinRun]] = {}
    for twin in twins:
        run = TwinRun(
            folder=twin.folder,
            results=results[twin.folder],
            predictions=predictions_of(twin.folder, "test" if has_test else "val"),
        )
        arms.setdefault(twin.arm, []).append(run)
    _check_equal(
        {
            str(run.folder): {run.predictions.split: run.predictions.digest}
            for runs in arms.values()
            for run in runs
        }
    )
    return arms


def write_comparison(
    comparison: Comparison, arms: Mapping[str, Sequence[TwinRun]], output: Path
) -> None:
    """Write the page, the picture and the numbers. Called by rank 0 only. Raises DiskError."""
    histories = {name: [read_history(run.folder) for run in runs] for name, runs in arms.items()}
    plot_twins(comparison, histories, output / PICTURE)
    write_json(output / NUMBERS, comparison.to_json())
    write_text(output / PAGE, comparison_page(comparison, picture=PICTURE))


def _wrong_options(resolved: Resolved) -> RecipeError | None:
    try:
        check_options_of(resolved)
    except RecipeError as error:
        return error
    return None


def _digests(run: Path) -> dict[str, str]:
    return {name: split.digest for name, split in read_data_record(run).splits.items()}


def _check_equal(digests: Mapping[str, Mapping[str, str]]) -> None:
    """Raise DataError where a run's splits are not those of the first."""
    (first, expected), *others = digests.items()
    unequal = [
        f"{name} in {other} and {first}"
        for other, found in others
        for name in {**expected, **found}
        if expected.get(name) != found.get(name)
    ]
    if unequal:
        raise DataError(
            "the arms do not see the same images",
            found="other images, labels or order: " + "\n".join(unequal),
            remedy="restore the data, pin its revision, or compare in another folder",
        )
