"""LARS and LAMB as timm has them: recipes reach them, and their step is that of the papers."""

import math

import pytest
import torch
from torch import nn

from hftune.optim.groups import ParamGroup
from hftune.optim.optimizers import OPTIMIZERS, make_optimizer
from hftune.recipe.schema import Component, OptimRecipe

LARS = ("lars", "larc", "nlars", "nlarc")
LAMB = ("lamb", "lambc")

# A weight of norm 5 and a gradient of norm 13.
WEIGHT = (3.0, 4.0)
GRADIENT = (5.0, 12.0)


def one_step(name, *, lr=0.1, decay=0.01, weight=WEIGHT, **options):
    """Give the weight after one step with `GRADIENT`."""
    module = nn.Linear(2, 1, bias=False)
    module.weight.data = torch.tensor([weight])
    group = ParamGroup(label="main", names=("weight",), scale=1.0, weight_decay=decay)
    recipe = OptimRecipe(lr=lr, method=Component(name=name, options=options))
    optimizer = make_optimizer((group,), module, recipe)
    module.weight.grad = torch.tensor([GRADIENT])
    optimizer.step()
    return module.weight[0].tolist()


@pytest.mark.parametrize("name", [*LARS, *LAMB])
def test_each_is_in_the_table(name):
    assert name in OPTIMIZERS


def test_lars_by_hand():
    # You et al. 2017, equation 6: lambda = trust |w| / (|g| + decay |w|), and a step of
    # lr lambda (g + decay w); the first step of the momentum is the gradient itself.
    ratio = 0.02 * 5 / (13 + 0.01 * 5)
    expected = [w - 0.1 * ratio * (g + 0.01 * w) for w, g in zip(WEIGHT, GRADIENT, strict=True)]
    assert one_step("lars", trust_coeff=0.02) == pytest.approx(expected, rel=1e-5)


def test_larc_clips_the_ratio_at_the_rate():
    # LARC never goes beyond the rate itself: the ratio over the rate is cut at 1, which leaves
    # the step of plain SGD where trust |w| / |g| is larger than the rate.
    expected = [w - 0.001 * (g + 0.01 * w) for w, g in zip(WEIGHT, GRADIENT, strict=True)]
    assert one_step("larc", lr=0.001, trust_coeff=1.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["lamb", "lambc"])
def test_lamb_by_hand(name):
    # You et al. 2020, algorithm 2. After clipping the gradient to norm 1 the corrected moments
    # of the first step are g and g^2, so r = (1, 1); the step is lr |w| / |r + decay w| times
    # r + decay w. The clipped form cuts the ratio at 1.
    update = [1 + 0.01 * w for w in WEIGHT]
    ratio = 5 / math.hypot(*update)
    ratio = min(ratio, 1.0) if name == "lambc" else ratio
    expected = [w - 0.1 * ratio * u for w, u in zip(WEIGHT, update, strict=True)]
    assert one_step(name) == pytest.approx(expected, rel=1e-4)


def test_lamb_counts_the_norm_of_the_gradient_only_where_asked():
    # Without clipping the first step is the same, since Adam's first step has no scale.
    assert one_step("lamb", max_grad_norm=None) == pytest.approx(one_step("lamb"), rel=1e-4)
    clipped = one_step("lamb", eps=1.0)
    assert one_step("lamb", eps=1.0, max_grad_norm=None) != pytest.approx(clipped, rel=1e-2)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_without_weight_decay_nothing_is_adapted_unless_asked(name):
    plain = one_step(name, decay=0.0)
    if name == "lars":
        assert plain == pytest.approx([3 - 0.5, 4 - 1.2])
    else:
        assert plain == pytest.approx([3 - 0.1, 4 - 0.1], rel=1e-4)
    assert one_step(name, decay=0.0, always_adapt=True) != pytest.approx(plain, rel=1e-2)


def test_a_weight_of_zero_still_moves():
    # A new head may start at zero, where a ratio of zero would hold it for ever.
    assert one_step("lars", weight=(0.0, 0.0)) == pytest.approx([-0.5, -1.2])
