"""The table of metrics and the classes behind it say the same."""

from hftune.metrics import METRICS, higher_is_better
from hftune.metrics.makers import MAKERS


def test_every_metric_has_a_class_for_each_of_its_problems():
    assert {name: set(makers) for name, makers in MAKERS.items()} == {
        name: set(problems) for name, problems in METRICS.items()
    }


def test_directions_are_those_of_the_classes():
    for name, makers in MAKERS.items():
        for maker in makers.values():
            assert maker.func.higher_is_better is higher_is_better(name)
