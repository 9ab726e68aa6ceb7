"""One pass over a split on all ranks: every example exactly once, whatever the rank count.

An image that cannot be read ends it on all ranks, or is left out and counted, as the recipe says.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hftune.core import BadImage, EvalResult, InputSpec, LabelSpace, Model, ProblemName, Split
from hftune.data.image_input import eval_transform, model_inputs
from hftune.data.loader import eval_batches
from hftune.data.order import Share
from hftune.data.substitute import nothing_left_error
from hftune.losses import LossFunction, make_loss
from hftune.metrics import compute_metrics
from hftune.model.fused import Fuser
from hftune.model.layout import memory_format
from hftune.model.published import Classifier
from hftune.recipe.schema import Recipe
from hftune.train.arithmetic import fast_arithmetic
from hftune.train.bad_images import BadImages
from hftune.train.control import Control
from hftune.train.kept import Kept
from hftune.train.memory_short import evaluation_memory
from hftune.train.plan import loss_of, metrics_of, stated_micro_batch
from hftune.train.prefetch import prefetched
from hftune.train.world import choose_precision, join_world, make_accelerator

# Images per forward pass where neither the recipe nor the device says how many.
MOST_IMAGES = 64
# More gain nothing on a CPU whose allocator keeps its memory, and cost a fifth on any other.
MOST_ON_CPU = 32
MOST_ON_GPU = 128


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How to evaluate: settled once per run. `batch_size` is per forward pass and process.

    None as `workers` means as many as a pass keeps busy.
    """

    accelerator: Accelerator
    input_spec: InputSpec
    labels: LabelSpace
    problem: ProblemName
    metrics: tuple[str, ...]
    loss: LossFunction
    batch_size: int
    workers: int | None
    layout: torch.memory_format
    bad: BadImages
    fuse: Fuser = field(default_factory=Fuser)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Logits [N, K] and targets of a split in the order of its rows, on the CPU.

    N is the size of the split less the images in `bad`, which could not be read.
    """

    logits: Tensor
    targets: Tensor
    bad: tuple[BadImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What this rank has of its share of a split so far, a tensor per batch."""

    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    bad: list[BadImage] = field(default_factory=list)


def evaluate(
    model: Model | Classifier, split: Split, recipe: Recipe, *, step: int = 0
) -> EvalResult:
    """Judge `model` on `split` by the recipe's metrics and precision. Called by every rank.

    Raises DeviceError where the device cannot do the precision.
    """
    judge = ready_judge(model, recipe, labels=split.labels)
    return judge_module(judge, model.module, split, step=step)


def ask(model: Model | Classifier, split: Split, recipe: Recipe) -> Outputs:
    """Give what `model` says about every example of `split`. Called by every rank.

    Raises DeviceError where the device cannot do the recipe's precision.
    """
    judge = ready_judge(model, recipe, labels=split.labels)
    return _uncut_logits(judge, model.module, split)


def ready_judge(model: Model | Classifier, recipe: Recipe, *, labels: LabelSpace) -> Judge:
    """Settle an evaluation outside a run. Side effect: moves `model` to the device.

    Raises DeviceError where the device cannot do the recipe's precision.
    """
    world = join_world()
    precision = choose_precision(recipe.train.precision, world.device)
    judge = make_judge(make_accelerator(precision), recipe, model, labels=labels)
    model.module.to(judge.accelerator.device).to(memory_format=judge.layout)
    return judge


def make_judge(
    accelerator: Accelerator,
    recipe: Recipe,
    model: Model | Classifier,
    *,
    labels: LabelSpace,
    run: Path | None = None,
) -> Judge:
    """Settle how every evaluation of a run is made; `run` is None outside of a run's folder."""
    train = recipe.train
    return Judge(
        accelerator=accelerator,
        input_spec=model.input_spec,
        labels=labels,
        problem=recipe.problem,
        metrics=metrics_of(recipe),
        loss=make_loss(loss_of(recipe), problem=recipe.problem, labels=labels),
        batch_size=images_at_once(
            recipe, processes=accelerator.num_processes, device=accelerator.device
        ),
        workers=recipe.data.workers,
        layout=memory_format(train.channels_last, model.module),
        bad=BadImages(recipe.data.on_bad_image, run),
    )


