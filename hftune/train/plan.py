"""Recipe + data + model + processes -> RunPlan: every number settled before the first batch."""

from dataclasses import asdict

from hftune.core import Model, Phase, Progress, RunPlan, Splits
from hftune.data.class_weights import class_weights
from hftune.data.mix import check_mix
from hftune.data.order import make_order
from hftune.errors import PlanError
from hftune.files import digest_json
from hftune.losses import check_loss, check_mixed_loss, make_loss
from hftune.metrics import check_metrics
from hftune.optim.groups import ParamGroup, make_groups
from hftune.optim.optimizers import make_optimizer
from hftune.optim.phases import make_phases
from hftune.optim.scaling import peak_lr
from hftune.optim.schedules import Schedule, make_schedule
from hftune.problems import PROBLEMS
from hftune.recipe.forms import is_duration
from hftune.recipe.schema import Component, Recipe, SaveRecipe, TrainRecipe
from hftune.recipe.show import digest as recipe_digest
from hftune.train.average import settle_swa
from hftune.train.compiled import check_compiler
from hftune.train.depth_rates import rates_by_depth
from hftune.train.trackers import check_trackers
from hftune.train.world import World, choose_precision
from hftune.units import parse_duration, parse_span


def make_plan(recipe: Recipe, model: Model, splits: Splits, world: World) -> RunPlan:
    """Settle steps, batches, phases and intervals.

    Raises PlanError where the recipe cannot be carried out with this data, model and number of
    processes, and DeviceError where the device cannot do the precision.
    """
    check_trackers(recipe.track.trackers)
    micro_batch_size = settle_micro_batch(recipe.train, world.size)
    check_mix(recipe.data.mix, micro_batch_size=micro_batch_size)
    steps_per_epoch = _steps_per_epoch(len(splits.train), recipe.train.batch_size)
    total_steps = parse_span(recipe.train.length).steps(steps_per_epoch=steps_per_epoch)
    total_steps = max(1, total_steps)
    phases = make_phases(
        recipe,
        model.layers,
        [name for name, _ in model.module.named_parameters()],
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )
    check_components(recipe, model, splits)
    make_schedule(recipe.optim.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    save_seconds, save_every = _saving(recipe.save, steps_per_epoch)
    swa_start, swa_every = settle_swa(
        recipe.optim.swa, steps_per_epoch=steps_per_epoch, total_steps=total_steps
    )
    precision = choose_precision(recipe.train.precision, world.device)
    if recipe.train.compile == "on":
        check_compiler(world.device)
    numbers = {
        "recipe": recipe_digest(recipe),
        "train": splits.train.digest,
        "val": splits.val.digest,
        "steps": total_steps,
        "phases": [[phase.start, phase.stop, sorted(phase.trainable)] for phase in phases],
        "precision": precision,
    }
    return RunPlan(
        recipe=recipe,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=recipe.train.batch_size,
        micro_batch_size=micro_batch_size,
        accumulation=recipe.train.batch_size // (micro_batch_size * world.size),
        world_size=world.size,
        precision=precision,
        peak_lr=peak_lr(recipe.optim, batch_size=recipe.train.batch_size),
        phases=phases,
        log_every=_interval(recipe.track.every, steps_per_epoch, total_steps),
        eval_every=_interval(recipe.eval.every, steps_per_epoch, total_steps),
        save_seconds=save_seconds,
        save_every=save_every,
        seed=recipe.train.seed,
        swa_start=swa_start,
        swa_every=swa_every,
        compiled=recipe.train.compile == "on",
        digest=digest_json(numbers),
    )


def next_phase(plan: RunPlan, progress: Progress) -> int | None:
    """Give the number of the phase that holds the next step, or that owes its last evaluation."""
    if progress.ended_early and not progress.owes_evaluation:
        return None
    for number, phase in enumerate(plan.phases):
        if progress.step < phase.stop or (progress.step == phase.stop and progress.owes_evaluation):
            return number
    return None


def due(step: int, every: int, plan: RunPlan) -> bool:
    """Say whether something with an interval of `every` steps happens after `step` steps."""
    return step % every == 0 or step == plan.total_steps


def plan_schedule(plan: RunPlan) -> Schedule:
    """Give the function from a step to the multiplier of the peak learning rate."""
    return make_schedule(
        plan.recipe.optim.schedule,
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
    )


def plan_groups(plan: RunPlan, model: Model, phase: Phase) -> tuple[ParamGroup, ...]:
    """Give the parameter groups of one phase."""
    return make_groups(plan.recipe.optim, model.layers, model.module, trainable=phase.trainable)


def plan_to_json(plan: RunPlan, model: Model) -> dict[str, object]:
    """Give the plan as JSON values, with each phase's groups in short."""
    values = asdict(plan)
    del values["recipe"]
    sizes = {name: value.numel() for name, value in model.module.named_parameters()}
    values["phases"] = [
        {
            "label": phase.label,
            "start": phase.start,
            "stop": phase.stop,
            "lr_factor": phase.lr_factor,
            "warmup_steps": phase.warmup_steps,
            "trainable_parameters": sum(sizes[name] for name in phase.trainable),
            "groups": [
                {
                    "label": group.label,
                    "tensors": len(group.names),
                    "parameters": sum(sizes[name] for name in group.names),
                    "lr": plan.peak_lr * group.scale,
                    "weight_decay": group.weight_decay,
                }
                for group in plan_groups(plan, model, phase)
            ],
            "depths": rates_by_depth(plan_groups(plan, model, phase), model),
        }
        for phase in plan.phases
    ]
    values["parameters"] = sum(sizes.values())
    return values


def check_components(recipe: Recipe, model: Model, splits: Splits) -> None:
    """Build every component once on nothing, so that a wrong one is found before training."""
    loss = make_loss(loss_of(recipe), problem=recipe.problem, labels=splits.labels)
    check_loss(loss, problem=recipe.problem, num_classes=splits.labels.size)
    if recipe.data.mix.is_on:
        check_mixed_loss(loss, num_classes=splits.labels.size)
    if recipe.data.class_weights is not None:
        class_weights(recipe.data.class_weights, splits.labels)
    make_order(
        splits.train,
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
        balance=recipe.data.balance,
    )
    check_metrics(metrics_of(recipe), splits.labels, problem=recipe.problem)
    everything = frozenset(name for name, _ in model.module.named_parameters())
    groups = make_groups(recipe.optim, model.layers, model.module, trainable=everything)
    make_optimizer(groups, model.module, recipe.optim)


def loss_of(recipe: Recipe) -> Component:
    """Give the recipe's loss, or the problem's own."""
    return recipe.loss if recipe.loss is not None else PROBLEMS[recipe.problem].default_loss


def metrics_of(recipe: Recipe) -> tuple[str, ...]:
    """Give the metrics to compute: the recipe's or the problem's, and the one that picks."""
    names = recipe.eval.metrics or PROBLEMS[recipe.problem].default_metrics
    best = best_of(recipe)
    return tuple(names) if best in (*names, "loss") else (*names, best)


def best_of(recipe: Recipe) -> str:
    """Give the name of the metric that picks the best weights."""
    return recipe.eval.best or PROBLEMS[recipe.problem].best_metric


def stated_micro_batch(train: TrainRecipe) -> int | None:
    """Give the micro-batch that the recipe states as a number; None for null and auto."""
    return train.micro_batch_size if isinstance(train.micro_batch_size, int) else None


def micro_batch_sizes(batch_size: int, world_size: int) -> list[int]:
    """Give the sizes of a micro-batch that fill the global batch evenly, smallest first."""
    return [size for size in range(1, batch_size + 1) if batch_size % (size * world_size) == 0]


def settle_micro_batch(train: TrainRecipe, world_size: int) -> int:
    """Give images per forward pass and process: for null and auto the largest that divides.

    What auto may have to be lowered to is found by `fit_micro_batch`, which needs the plan. Raises
    PlanError where the batch does not divide.
    """
    stated = stated_micro_batch(train)
    fits = micro_batch_sizes(train.batch_size, world_size)
    if fits and (stated is None or stated in fits):
        return stated or fits[-1]
    given = "" if stated is None else f" x micro_batch_size {stated}"
    if fits:
        allowed = "train.micro_batch_size of " + ", ".join(map(str, fits))
    else:
        lower = max(world_size, train.batch_size // world_size * world_size)
        allowed = (
            f"train.batch_size of {lower}, {lower + world_size} or any multiple of {world_size}"
        )
    raise PlanError(
        "the batch does not divide evenly",
        found=f"train.batch_size {train.batch_size} over {world_size} processes{given}",
        allowed=allowed,
        remedy="change one of them; the global batch is what decides the result",
    )


def _steps_per_epoch(num_rows: int, batch_size: int) -> int:
    if num_rows < batch_size:
        raise PlanError(
            "one batch needs more images than the training split has",
            found=f"train.batch_size {batch_size}, {num_rows} training images",
            allowed=f"train.batch_size of 1 to {num_rows}",
        )
    return num_rows // batch_size


def _interval(text: str, steps_per_epoch: int, total_steps: int) -> int:
    span = parse_span(text)
    return max(1, span.steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps))


def _saving(save: SaveRecipe, steps_per_epoch: int) -> tuple[float | None, int | None]:
    """Give the seconds or the steps between checkpoints; one of them is None."""
    if is_duration(save.every):
        return parse_duration(save.every), None
    return None, _interval(save.every, steps_per_epoch, 0)
