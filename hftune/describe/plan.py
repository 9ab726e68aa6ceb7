"""A plan before it runs: its numbers, what each phase trains, and the memory that it will hold."""

from collections.abc import Iterator, Sequence

import torch

from hftune.core import Model, RunPlan, Splits
from hftune.describe.description import Cell, Description, Table, listed
from hftune.describe.head import head_start_facts
from hftune.describe.layers import Layers, head_text, share_text
from hftune.describe.phase_tables import PhaseGroups, group_table, phase_table
from hftune.recipe.schema import Recipe
from hftune.recipe.words import component_text, extras
from hftune.train.features_ahead import PhaseFeatures, features_ahead
from hftune.train.frozen import frozen_text
from hftune.train.memory import LEFT_OUT, PhaseMemory
from hftune.train.plan import best_of, loss_of, metrics_of, plan_groups
from hftune.units import format_duration, format_size


def describe_plan(
    plan: RunPlan,
    model: Model,
    splits: Splits,
    *,
    device: torch.device,
    memory: Sequence[PhaseMemory],
) -> Description:
    """Describe a plan for `device`, with the estimated `memory` of each phase."""
    layers = Layers(module=model.module, map=model.layers)
    phases = [
        PhaseGroups(
            at=f"{phase.start} to {phase.stop}",
            warmup=f"{phase.warmup_steps} steps",
            phase=phase,
            groups=plan_groups(plan, model, phase),
        )
        for phase in plan.phases
    ]
    return Description(
        kind="plan",
        name=plan.recipe.run,
        facts=_model_facts(plan, model, layers)
        | head_start_facts(model.weights.head, num_classes=splits.labels.size)
        | _data_facts(splits)
        | _step_facts(plan, device)
        | _optimizer_facts(plan)
        | dict(_extras(plan.recipe, plan))
        | _interval_facts(plan),
        tables=(
            phase_table(phases, layers, place="steps"),
            group_table(phases, layers, peak=plan.peak_lr, place="steps"),
            *_feature_tables(features_ahead(plan, model, splits, device)),
            memory_table(plan, memory),
        ),
    )


def _feature_tables(phases: Sequence[PhaseFeatures]) -> Iterator[Table]:
    """Give a table with a row per phase whose frozen layers may be cut off, if there is one."""
    if not phases:
        return
    rows = tuple(
        (
            f"{phase.start} to {phase.stop}",
            phase.cut,
            phase.width,
            phase.dtype,
            phase.val,
            phase.train,
        )
        for phase in phases
    )
    columns = ("steps", "up to", "numbers per image", "type", "validation", "training")
    yield Table(title="frozen layers, kept once computed", columns=columns, rows=rows)


def memory_table(plan: RunPlan, estimates: Sequence[PhaseMemory]) -> Table:
    """Give one row per phase with its estimate, in sizes that read well."""
    rows = tuple(
        (
            f"{phase.start} to {phase.stop}",
            format_size(estimate.weights),
            format_size(estimate.gradients),
            format_size(estimate.optimizer),
            format_size(estimate.copies),
            "unknown" if estimate.activations is None else format_size(estimate.activations),
            format_size(estimate.total),
        )
        for phase, estimate in zip(plan.phases, estimates, strict=True)
    )
    columns = (
        "steps", "weights", "gradients", "optimizer", "copies", "activations", "in all"
    )  # fmt: skip
    return Table(title="memory per process, estimated", columns=columns, rows=rows)


def _model_facts(plan: RunPlan, model: Model, layers: Layers) -> dict[str, Cell]:
    spec = model.input_spec
    trained = frozenset[str]().union(*(phase.trainable for phase in plan.phases))
    total = sum(layers.sizes.values())
    never = sum(size for name, size in layers.sizes.items() if name not in trained)
    start = model.base.hub_id or model.base.repo_id or "a local file"
    return {
        "backbone": f"{model.base.architecture}, {total:,} parameters",
        "start": start if model.base.pretrained else "random weights",
        "head": head_text(layers),
        "input": f"{spec.channels} x {spec.height} x {spec.width}, {spec.interpolation}, "
        f"centre share {spec.crop_fraction:g}",
        "never trains": f"{never:,} parameters, {share_text(never, total)}; "
        f"batch norm of frozen layers: {plan.recipe.freeze.batch_norm}",
    }


def _data_facts(splits: Splits) -> dict[str, Cell]:
    labels = splits.labels
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    facts: dict[str, Cell] = {"images": ", ".join(f"{part.name} {len(part)}" for part in parts)}
    if labels.numeric:
        facts["number"] = labels.names[0]
    else:
        facts["classes"] = f"{labels.size}: {listed(labels.names)}"
    return facts


def _step_facts(plan: RunPlan, device: torch.device) -> dict[str, Cell]:
    epochs = plan.total_steps / plan.steps_per_epoch
    return {
        "steps": f"{plan.total_steps} = {epochs:.4g} epochs of {plan.steps_per_epoch}",
        "batch": f"{plan.batch_size} = {plan.micro_batch_size} images x {plan.accumulation} "
        f"accumulated x {plan.world_size} processes",
        "precision": f"{plan.precision} on {device.type}",
        "seed": plan.seed,
    }


def _optimizer_facts(plan: RunPlan) -> dict[str, Cell]:
    optim = plan.recipe.optim
    rate = f"{plan.peak_lr:g}"
    if optim.lr_batch_size is not None:
        rate += f", from {optim.lr:g} for {optim.lr_batch_size} images a batch, {optim.lr_scaling}"
    return {
        "optimizer": component_text(optim.method),
        "peak rate": rate,
        "schedule": component_text(optim.schedule),
        "loss": component_text(loss_of(plan.recipe)),
    }


def _extras(recipe: Recipe, plan: RunPlan) -> Iterator[tuple[str, Cell]]:
    """Give what becomes of frozen layers, and what is off unless a recipe asks for it."""
    frozen = frozen_text(plan)
    if frozen is not None:
        yield "frozen layers", frozen
    yield from extras(recipe)
    if plan.swa_start is not None:
        yield "mean of weights", f"from step {plan.swa_start}, every {plan.swa_every} steps"


def _interval_facts(plan: RunPlan) -> dict[str, Cell]:
    recipe = plan.recipe
    best = f"best by {best_of(recipe)}"
    patience = recipe.eval.patience
    if patience is not None:
        best += f", ended after {patience} without a gain"
    saved = (
        f"every {format_duration(plan.save_seconds)}"
        if plan.save_seconds is not None
        else f"every {plan.save_every} steps"
    )
    return {
        "evaluated": f"every {plan.eval_every} steps, {best}",
        "metrics": ", ".join(metrics_of(recipe)),
        "saved": f"{saved}, {recipe.save.keep} kept",
        "logged": f"every {plan.log_every} steps",
        "pushed to": recipe.hub.push_to or "nowhere",
        "memory leaves out": LEFT_OUT,
    }
