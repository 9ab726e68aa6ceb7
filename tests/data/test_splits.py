import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.splits import folds, hold_out, stratify

NAMES = st.lists(st.sampled_from("abcde"), min_size=2, max_size=80)


def counts(values: np.ndarray) -> dict[str, int]:
    return dict(zip(*np.unique(values, return_counts=True), strict=True))


@given(names=NAMES, share=st.floats(0.05, 0.6), seed=st.integers(0, 2**31))
def test_every_class_gives_its_share(names: list[str], share: float, seed: int) -> None:
    held = hold_out(stratify(names), share, seed=seed, stream=0)
    assert sorted(set(held.tolist())) == held.tolist()
    classes = np.array(names)
    kept = np.delete(classes, held)
    assert set(kept) == set(names)  # no class is lost to training
    for name in set(names):
        size, taken = names.count(name), counts(classes[held]).get(name, 0)
        assert taken >= 1 or size == 1
        assert taken == 0 or size > 1
        # Largest remainders, unless a bound of another class took or gave a seat.
        assert abs(taken - size * share) < 2 + len(set(names))


def test_shares_are_exact_where_they_divide() -> None:
    names = np.array(["good"] * 60 + ["bad"] * 40)
    held = hold_out(stratify(names.tolist()), 0.25, seed=3, stream=1)
    assert counts(names[held]) == {"good": 15, "bad": 10}


def test_columns_are_balanced_within_each_class() -> None:
    names = ["good"] * 60 + ["bad"] * 40
    kinds = (["mono"] * 3 + ["poly"]) * 25
    held = hold_out(stratify(names, [kinds]), 0.2, seed=0, stream=0)
    pairs = [(names[row], kinds[row]) for row in held]
    expected = {
        ("good", "mono"): 9,
        ("good", "poly"): 3,
        ("bad", "mono"): 6,
        ("bad", "poly"): 2,
    }
    assert {pair: pairs.count(pair) for pair in expected} == expected


def test_seed_and_stream_choose_the_rows() -> None:
    strata = stratify(["a", "b"] * 50)
    drawn = {
        tuple(hold_out(strata, 0.2, seed=seed, stream=stream).tolist())
        for seed in (0, 1)
        for stream in (0, 1)
    }
    assert len(drawn) == 4
    assert tuple(hold_out(strata, 0.2, seed=0, stream=0).tolist()) in drawn


def test_hold_out_is_the_same_in_every_version() -> None:
    # Written down once: a newer library must not move an image between the splits of a run.
    assert hold_out(stratify(["a", "b"] * 8), 0.25, seed=5, stream=0).tolist() == [0, 5, 8, 11]


def test_sets_of_labels_that_occur_once_are_pooled() -> None:
    classes = [("a",)] * 10 + [("a", "b")] * 10 + [("c", str(number)) for number in range(10)]
    held = hold_out(stratify(classes), 0.2, seed=0, stream=0)
    assert [sum(10 * part <= row < 10 * part + 10 for row in held) for part in range(3)] == [2] * 3


@given(names=NAMES, num_folds=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_folds_are_even_in_size_and_in_every_class(
    names: list[str], num_folds: int, seed: int
) -> None:
    if num_folds > len(names):
        num_folds = 2
    fold = folds(stratify(names), num_folds, seed=seed)
    for rows in (np.ones(len(names), bool), *(np.array(names) == name for name in set(names))):
        sizes = np.bincount(fold[rows], minlength=num_folds)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == rows.sum()


def test_folds_are_even_in_every_cell() -> None:
    kinds = ["mono", "poly"] * 15
    fold = folds(stratify(["a"] * 20 + ["b"] * 10, [kinds]), 5, seed=0)
    cells = list(zip(fold.tolist(), ["a"] * 20 + ["b"] * 10, kinds, strict=True))
    assert {cells.count(cell) for cell in set(cells)} == {1, 2}


def test_more_folds_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows cannot be parted into 4 folds"):
        folds(stratify(["a", "b", "c"]), 4, seed=0)
