"""The most that a run will hold on its disk, asked for before anything is trained."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from hftune.core import Model, Phase, RunPlan, Split, Splits
from hftune.files import check_room
from hftune.recipe.schema import OptimRecipe
from hftune.train.best import BEST
from hftune.train.checkpoint import CHECKPOINTS
from hftune.train.memory import num_bytes, optimizer_bytes
from hftune.train.run_folder import all_splits

# Bytes: what a tensor's entry in a safetensors header takes, what a line of metrics.jsonl takes,
# and all pictures, tables, samples and records of a run together.
_ENTRY = 256
_LINE = 512
_RECORDS = 2 * 2**20


def check_space(run: Path, *, model: Model, plan: RunPlan, splits: Splits) -> None:
    """Raise DiskError where the run's disk cannot hold what the run will still write there.

    Also where the folder cannot be written. Called by rank 0 only, before training.
    """
    needed = run_bytes(model, plan, splits) - _held(run / CHECKPOINTS) - _held(run / BEST)
    check_room(run, needed=needed, purpose="the checkpoints, best weights and artifact of this run")


def run_bytes(model: Model, plan: RunPlan, splits: Splits) -> int:
    """Give the most bytes that a run's folder holds at any time.

    That is while one checkpoint more than are kept is written, or, where checkpoints are as small
    as the weights, while the artifact is.
    """
    keep = plan.recipe.save.keep
    weights = _file_bytes(model.module.state_dict().values())
    checkpoint = checkpoint_bytes(model, plan)
    most = max((keep + 1) * checkpoint + weights, keep * checkpoint + 2 * weights)
    predictions = sum(_prediction_bytes(split) for split in all_splits(splits)[1:])
    lines = plan.total_steps // plan.log_every * _LINE
    return most + predictions + lines + _RECORDS


def checkpoint_bytes(model: Model, plan: RunPlan) -> int:
    """Give the size of the largest checkpoint: weights, the optimizer's state, averages."""
    optim: OptimRecipe = plan.recipe.optim
    weights = _file_bytes(model.module.state_dict().values())
    parameters = list(model.module.parameters())
    total = weights + optimizer_bytes(plan, model, _largest_phase(model, plan))
    total += 4 * _ENTRY * len(parameters)
    if optim.ema is not None:
        total += weights
    if optim.swa.start is not None:
        total += sum(_wide_bytes(parameter) for parameter in parameters)
    return total


def _largest_phase(model: Model, plan: RunPlan) -> Phase:
    """Give the phase that trains the most values, which has the most moments."""
    sizes = {name: value.numel() for name, value in model.module.named_parameters()}
    return max(plan.phases, key=lambda phase: sum(sizes[name] for name in phase.trainable))


def _file_bytes(tensors: Iterable[Tensor]) -> int:
    """Give the size of a safetensors file with these values."""
    listed = list(tensors)
    return num_bytes(listed) + _ENTRY * len(listed)


def _wide_bytes(tensor: Tensor) -> int:
    """Give the bytes of a mean over values of this tensor's type, in float32 or wider."""
    return tensor.numel() * torch.promote_types(tensor.dtype, torch.float32).itemsize


def _prediction_bytes(split: Split) -> int:
    """Give the size of what the best weights say about a split, with its targets."""
    return len(split) * split.labels.size * 4 + split.rows.targets.nbytes


def _held(folder: Path) -> int:
    """Give the bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
