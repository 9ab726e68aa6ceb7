"""Which weights are the best so far, and their folder."""

from pathlib import Path

from torch import Tensor, nn

from hftune.core import EvalResult, Progress
from hftune.errors import RunFolderError
from hftune.files import committed_folder, write_json
from hftune.metrics import higher_is_better, is_better
from hftune.model.weights import plain_state, read_weights, save_weights
from hftune.optim.plateau import note_evaluation, plateau_rule
from hftune.recipe.schema import Recipe
from hftune.train.json_record import read_mapping
from hftune.train.plan import best_of
from hftune.train.run_facts import BEST_WEIGHTS

BEST = "best"


def note_result(result: EvalResult, progress: Progress, recipe: Recipe) -> bool:
    """Say whether `result` is the best so far; count evaluations without a gain.

    Side effect: updates `progress`, and ends the run early when the recipe's patience is over.
    Gives the same answer on every rank, for every rank has the same result.
    """
    name = best_of(recipe)
    value = metric_value(result, name)
    best = progress.best_value
    if best is None or is_better(value, best, metric=name):
        progress.best_value = value
        progress.best_step = result.step
        progress.evaluations_without_gain = 0
        return True
    progress.evaluations_without_gain += 1
    patience = recipe.eval.patience
    progress.ended_early = patience is not None and progress.evaluations_without_gain >= patience
    return False


def note_plateau(result: EvalResult, progress: Progress, recipe: Recipe) -> None:
    """Tell the plateau schedule, if the recipe has one, what an evaluation gave.

    Side effect: updates `progress`.
    """
    rule = plateau_rule(recipe.optim.schedule)
    if rule is not None:
        name = rule.metric or best_of(recipe)
        value = metric_value(result, name)
        note_evaluation(rule, progress, value, higher_is_better=higher_is_better(name))


def metric_value(result: EvalResult, name: str) -> float:
    """Give one metric of a result; the loss counts as one.

    A metric that this split leaves undefined counts as the worst value.
    """
    if name == "loss":
        return result.loss
    worst = float("-inf") if higher_is_better(name) else float("inf")
    return result.values.get(name, worst)


def write_best(run: Path, module: nn.Module, result: EvalResult) -> None:
    """Replace `run/best` by these weights in one step. Called by rank 0 only."""
    with committed_folder(run / BEST) as aside:
        save_weights(plain_state(module), aside / "model.safetensors", metadata={})
        write_json(
            aside / "state.json",
            {"step": result.step, "split": result.split, "values": dict(result.values)},
        )


def best_weights(run: Path) -> dict[str, Tensor]:
    """Read the best weights so far, by name, on the CPU. Raises WeightsError."""
    return read_weights(run / BEST_WEIGHTS)


def read_best_step(run: Path) -> int:
    """Give the step at which the best weights were evaluated. Raises RunFolderError."""
    path = run / BEST / "state.json"
    step = read_mapping(path).get("step")
    if not isinstance(step, int):
        raise RunFolderError("this file names no step", found=repr(step), where=str(path))
    return step
