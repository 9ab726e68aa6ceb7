"""Ingredients in, a run folder out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftune.data.cached_rows import keep_decoded
from hftune.data.sources import open_splits
from hftune.errors import RequestError
from hftune.model.published import load_trained
from hftune.soup.choose import Method, choose_all, choose_greedily
from hftune.soup.ingredients import Ingredient, open_ingredients
from hftune.soup.kitchen import Kitchen
from hftune.soup.write import write_soup
from hftune.train.average_record import (
    SoupDecision,
    SoupIngredient,
    SoupRecord,
    finite_or_none,
)
from hftune.train.evaluate import make_judge
from hftune.train.pins import pin
from hftune.train.plan import best_of
from hftune.train.run_facts import ResultsRecord
from hftune.train.run_folder import check_same_data
from hftune.train.world import (
    choose_precision,
    first_on_machine,
    join_world,
    make_accelerator,
    wait_for_all,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Soup:
    """What came out: the run folder, how its weights were chosen, and how good they are."""

    run: Path
    record: SoupRecord
    results: ResultsRecord


def make_soup(paths: Sequence[Path], *, method: Method = "greedy", to: Path | None = None) -> Soup:
    """Mix finished runs, or checkpoints, into a new run folder.

    `to` is by default the first run's folder with '-soup' behind its name. The recipe of the first
    ingredient opens the data and judges; the recipe in the new folder is that of the best one.
    Called by every process that the launcher started; rank 0 writes. Raises RequestError for
    ingredients that do not fit and for a folder that is not empty, RunFolderError for ingredients
    that are no finished runs, and where the data changed since they were trained.
    """
    ingredients = open_ingredients(paths)
    first = ingredients[0]
    folder = to or first.facts.folder.resolve().with_name(f"{first.facts.name}-soup")
    _check_free(folder)
    kitchen = open_kitchen(ingredients)
    record = choose(kitchen, method)
    results = write_soup(kitchen, record, folder=folder)
    wait_for_all()
    return Soup(run=folder, record=record, results=results)


def open_kitchen(ingredients: Sequence[Ingredient]) -> Kitchen:
    """Open the data and build the module, by the first ingredient's run (collective)."""
    first = ingredients[0]
    recipe, facts = first.recipe, first.facts
    world = join_world()
    with first_on_machine():
        splits = open_splits(pin(recipe, facts.pins).data, problem=recipe.problem)
    check_same_data(facts.folder, splits)
    splits = keep_decoded(splits, recipe.data, filled=("val",))
    accelerator = make_accelerator(choose_precision(recipe.train.precision, world.device))
    trained = load_trained(
        facts.model.base, first.weights, input_spec=facts.model.input_spec, labels=splits.labels
    )
    judge = make_judge(accelerator, recipe, trained, labels=splits.labels)
    return Kitchen(
        ingredients={one.name: one for one in ingredients},
        recipe=recipe,
        splits=splits,
        judge=judge,
        module=trained.module.to(accelerator.device).to(memory_format=judge.layout),
    )


def choose(kitchen: Kitchen, method: Method) -> SoupRecord:
    """Judge every ingredient, then the mixtures that `method` asks for (collective)."""
    metric = best_of(kitchen.recipe)
    singles = {name: kitchen.taste((name,)) for name in kitchen.ingredients}
    for name, value in singles.items():
        logger.info("%s: %s %.4f on validation", name, metric, value)
    decide = {"greedy": choose_greedily, "uniform": choose_all}[method]
    choice = decide(singles, kitchen.taste, metric=metric)
    for decision in choice.decisions:
        logger.info(
            "%s: %.4f against %.4f, %s",
            " + ".join(decision.members),
            decision.value,
            decision.against,
            "taken" if decision.taken else "not taken",
        )
    if len(choice.members) == 1:
        logger.warning("no mixture is as good as %s alone; the soup is that one", choice.members[0])
    return SoupRecord(
        method=method,
        metric=metric,
        ingredients=tuple(
            SoupIngredient(
                name=name,
                path=str(one.path),
                digest=one.digest,
                step=one.step,
                value=finite_or_none(singles[name]),
            )
            for name, one in kitchen.ingredients.items()
        ),
        decisions=tuple(
            SoupDecision(
                members=decision.members,
                value=finite_or_none(decision.value),
                against=finite_or_none(decision.against),
                taken=decision.taken,
            )
            for decision in choice.decisions
        ),
        members=choice.members,
        value=finite_or_none(choice.value),
    )


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            "the folder for the soup is not empty",
            where=str(folder),
            remedy="name another one with --to, or remove it",
        )
