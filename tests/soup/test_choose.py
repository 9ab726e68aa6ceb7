"""Greedy and uniform soups on numbers set by hand."""

import pytest

from hftune.soup.choose import Decision, choose_all, choose_greedily, rank

SINGLES = {"a": 0.80, "b": 0.90, "c": 0.85, "d": 0.70}


def kitchen(values):
    """Give a taster that knows each mixture's value, and the list of what it was asked."""
    asked = []

    def taste(members):
        asked.append(members)
        return values[members]

    return taste, asked


def test_greedy_takes_what_does_not_make_it_worse():
    """By hand after Recipe 1 of Wortsman et al. 2022: b, then c (better), a (worse), d (equal)."""
    taste, asked = kitchen({("b", "c"): 0.92, ("b", "c", "a"): 0.91, ("b", "c", "d"): 0.92})
    choice = choose_greedily(SINGLES, taste, metric="accuracy")
    assert asked == [("b", "c"), ("b", "c", "a"), ("b", "c", "d")]
    assert choice.members == ("b", "c", "d")
    assert choice.value == 0.92
    assert choice.decisions == (
        Decision(members=("b", "c"), value=0.92, against=0.90, taken=True),
        Decision(members=("b", "c", "a"), value=0.91, against=0.92, taken=False),
        Decision(members=("b", "c", "d"), value=0.92, against=0.92, taken=True),
    )


def test_greedy_gives_the_best_one_alone_where_no_mixture_is_as_good():
    taste, _ = kitchen({("b", other): 0.899 for other in "acd"})
    choice = choose_greedily(SINGLES, taste, metric="accuracy")
    assert (choice.members, choice.value) == (("b",), 0.90)
    assert [decision.taken for decision in choice.decisions] == [False] * 3


def test_uniform_takes_all_or_the_best_one_alone():
    everything = ("b", "c", "a", "d")
    for value, members in ((0.91, everything), (0.90, everything), (0.89, ("b",))):
        taste, asked = kitchen({everything: value})
        choice = choose_all(SINGLES, taste, metric="accuracy")
        assert asked == [everything]
        assert choice.members == members
        assert choice.value == max(value, 0.90)


def test_of_a_loss_the_lowest_is_the_best():
    taste, _ = kitchen({("d", "a"): 0.69, ("d", "a", "c"): 0.75, ("d", "a", "b"): 0.69})
    choice = choose_greedily(SINGLES, taste, metric="loss")
    assert choice.members == ("d", "a", "b")
    assert choice.value == 0.69


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_equal_ones_stay_in_their_order(metric):
    assert rank({"x": 0.5, "y": 0.5, "z": 0.5}, metric=metric) == ("x", "y", "z")
