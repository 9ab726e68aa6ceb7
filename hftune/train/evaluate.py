"""One pass over a split on all ranks: every example exactly once, whatever the rank count."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hftune.core import EvalResult, InputSpec, LabelSpace, Model, ProblemName, Split
from hftune.data.image_input import eval_transform
from hftune.data.loader import choose_workers, eval_batches
from hftune.data.order import Share
from hftune.losses import LossFunction, make_loss
from hftune.metrics import compute_metrics
from hftune.model.published import Classifier
from hftune.recipe.schema import Recipe
from hftune.train.control import Control
from hftune.train.plan import loss_of, metrics_of, stated_micro_batch
from hftune.train.world import choose_precision, join_world, make_accelerator

# Images per forward pass without gradients where no number is stated: the same on any machine.
MOST_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How to evaluate: settled once per run. `batch_size` is per forward pass and process."""

    accelerator: Accelerator
    input_spec: InputSpec
    labels: LabelSpace
    problem: ProblemName
    metrics: tuple[str, ...]
    loss: LossFunction
    batch_size: int
    workers: int
    layout: torch.memory_format


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Logits [N, K] and targets of a whole split in the order of its rows, on the CPU."""

    logits: Tensor
    targets: Tensor


def evaluate(
    model: Model | Classifier, split: Split, recipe: Recipe, *, step: int = 0
) -> EvalResult:
    """Judge `model` on `split` by the recipe's metrics and precision. Called by every rank.

    Raises DeviceError where the device cannot do the precision.
    """
    judge = ready_judge(model, recipe, labels=split.labels)
    result = judge_module(judge, model.module, split, step=step)
    if result is None:
        raise AssertionError("an evaluation without control was cut short")
    return result


def ask(model: Model | Classifier, split: Split, recipe: Recipe) -> Outputs:
    """Give what `model` says about every example of `split`. Called by every rank.

    Raises DeviceError where the device cannot do the recipe's precision.
    """
    judge = ready_judge(model, recipe, labels=split.labels)
    outputs = compute_logits(judge, model.module, split)
    if outputs is None:
        raise AssertionError("a pass without control was cut short")
    return outputs


def ready_judge(model: Model | Classifier, recipe: Recipe, *, labels: LabelSpace) -> Judge:
    """Settle an evaluation outside a run. Side effect: moves `model` to the device.

    Raises DeviceError where the device cannot do the recipe's precision.
    """
    world = join_world()
    precision = choose_precision(recipe.train.precision, world.device)
    judge = make_judge(make_accelerator(precision), recipe, model.input_spec, labels=labels)
    model.module.to(judge.accelerator.device).to(memory_format=judge.layout)
    return judge


def make_judge(
    accelerator: Accelerator, recipe: Recipe, input_spec: InputSpec, *, labels: LabelSpace
) -> Judge:
    """Settle how every evaluation of a run is made."""
    train = recipe.train
    share = max(1, train.batch_size // accelerator.num_processes)
    usual = min(share, MOST_IMAGES) if train.micro_batch_size == "auto" else share
    return Judge(
        accelerator=accelerator,
        input_spec=input_spec,
        labels=labels,
        problem=recipe.problem,
        metrics=metrics_of(recipe),
        loss=make_loss(loss_of(recipe), problem=recipe.problem, labels=labels),
        batch_size=recipe.eval.batch_size or stated_micro_batch(train) or usual,
        workers=choose_workers(recipe.data.workers, accelerator.num_processes),
        layout=torch.channels_last if train.channels_last else torch.contiguous_format,
    )


def judge_module(
    judge: Judge, module: nn.Module, split: Split, *, step: int, control: Control | None = None
) -> EvalResult | None:
    """Evaluate bare `module`; None when a stop signal cut it short. Called by every rank.

    Side effect: leaves the module in evaluation mode.
    """
    outputs = compute_logits(judge, module, split, control=control)
    return None if outputs is None else judge_outputs(judge, outputs, split, step=step)


def judge_outputs(judge: Judge, outputs: Outputs, split: Split, *, step: int) -> EvalResult:
    """Give the loss and the metrics of what a module said about the whole of `split`."""
    losses = judge.loss(outputs.logits, outputs.targets)
    values = compute_metrics(
        judge.metrics, outputs.logits, outputs.targets, judge.labels, problem=judge.problem
    )
    return EvalResult(
        split=split.name,
        step=step,
        loss=float(losses.mean()),
        values=values.values,
        per_class=values.per_class,
        num_examples=len(split),
        confusion=values.confusion,
    )


def compute_logits(
    judge: Judge, module: nn.Module, split: Split, *, control: Control | None = None
) -> Outputs | None:
    """Run the module over its share of the split and gather all (collective).

    The module is the bare one, so ranks with fewer batches wait for nobody until the end.
    """
    accelerator = judge.accelerator
    share = Share(rank=accelerator.process_index, world_size=accelerator.num_processes)
    batches = eval_batches(
        split,
        eval_transform(judge.input_spec),
        batch_size=judge.batch_size,
        share=share,
        workers=judge.workers,
    )
    most = -(-len(split) // share.world_size)
    rounds = -(-most // judge.batch_size)  # the same on every rank: each round may agree to stop
    logits, targets, rows = [], [], []
    module.eval()
    with torch.inference_mode(), closing(batches):
        for _ in range(rounds):
            batch = next(batches, None)
            if batch is not None:
                inputs = batch.inputs.to(
                    accelerator.device, non_blocking=True, memory_format=judge.layout
                )
                with accelerator.autocast():
                    logits.append(module(inputs).float())
                targets.append(batch.targets)
                rows.append(batch.rows)
            if control is not None and control.agree_to_stop():
                return None
    return _gather(judge, split, _joined(logits), _joined(targets), _joined(rows))


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    return torch.cat(list(parts)).cpu() if parts else None  # host-device sync


def _gather(
    judge: Judge, split: Split, logits: Tensor | None, targets: Tensor | None, rows: Tensor | None
) -> Outputs:
    """Bring all ranks' results together, in the order of the split (collective)."""
    num = len(split)
    all_logits = torch.zeros(num, judge.labels.size)
    all_targets = torch.as_tensor(split.rows.targets)
    seen = torch.zeros(num, dtype=torch.int64)
    if logits is not None and targets is not None and rows is not None:
        all_logits[rows] = logits
        seen[rows] += 1
        if not torch.equal(targets, all_targets[rows]):
            raise AssertionError("a batch carried targets of other rows")
    if judge.accelerator.num_processes > 1:
        # Every row is zero on all ranks but one, so the sum is that rank's value, exactly.
        device = judge.accelerator.device
        all_logits, seen = all_logits.to(device), seen.to(device)
        torch.distributed.all_reduce(all_logits)  # collective
        torch.distributed.all_reduce(seen)  # collective
        all_logits, seen = all_logits.cpu(), seen.cpu()
    if not bool((seen == 1).all()):
        raise AssertionError(f"examples seen {set(seen.tolist())} times instead of once")
    return Outputs(logits=all_logits, targets=all_targets)
