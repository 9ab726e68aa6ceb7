"""Which weights are the best so far, and their folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from hftune.train.evaluate import Outputs
    from hftune.train.surroundings import Surroundings

BEST = "best"


@dataclass(kw_only=True)
class BestOutputs:
    """What the best weights said about the validation split, while the process that asked lives.

    So the end of a run need not ask again. `outputs` is None until an evaluation of this process
    is the best, and where that one was over kept features: they differ from images by rounding, and
    results must not depend on where a run was resumed. `step` is that evaluation's.
    """

    outputs: "Outputs | None" = None
    step: int = 0

    def at(self, step: int) -> "Outputs | None":
        """Give what they said where they are those of `step`: a resumed run may not have asked."""
        return self.outputs if self.step == step else None


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


def keep_best(
    around: "Surroundings", module: nn.Module, outputs: "Outputs | None", result: EvalResult
) -> None:
    """Make `module` the best so far. Called by every rank; rank 0 writes its weights.

    `outputs` is what it said about the images of the validation split, None where that is unknown.
    """
    around.best.outputs, around.best.step = outputs, result.step
    if around.judge.accelerator.is_main_process:
        write_best(around.run, module, result)


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
