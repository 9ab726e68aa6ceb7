"""Numbers as targets: which columns and cells hold some, and how hold-outs follow them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from hftune.core import Spread
from hftune.data.numbers import check_spread, encode_numbers, read_numbers, spread_of, warn_of_unit
from hftune.data.part import Part
from hftune.data.sources import open_splits
from hftune.data.splits import quantile_bins
from hftune.errors import DataError
from hftune.recipe.schema import Component, DataRecipe
from tests.data.conftest import check_text


def part(values: list[object], feature: object) -> Part:
    features = Features({"image": Value("string"), "age": feature, "height": Value("float32")})
    columns = {"image": ["x"] * len(values), "age": values, "height": [1.5] * len(values)}
    table = Dataset.from_dict(columns, features=features)
    return Part(table=table, image="image", label="age", name="train")


@pytest.mark.parametrize(
    ("values", "feature"),
    [
        ([2.5, -1.0, 0.0], Value("float64")),
        ([2.5, -1.0, 0.0], Value("float16")),
        (["2.5", "-1", " 0e3 "], Value("string")),
    ],
)
def test_numbers_are_read_as_they_are(values: list[object], feature: Value) -> None:
    numbers = read_numbers(part(values, feature))
    assert numbers.column == "age"
    assert numbers.values.tolist() == [2.5, -1.0, 0.0]
    targets = encode_numbers(numbers)
    assert targets.dtype == np.float32
    assert targets.tolist() == [[2.5], [-1.0], [0.0]]
    assert numbers.at(np.array([2, 0])).values.tolist() == [0.0, 2.5]


def test_whole_numbers_are_numbers_and_not_names_of_classes() -> None:
    assert read_numbers(part([10, 9], Value("int64"))).values.tolist() == [10.0, 9.0]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, "no value"),
        ("", "no value"),
        ("nan", "'nan'"),
        ("inf", "'inf'"),
        ("1e39", "'1e39'"),  # more than float32 holds
        ("0,33", "'0,33'"),
        ("old", "'old'"),
    ],
)
def test_a_cell_without_a_finite_number_is_named(cell: str | None, shown: str) -> None:
    with pytest.raises(DataError, match="1 of 3 targets") as caught:
        read_numbers(part(["1", cell, "2"], Value("string")))
    assert caught.value.found == f"train row 1 (x): {shown}"


def test_many_bad_cells_are_counted() -> None:
    values = [float("nan")] * 7 + [1.0]
    with pytest.raises(DataError) as caught:
        read_numbers(part(list(values), Value("float32")))
    check_text(caught.value, "targets_that_are_no_number")


@pytest.mark.parametrize(
    ("values", "feature"),
    [
        ([0, 1], ClassLabel(names=["young", "old"])),
        ([True, False], Value("bool")),
        ([[1.0], [2.0]], List(Value("float32"))),
    ],
)
def test_other_columns_are_refused_with_those_of_numbers(
    values: list[object], feature: object
) -> None:
    with pytest.raises(DataError, match="one number per image") as caught:
        read_numbers(part(values, feature))
    assert caught.value.allowed == "height (float32)"


def test_spread_by_hand() -> None:
    # around 2.5: squares 2.25 + 0.25 + 0.25 + 2.25 = 5 of 4
    targets = np.float32([[4], [1], [2], [3]])
    assert spread_of(targets) == Spread(minimum=1, mean=2.5, maximum=4, sd=(5 / 4) ** 0.5)


def test_equal_targets_are_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="all the same number") as caught:
        check_spread(read_numbers(part([3.0, 3.0], Value("float32"))))
    assert caught.value.found == "3"


def test_each_of_few_values_has_its_own_bin() -> None:
    values = np.array([1.0, 0.0, 1 / 3, 0.0, 2 / 3, 1.0])
    assert quantile_bins(values, 4).tolist() == [3, 0, 1, 0, 2, 3]


def test_bins_of_distinct_values_are_of_equal_size() -> None:
    values = np.random.default_rng(0).permutation(40) ** 3.0
    bins = quantile_bins(values, 5)
    assert np.bincount(bins).tolist() == [8] * 5
    assert bins[values.argmin()] == 0
    assert bins[values.argmax()] == 4


@given(values=st.lists(st.integers(-5, 30), min_size=1, max_size=60), num_bins=st.integers(1, 12))
def test_bins_rise_with_the_values_and_keep_equal_ones_together(
    values: list[int], num_bins: int
) -> None:
    bins = quantile_bins(np.array(values, dtype=np.float64), num_bins)
    assert bins.shape == (len(values),)
    assert set(bins.tolist()) == set(range(bins.max() + 1))
    assert bins.max() < num_bins
    pairs = sorted(zip(values, bins.tolist(), strict=True))
    assert [number for _, number in pairs] == sorted(bins.tolist())
    assert len(dict(pairs)) == len(set(pairs))


@pytest.fixture
def ages(make_folder: Callable[[Mapping[str, int]], Path]) -> DataRecipe:
    """Forty images whose age is their place, in a table."""
    root = make_folder({"people": 40})
    lines = [f"people/{row:03}.png,{row}" for row in range(40)]
    (root / "ages.csv").write_text("\n".join(["image,age", *lines]) + "\n", encoding="utf-8")
    options = {"train": str(root / "ages.csv"), "label": "age"}
    return DataRecipe(source=Component(name="table", options=options), val="20%")


def test_hold_outs_follow_the_target(ages: DataRecipe) -> None:
    splits = open_splits(ages, problem="regression")
    held = splits.val.rows.targets[:, 0]
    # eight rows, one of each eighth of the range
    assert sorted(int(value) // 5 for value in held) == list(range(8))
    assert splits.labels.names == ("age",)
    assert splits.labels.problem == "regression"
    assert splits.labels.counts == ()
    kept = np.setdiff1d(np.arange(40), held)
    assert splits.labels.spread is not None
    assert splits.labels.spread.mean == pytest.approx(kept.mean())
    assert splits.facts.split_rule == (
        "val: 8 of 40 training images (20%), stratified by target, seed 0"
    )


def test_hold_outs_are_the_same_every_time_and_differ_by_seed(ages: DataRecipe) -> None:
    one, other = (open_splits(ages, problem="regression") for _ in range(2))
    seed = open_splits(replace(ages, split_seed=1), problem="regression")
    assert one.val.digest == other.val.digest != seed.val.digest


def test_a_split_without_some_value_is_no_missing_class(ages: DataRecipe) -> None:
    splits = open_splits(replace(ages, val="5%"), problem="regression")
    assert len(splits.val) == 2


def test_class_folders_have_no_numbers(make_folder: Callable[[Mapping[str, int]], Path]) -> None:
    make_folder({"cat": 4, "dog": 4})
    source = Component(name="image_folder", options={"path": "images"})
    with pytest.raises(DataError) as caught:
        open_splits(DataRecipe(source=source), problem="regression")
    check_text(caught.value, "regression_on_classes")


@pytest.mark.parametrize(
    ("sd", "warned"), [(0.001, True), (0.5, False), (20.0, False), (1e3, True)]
)
def test_a_unit_that_is_slow_to_learn_is_told(
    sd: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unit("age", Spread(minimum=0.0, mean=0.0, maximum=1.0, sd=sd))
    assert ("'age'" in caplog.text) == warned
