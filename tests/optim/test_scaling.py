"""The peak rate for another global batch, against the papers' own numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.optim.scaling import peak_lr
from hftune.recipe.schema import OptimRecipe


@pytest.mark.parametrize(
    ("scaling", "batch_size", "expected"),
    [
        # Goyal et al. 2017: 0.1 for 256 images, 3.2 for 8192.
        ("linear", 256, 0.1),
        ("linear", 8192, 3.2),
        ("linear", 64, 0.025),
        # Krizhevsky 2014: k times the batch, the root of k times the rate.
        ("sqrt", 1024, 0.2),
        ("sqrt", 64, 0.05),
    ],
)
def test_the_rate_follows_the_batch(scaling, batch_size, expected):
    optim = OptimRecipe(lr=0.1, lr_batch_size=256, lr_scaling=scaling)
    assert peak_lr(optim, batch_size=batch_size) == pytest.approx(expected)


@given(batch_size=st.integers(1, 10_000), scaling=st.sampled_from(["linear", "sqrt"]))
def test_without_a_reference_or_at_it_the_rate_is_the_recipes(batch_size, scaling):
    for reference in (None, batch_size):
        optim = OptimRecipe(lr=0.003, lr_batch_size=reference, lr_scaling=scaling)
        assert peak_lr(optim, batch_size=batch_size) == 0.003
