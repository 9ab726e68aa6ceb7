"""What is wrong with optim.swa is said with all other problems of the recipe."""

from dataclasses import replace

import pytest

from hftune.recipe.rules import broken_rules
from hftune.recipe.schema import SWARecipe, TrainRecipe
from tests.drawn import tiny_recipe


def findings(start=None, every="1 epoch", *, length="10 epochs", ema=None):
    recipe = tiny_recipe(train=TrainRecipe(length=length))
    swa = SWARecipe(start=start, every=every)
    recipe = replace(recipe, optim=replace(recipe.optim, swa=swa, ema=ema))
    return {".".join(map(str, path)): text for path, text in broken_rules(recipe)}


@pytest.mark.parametrize(
    ("start", "every", "length"),
    [
        ("75%", "1 epoch", "10 epochs"),
        ("9 epochs", "10%", "10 epochs"),
        ("90%", "10%", "500 steps"),
        ("400 steps", "100 steps", "500 steps"),
        ("400 steps", "9 epochs", "10 epochs"),  # the plan will know
        (None, "1 epoch", "10 epochs"),
    ],
)
def test_what_can_be_carried_out_is_let_through(start, every, length):
    assert findings(start, every, length=length) == {}


@pytest.mark.parametrize(
    ("start", "length"),
    [("100%", "3 epochs"), ("10 epochs", "10 epochs"), ("501 steps", "500 steps")],
)
def test_a_start_at_the_end_or_after_it_is_refused(start, length):
    found = findings(start, length=length)
    assert list(found) == ["optim.swa.start"]
    assert found["optim.swa.start"].startswith(f"'{start}' is the end of the run, or after it")


@pytest.mark.parametrize(
    ("start", "every", "length"),
    [("75%", "1 epoch", "3 epochs"), ("80%", "21%", "7 steps"), ("8 epochs", "30%", "10 epochs")],
)
def test_an_interval_longer_than_what_remains_is_refused(start, every, length):
    found = findings(start, every, length=length)
    assert list(found) == ["optim.swa.every"]
    assert f"'{every}' is longer than what remains of '{length}' after '{start}'" in str(found)


def test_one_average_at_a_time():
    found = findings("75%", ema=0.99)
    assert list(found) == ["optim.swa.start"]
    assert "optim.ema averages as well" in found["optim.swa.start"]


def test_an_interval_without_a_start_is_no_wish():
    assert list(findings(None, "5%")) == ["optim.swa.every"]
