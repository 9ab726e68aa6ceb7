"""By hand, by counting, and by what the overlap of sets must fulfil."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.losses.binary import binary
from hftune.losses.overlap import bce_dice, dice, iou

# Probabilities 3/4, 1/2, 1/4, 1/4 against yes, no, yes, no: overlap 1, sums 7/4 and 2.
LOGITS = torch.tensor([[3.0, 1.0, 1 / 3, 1 / 3]]).log()
TARGETS = torch.tensor([[1.0, 0.0, 1.0, 0.0]])


@pytest.mark.parametrize("smooth", [0.5, 1.0])
def test_dice_by_hand(smooth):
    expected = 1 - (2 + smooth) / (7 / 4 + 2 + smooth)
    assert dice(LOGITS, TARGETS, smooth=smooth).item() == pytest.approx(expected)


@pytest.mark.parametrize("smooth", [0.5, 1.0])
def test_iou_by_hand(smooth):
    expected = 1 - (1 + smooth) / (7 / 4 + 2 - 1 + smooth)
    assert iou(LOGITS, TARGETS, smooth=smooth).item() == pytest.approx(expected)


def test_bce_dice_is_their_sum():
    expected = binary(LOGITS, TARGETS) + 3 * dice(LOGITS, TARGETS, smooth=0.5)
    assert torch.equal(bce_dice(LOGITS, TARGETS, smooth=0.5, dice_weight=3.0), expected)
    assert torch.equal(bce_dice(LOGITS, TARGETS, dice_weight=0.0), binary(LOGITS, TARGETS))


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.lists(st.booleans(), min_size=6, max_size=6),
    right=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_answers_that_are_certain_count_sets(chosen, right):
    logits = torch.tensor([[50.0 if one else -50.0 for one in chosen]])
    a = {k for k, one in enumerate(chosen) if one}
    b = {k for k, one in enumerate(right) if one}
    targets = torch.tensor([right]).float()
    f1 = (2 * len(a & b) + 1) / (len(a) + len(b) + 1)
    jaccard = (len(a & b) + 1) / (len(a | b) + 1)
    assert dice(logits, targets).item() == pytest.approx(1 - f1, abs=1e-6)
    assert iou(logits, targets).item() == pytest.approx(1 - jaccard, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), smooth=st.sampled_from([1e-3, 1.0, 10.0]))
def test_both_lie_between_zero_and_one_and_iou_is_the_stricter(seed, smooth):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(8, 7, generator=generator)
    targets = torch.randint(2, (8, 7), generator=generator).float()
    lower, higher = dice(logits, targets, smooth=smooth), iou(logits, targets, smooth=smooth)
    assert bool((lower >= 0).all())
    assert bool((higher <= 1).all())
    assert bool((higher >= lower - 1e-6).all())


def test_an_image_without_classes_learns_to_choose_none():
    logits = torch.zeros(1, 4, requires_grad=True)
    dice(logits, torch.zeros(1, 4)).sum().backward()
    assert bool((logits.grad > 0).all())


def test_classes_that_are_neither_right_nor_chosen_add_nothing():
    wide = torch.cat([LOGITS, torch.full((1, 100), -60.0)], dim=1)
    targets = torch.cat([TARGETS, torch.zeros(1, 100)], dim=1)
    for loss in (dice, iou):
        assert loss(wide, targets).item() == pytest.approx(loss(LOGITS, TARGETS).item())


@pytest.mark.parametrize("loss", [dice, iou])
def test_shares_of_a_yes_are_not_learnt(loss):
    # Why mixed targets are refused: with a target of 0.3 the loss is least at certainty, not there.
    logits = torch.tensor([[0.3], [0.999]]).logit()
    at_target, at_certainty = loss(logits, torch.full((2, 1), 0.3), smooth=1e-6).tolist()
    assert at_certainty < at_target
