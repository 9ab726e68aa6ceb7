"""Against timm under the same draw, and by counting pixels of images that are all one value."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data import Mixup
from torch.nn import functional

from hftune.data.augment import python_random
from hftune.data.mix import check_mix, mix_batch
from hftune.errors import PlanError
from hftune.recipe.schema import MixRecipe

BOTH = {"mixup": 0.4, "cutmix": 1.0}
DRAWS = ("batch", "pair", "image")


def batch(*, num: int = 6, num_classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num, 3, 16, 20, generator=generator)
    return inputs, torch.randint(num_classes, (num,), generator=generator)


def plain_images(num: int) -> torch.Tensor:
    """Image i is i everywhere, so that a pixel says which image it comes from."""
    return torch.arange(num).float().reshape(-1, 1, 1, 1).expand(num, 3, 16, 20)


def mix(recipe: MixRecipe, *, seed: int = 0, num: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix plain images, each a class of its own: the targets are the shares of the images."""
    return mix_batch(plain_images(num), torch.arange(num), recipe, num_classes=num, seed=seed)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, BOTH])
def test_agrees_with_timm_under_the_same_draw(alphas, draw):
    inputs, targets = batch()
    recipe = MixRecipe(**alphas, p=0.8, cutmix_share=0.3, draw=draw)
    mixer = Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=0.8,
        switch_prob=0.3,
        mode={"image": "elem"}.get(draw, draw),
        label_smoothing=0.0,
        num_classes=5,
    )
    for seed in range(8):
        with python_random(np.random.Generator(np.random.PCG64([4, seed]))):
            expected_inputs, expected_targets = mixer(inputs.clone(), targets)
        mixed, soft = mix_batch(inputs, targets, recipe, num_classes=5, seed=seed)
        assert torch.equal(mixed, expected_inputs)
        assert torch.allclose(soft, expected_targets, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    draw=st.sampled_from(DRAWS),
    mixup=st.sampled_from([0.0, 0.2, 8.0]),
    num=st.sampled_from([2, 4, 6]),
)
def test_a_target_is_what_the_pixels_are(seed, draw, mixup, num):
    recipe = MixRecipe(mixup=mixup, cutmix=1.0, p=0.9, draw=draw)
    mixed, soft = mix(recipe, seed=seed, num=num)
    assert soft.dtype == torch.float32
    assert torch.allclose(soft.sum(1), torch.ones(num))
    assert bool((soft >= 0).all())
    # The mean pixel is the mean of the images, weighed by their shares; also where a window was
    # cut off at the border.
    expected = (soft * torch.arange(num)).sum(1)
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), expected, atol=1e-4)


def test_cutmix_pastes_one_window_and_mixup_blends():
    for seed in range(20):
        mixed, soft = mix(MixRecipe(cutmix=1.0), seed=seed)
        pixels = mixed[1, 0]
        from_other = pixels == 4
        assert set(pixels.unique().tolist()) <= {1.0, 4.0}
        rows, columns = from_other.any(1).sum(), from_other.any(0).sum()
        assert from_other.sum() == rows * columns  # a rectangle
        assert from_other.float().mean().item() == pytest.approx(soft[1, 4].item())
        blended, soft = mix(MixRecipe(mixup=0.4), seed=seed)
        assert blended[1].unique().numel() == 1
        assert blended[1, 0, 0, 0].item() == pytest.approx(soft[1, 1] + 4 * soft[1, 4].item())


def test_what_is_drawn_once():
    own = {draw: mix(MixRecipe(mixup=1.0, draw=draw))[1].diagonal().tolist() for draw in DRAWS}
    assert len(set(own["batch"])) == 1
    assert own["pair"] == own["pair"][::-1]
    assert len(set(own["pair"])) == 3
    assert len(set(own["image"])) == 6


def test_the_share_of_batches_that_are_mixed():
    untouched = sum(
        torch.equal(mix(MixRecipe(mixup=1.0, p=0.25), seed=seed)[0], plain_images(6))
        for seed in range(400)
    )
    assert 0.68 < untouched / 400 < 0.82  # 0.75, and four standard deviations


@pytest.mark.parametrize(("cutmix_share", "blends"), [(0.0, True), (1.0, False)])
def test_which_of_both_is_taken(cutmix_share, blends):
    recipe = MixRecipe(**BOTH, cutmix_share=cutmix_share)
    for seed in range(10):
        values = mix(recipe, seed=seed)[0][1].unique()
        assert (values.numel() == 1 and values.item() not in (1, 4)) == blends


@pytest.mark.parametrize("draw", DRAWS)
def test_several_labels_are_mixed_by_the_same_shares(draw):
    recipe = MixRecipe(**BOTH, draw=draw)
    answers = torch.randint(2, (6, 5), generator=torch.Generator().manual_seed(1)).float()
    _, shares = mix(recipe, seed=3)
    _, soft = mix_batch(plain_images(6), answers, recipe, num_classes=5, seed=3)
    assert torch.allclose(soft, shares @ answers, atol=1e-6)


def test_mixing_is_a_function_of_the_seed_and_touches_nothing_else():
    inputs, targets = batch()
    before = inputs.clone()
    recipe = MixRecipe(**BOTH)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = mix_batch(inputs, targets, recipe, num_classes=5, seed=7)
    again = mix_batch(inputs, targets, recipe, num_classes=5, seed=7)
    other = mix_batch(inputs, targets, recipe, num_classes=5, seed=8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(inputs, before)
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())


def test_memory_layout_is_kept():
    inputs = batch()[0].to(memory_format=torch.channels_last)
    for draw in DRAWS:
        mixed, _ = mix_batch(
            inputs, torch.arange(6), MixRecipe(**BOTH, draw=draw), num_classes=6, seed=0
        )
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_mixing_is_the_same_in_every_version():
    # Written down once; a resumed run on newer libraries must mix as before.
    _, soft = mix(MixRecipe(mixup=0.4), seed=11)
    assert soft[0, 0].item() == pytest.approx(0.0557618, abs=1e-7)
    _, soft = mix(MixRecipe(cutmix=1.0), seed=11)
    assert soft[0, 0].item() == pytest.approx(0.5937500, abs=1e-7)


def test_cross_entropy_of_mixed_targets_is_the_mix_of_both():
    # Zhang et al. 2018: the loss of a mixed target is lambda and 1 - lambda of the two losses.
    inputs, targets = batch()
    _, soft = mix_batch(inputs, targets, MixRecipe(mixup=1.0), num_classes=5, seed=2)
    _, shares = mix(MixRecipe(mixup=1.0), seed=2)
    own = shares.diagonal()
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(4))
    both = [
        functional.cross_entropy(logits, one, reduction="none")
        for one in (targets, targets.flip(0))
    ]
    expected = own * both[0] + (1 - own) * both[1]
    result = functional.cross_entropy(logits, soft, reduction="none")
    assert torch.allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 15])
def test_an_odd_micro_batch_is_refused_by_the_plan(size):
    with pytest.raises(PlanError) as caught:
        check_mix(MixRecipe(mixup=0.2), micro_batch_size=size)
    assert caught.value.found == f"{size} images per micro-batch"
    check_mix(MixRecipe(mixup=0.2), micro_batch_size=size + 1)
    check_mix(MixRecipe(), micro_batch_size=size)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match="5 images"):
        mix(MixRecipe(mixup=0.2), num=5)
    with pytest.raises(ValueError, match="6 images"):
        mix(MixRecipe(), num=6)
