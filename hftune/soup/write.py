"""The folder of a soup: a finished run, from which everything works that works from one."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hftune.core import EvalResult, Split
from hftune.export.samples import keep_samples
from hftune.files import committed_folder, write_json, write_text
from hftune.recipe.forms import is_run_name
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_yaml
from hftune.soup.ingredients import Ingredient
from hftune.soup.kitchen import Kitchen
from hftune.train.average_record import SOUP_FILE, SoupRecord
from hftune.train.best import write_best
from hftune.train.evaluate import Outputs, compute_logits, judge_outputs
from hftune.train.pins import PINS_FILE
from hftune.train.predictions import predictions_from, write_predictions
from hftune.train.run_facts import DATA_FILE, MODEL_FILE, RESULTS_FILE, ResultsRecord
from hftune.train.run_folder import all_splits, describe_environment
from hftune.train.world import join_world


def write_soup(kitchen: Kitchen, record: SoupRecord, *, folder: Path) -> ResultsRecord:
    """Judge the chosen mixture on validation and test and write the folder, whole or not at all.

    Called by every rank; rank 0 writes. Side effect: the module holds the mixture afterwards.
    """
    main = kitchen.ingredients[record.members[0]]  # the best single one
    kitchen.mix(record.members)
    said = {
        split.name: (split, _outputs(kitchen, split))
        for split in all_splits(kitchen.splits)
        if split.name != "train"
    }
    evaluations = tuple(
        judge_outputs(kitchen.judge, outputs, split, step=main.step)
        for split, outputs in said.values()
    )
    results = replace(
        main.facts.results,
        evaluations=evaluations,
        best_step=main.step,
        best_metric=record.metric,
        best_value=record.value,
    )
    if kitchen.judge.accelerator.is_main_process:
        with committed_folder(folder) as aside:
            _write_facts(aside, main, _recipe(main, folder), kitchen)
            for split, outputs in said.values():
                write_predictions(aside, predictions_from(split, outputs))
            write_best(aside, kitchen.module, _of_validation(evaluations))
            write_json(aside / SOUP_FILE, record.to_json())
            write_json(aside / RESULTS_FILE, results.to_json())
    return results


def _outputs(kitchen: Kitchen, split: Split) -> Outputs:
    outputs = compute_logits(kitchen.judge, kitchen.module, split)
    assert outputs is not None  # only a Control cuts it short
    return outputs


def _of_validation(evaluations: tuple[EvalResult, ...]) -> EvalResult:
    return next(result for result in evaluations if result.split == "val")


def _recipe(main: Ingredient, folder: Path) -> Recipe:
    """Give the best ingredient's recipe under the soup's name, where that can be a run's."""
    name = folder.resolve().name
    return replace(main.recipe, run=name) if is_run_name(name) else main.recipe


def _write_facts(aside: Path, main: Ingredient, recipe: Recipe, kitchen: Kitchen) -> None:
    """Write what the soup shares with its best ingredient, and where it was made."""
    for name in (MODEL_FILE, DATA_FILE, PINS_FILE):
        shutil.copyfile(main.facts.folder / name, aside / name)
    write_text(aside / "recipe.yaml", to_yaml(recipe))
    environment: Mapping[str, object] = describe_environment(join_world())
    write_json(aside / "environment.json", environment)
    keep_samples(aside, kitchen.splits.val)
