"""The range test: train a copy of the model while the rate rises, and leave no trace of it."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from hftune.core import Model, Phase, RunPlan, Split
from hftune.errors import HftuneError, RequestError
from hftune.optim.rate_range import RateCurve, RateRange, check_range, has_diverged, smoothed
from hftune.recipe.schema import Component
from hftune.train.checkpoint import Memory
from hftune.train.evaluate import make_judge
from hftune.train.guides import open_guides
from hftune.train.plan import plan_groups
from hftune.train.session import Session, open_session
from hftune.train.step import BadStep, train_step
from hftune.train.teacher import Teacher
from hftune.train.world import make_accelerator

Scales = Callable[[float], dict[str, float]]


def range_test(
    plan: RunPlan,
    model: Model,
    split: Split,
    wanted: RateRange,
    *,
    teacher: Teacher | None = None,
) -> RateCurve:
    """Train the first phase of `plan` on the training split, one step per rate of `wanted`.

    The rates are peak rates: groups keep their multiples of it, and the phase its `lr_factor`;
    groups with a rate of their own keep that. Batches, optimizer, loss and precision are those of
    the run, its schedule and warm-ups left out. It ends early when the loss diverges. Called by
    every rank, each of which takes its share. Trains a copy of the module in memory, and puts all
    global random state back; nothing is written. Raises RequestError for a range that cannot be
    tested, and where every group has a rate of its own.
    """
    check_range(wanted)
    phase = replace(plan.phases[0], start=0, stop=wanted.steps, warmup_steps=0)
    scales = _scales(plan, model, phase)
    trial = _trial_plan(plan, phase)
    accelerator = make_accelerator(plan.precision)
    with _random_state_put_back(accelerator.device):
        judge = make_judge(accelerator, plan.recipe, model, labels=split.labels)
        session = open_session(
            accelerator,
            replace(model, module=copy.deepcopy(model.module)),
            phase,
            plan=trial,
            split=split,
            memory=Memory(),
            guides=open_guides(trial, model, judge, teacher),
        )
        session.schedule = wanted.rates().__getitem__  # the trial's peak rate is 1
        try:
            return _curve(session, wanted, scales)
        finally:
            session.close()


def _curve(session: Session, wanted: RateRange, scales: Scales) -> RateCurve:
    """Take a step with each rate until the loss diverges (collective)."""
    rates = wanted.rates()
    losses: list[float] = []
    ends_early = False
    for step, micro_batches in enumerate(session.batches(0, wanted.steps)):
        scale_by_label = scales(rates[step])
        for group in session.optimizer.param_groups:
            group["scale"] = scale_by_label[group["label"]]
        try:
            stats = train_step(session, micro_batches, step=step)
        except BadStep:  # raised on every rank: what diverged for good
            ends_early = True
            break
        # Collective and sync: every rank sees the same loss, and decides the same.
        losses.append(float(session.accelerator.reduce(stats.loss, reduction="sum")))
        ends_early = has_diverged(smoothed(losses, wanted))
        if ends_early:
            break
    if not losses:
        raise HftuneError(
            "the loss is no finite number before the first step",
            remedy="look at the data and the model, for instance with: hftune inspect RECIPE",
        )
    return RateCurve(
        range=wanted,
        rates=rates[: len(losses)],
        losses=tuple(losses),
        smooth=tuple(smoothed(losses, wanted)),
        ends_early=ends_early,
    )


def _trial_plan(plan: RunPlan, phase: Phase) -> RunPlan:
    """Give the plan of one phase with a peak rate of 1, without averages of weights."""
    optim = replace(plan.recipe.optim, schedule=Component(name="constant"), ema=None)
    return replace(
        plan,
        recipe=replace(plan.recipe, optim=optim),
        phases=(phase,),
        total_steps=phase.stop,
        peak_lr=1.0,
        swa_start=None,
        swa_every=None,
    )


def _scales(plan: RunPlan, model: Model, phase: Phase) -> Scales:
    """Give the function from a peak rate to each group's multiple of it, by the group's label.

    Raises RequestError where no group follows the peak rate.
    """
    optim = plan.recipe.optim

    def at(peak: float) -> dict[str, float]:
        # A rate that the recipe states as a number is divided by the peak it is tried beside.
        tried = replace(optim, lr=peak * optim.lr / plan.peak_lr)
        tried_plan = replace(plan, recipe=replace(plan.recipe, optim=tried))
        return {group.label: group.scale for group in plan_groups(tried_plan, model, phase)}

    here, doubled = at(plan.peak_lr), at(2 * plan.peak_lr)
    if all(here[label] != doubled[label] for label in here):
        raise RequestError(
            "there is no rate to find: every group of the first phase has one of its own",
            found=", ".join(here),
            where="optim.rates",
            remedy="give at least one of them as a multiple of optim.lr, such as '1x'",
        )
    if here == doubled:
        return lambda _: here
    return at


@contextlib.contextmanager
def _random_state_put_back(device: torch.device) -> Iterator[None]:
    """Leave every global random generator as it was: Python's, NumPy's and torch's."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    forked = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=forked):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
