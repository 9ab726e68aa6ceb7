"""When a search ends."""

import pytest

from hftune.tune import Budget, Method
from hftune.tune.search import settled_budget
from hftune.tune.space import read_words

SPACE = read_words(["a=1|2|3", "b=0..3"]).space


@pytest.mark.parametrize(
    ("budget", "sampler", "settled"),
    [
        (Budget(), "tpe", Budget(trials=20)),
        (Budget(trials=7), "random", Budget(trials=7)),
        (Budget(seconds=60.0), "tpe", Budget(seconds=60.0)),
        (Budget(), "grid", Budget(trials=12)),
        (Budget(trials=5), "grid", Budget(trials=5)),
        (Budget(trials=99, seconds=60.0), "grid", Budget(trials=12, seconds=60.0)),
    ],
)
def test_every_budget_has_an_end(budget, sampler, settled):
    assert settled_budget(budget, Method(sampler=sampler), SPACE) == settled