def images_at_once(recipe: Recipe, *, processes: int, device: torch.device) -> int:
    """Give the images of one forward pass without gradients, which needs less memory than training.

    It follows from the recipe, the processes and the kind of device, never from the memory that is
    free: the last bits of a logit depend on how many images go together.
    """
    train = recipe.train
    if recipe.eval.batch_size is not None:
        return recipe.eval.batch_size
    micro = stated_micro_batch(train) or max(1, train.batch_size // processes)
    if device.type == "cpu":
        return min(micro, MOST_ON_CPU)
    return min(2 * micro, MOST_ON_GPU) if train.micro_batch_size == "auto" else 2 * micro


def judge_module(judge: Judge, module: nn.Module, split: Split, *, step: int) -> EvalResult:
    """Evaluate bare `module` on images. Called by every rank.

    Side effect: leaves the module in evaluation mode.
    """
    return judge_outputs(judge, _uncut_logits(judge, module, split), split, step=step)


def _uncut_logits(judge: Judge, module: nn.Module, split: Split) -> Outputs:
    """Give what a pass gives that no stop signal cuts short (collective)."""
    outputs = compute_logits(judge, module, split)
    if outputs is None:
        raise AssertionError("a pass without control was cut short")
    return outputs


def judge_outputs(judge: Judge, outputs: Outputs, split: Split, *, step: int) -> EvalResult:
    """Give the loss and the metrics of what a module said about `split`."""
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
        num_examples=len(outputs.targets),
        confusion=values.confusion,
        num_bad=len(outputs.bad),
    )


def compute_logits(
    judge: Judge, module: nn.Module, split: Split, *, control: Control | None = None,
    kept: Kept | None = None, told: Callable[[float], None] | None = None,
) -> Outputs | None:  # fmt: skip
    """Run the module over its share of the split and gather all (collective).

    None when a stop signal cut it short, which `control` notices. `kept` is what the module's
    frozen prefix gives for the split; `told` hears of each batch which share 0..1 is done. Side
    effect: leaves the module in evaluation mode.

    What runs is the module with its batch norm folded away, whose logits differ by rounding. It is
    the bare one, so ranks with fewer batches wait for nobody until the end. Once all images were
    tried, raises DataError on every rank where bad ones stop the run or none is good.
    """
    accelerator = judge.accelerator
    share = Share(rank=accelerator.process_index, world_size=accelerator.num_processes)
    batches = (
        kept.eval_batches(split, batch_size=judge.batch_size, share=share)
        if kept is not None
        else eval_batches(
            split,
            eval_transform(judge.input_spec),
            batch_size=judge.batch_size,
            share=share,
            workers=judge.workers,
        )
    )
    most = -(-len(split) // share.world_size)
    rounds = -(-most // judge.batch_size)  # the same on every rank: each round may agree to stop
    own = _Own()
    module.eval()
    forward: nn.Module | None = None if kept is None else kept.rest(module)
    with torch.inference_mode(), closing(prefetched(batches, accelerator.device)) as batches:
        for turn in range(rounds):
            if told is not None:
                told(turn / rounds)
            batch = next(batches, None) if control is None else control.next_or_none(batches)
            own.bad.extend(() if batch is None else batch.bad)
            if batch is not None and len(batch.rows) > 0:
                inputs = model_inputs(
                    batch.inputs, judge.input_spec, device=accelerator.device, layout=judge.layout
                )
                if forward is None:  # only here, while workers make the next batches
                    forward = judge.fuse(module, inputs.shape[1:])
                with (
                    fast_arithmetic(accelerator.device),
                    evaluation_memory(accelerator.device, judge.batch_size),
                    accelerator.autocast(),
                ):
                    own.logits.append(forward(inputs).float())
                own.targets.append(batch.targets)
                own.rows.append(batch.rows)
            if control is not None and control.agree_to_stop():
                return None
    return _gather(judge, split, own)


def _gather(judge: Judge, split: Split, own: _Own) -> Outputs:
    """Bring all ranks' results together, in the order of the split (collective)."""
    num = len(split)
    logits = torch.zeros(num, judge.labels.size)
    targets = torch.as_tensor(split.rows.targets)
    seen = torch.zeros(2, num, dtype=torch.int64)  # how often each row was judged, and found bad
    if own.rows:
        rows = torch.cat(own.rows)
        logits[rows] = torch.cat(own.logits).cpu()  # host-device sync
        seen[0, rows] += 1
        if not torch.equal(torch.cat(own.targets), targets[rows]):
            raise AssertionError("a batch carried targets of other rows")
    for one in own.bad:
        seen[1, one.row] += 1
    if judge.accelerator.num_processes > 1:
        # Every row is zero on all ranks but one, so the sum is that rank's value, exactly.
        device = judge.accelerator.device
        logits, seen = logits.to(device), seen.to(device)
        torch.distributed.all_reduce(logits)  # collective
        torch.distributed.all_reduce(seen)  # collective
        logits, seen = logits.cpu(), seen.cpu()
    if not bool((seen.sum(dim=0) == 1).all()):
        raise AssertionError(f"examples seen {set(seen.sum(dim=0).tolist())} times instead of once")
    if not bool(seen[1].any()):  # the same on every rank
        return Outputs(logits=logits, targets=targets)
    bad = judge.bad.settle(split, own.bad)
    if len(bad) == num:
        raise nothing_left_error(split, bad)
    judged = seen[0].bool()
    return Outputs(logits=logits[judged], targets=targets[judged], bad=bad)
