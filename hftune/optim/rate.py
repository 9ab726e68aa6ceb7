"""What a phase does to the rate of a step, on top of the schedule: a pure function of the step."""

from hftune.core import Phase
from hftune.optim.schedules import warmup_multiplier


def phase_multiplier(phase: Phase, step: int) -> float:
    """Give what the phase multiplies every rate with at `step`, counted over the whole run.

    That is its `lr_factor`, times a linear rise over its own W warm-up steps: 0.01 + 0.99 s / W at
    the s-th step of the phase, as at the start of a run. Raises ValueError for a step outside it.
    """
    if not phase.start <= step < phase.stop:
        raise ValueError(f"step {step} is not in the phase {phase.start} to {phase.stop}")
    return phase.lr_factor * warmup_multiplier(step - phase.start, phase.warmup_steps)
