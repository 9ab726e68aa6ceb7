"""fp16's ordinary overflow, with torch's own loss scaler on the CPU."""

import math

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer

from hftune.train.overflow import poisoned, skips_text
from hftune.train.session import Session
from hftune.train.step import BadStep, train_step
from tests.drawn import tiny_model
from tests.train.test_finite import Steep, explained, opened


def scaled(scale: float, *, factor: float = 1.0) -> Session:
    """Open a session whose loss is scaled, as in fp16; the model stays in fp32."""
    model = tiny_model("test_vit")
    session = opened(model)
    model.module.head_drop = Steep(factor)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    session.accelerator.scaler = scaler
    session.optimizer = AcceleratedOptimizer(session.optimizer.optimizer, scaler=scaler)
    return session


def first_weights(session: Session) -> torch.Tensor:
    return next(session.module.parameters()).detach().clone()


def test_a_scale_that_is_too_large_costs_steps_and_no_weight():
    session = scaled(2.0**98, factor=1e10)
    before = first_weights(session)
    skipped = 0
    for step, micro_batches in enumerate(session.batches(0, 9)):
        stats = train_step(session, micro_batches, step=step)
        assert bool(stats.loss.isfinite())
        assert stats.skipped != math.isfinite(stats.grad_norm)
        if not stats.skipped:
            break
        skipped += 1
        assert torch.equal(first_weights(session), before)
        assert session.accelerator.scaler.get_scale() == 2.0 ** (98 - skipped)
    assert 1 < skipped < 9
    assert not torch.equal(first_weights(session), before)
    session.close()


def test_an_overflow_with_nothing_left_to_unscale_is_a_real_one():
    session = scaled(1.0, factor=torch.inf)
    assert "head_drop (Steep) gave gradients that are not finite" in str(explained(session))


def test_it_becomes_real_once_the_scale_is_used_up():
    session = scaled(4.0, factor=torch.inf)
    batches = session.batches(0, 9)
    for step in range(2):
        assert train_step(session, next(batches), step=step).skipped
    with pytest.raises(BadStep):
        train_step(session, next(batches), step=2)
    batches.close()
    session.close()


def test_a_loss_that_is_not_finite_is_real_at_any_scale():
    session = scaled(2.0**16)
    with torch.no_grad():
        session.module.get_submodule("head").weight.fill_(3e38)
    assert "head (Linear) gave values" in str(explained(session))


def test_a_norm_beyond_fp32_of_gradients_within_it_is_real():
    text = str(explained(scaled(2.0, factor=1e28)))
    assert "all gradients are finite, but the squares in their norm are not" in text
    assert "e+2" in text.split("the largest is ")[1].split(",")[0]


def test_steps_are_those_without_a_scaler():
    session, plain = scaled(2.0**10), opened(tiny_model("test_vit"))
    norms = [train_step(one, next(one.batches(0, 1)), step=0).grad_norm for one in (session, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_loss_that_is_not_finite_poisons_every_gradient(value):
    weight = torch.ones(3, requires_grad=True)
    poisoned(weight.sum() + value, 2).backward()
    assert weight.grad is not None
    assert bool(weight.grad.isnan().all())


def test_a_finite_loss_is_multiplied_exactly():
    loss = torch.tensor(0.1, requires_grad=True)
    made = poisoned(loss, 3)
    assert torch.equal(made, loss * 3)
    assert made.dtype == torch.float32
    made.backward()
    assert loss.grad == 3


@pytest.mark.parametrize(("count", "words"), [(1, "1 step skipped"), (2, "2 steps skipped")])
def test_skips_are_said_to_be_normal(count, words):
    text = skips_text(count)
    assert text.startswith(words)
    assert "normal while it finds its scale" in text
