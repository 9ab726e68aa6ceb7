import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hftune.core import LabelSpace, ProblemName
from hftune.data.labels import (
    RowLabels,
    check_number,
    count_classes,
    encode,
    missing_classes,
    order_names,
    read_labels,
)
from hftune.data.part import Part
from hftune.errors import DataError

CATS = ClassLabel(names=["cat", "dog", "eel"])


def part(values: list[object], feature: object, *, name: str = "train") -> Part:
    features = Features({"image": Value("string"), "label": feature})
    table = Dataset.from_dict({"image": ["x"] * len(values), "label": values}, features=features)
    return Part(table=table, image="image", label="label", name=name)


def read(values: list[object], feature: object, problem: ProblemName = "single_label") -> RowLabels:
    return read_labels(part(values, feature), problem)


def names_of(labels: RowLabels) -> list[tuple[str, ...]]:
    return list(labels.names)


def test_class_features_give_their_names_in_their_own_order() -> None:
    labels = read([2, 0], ClassLabel(names=["zebra", "ape", "eel"]))
    assert names_of(labels) == [("eel",), ("zebra",)]
    assert order_names(labels) == ("zebra", "ape", "eel")


def test_texts_are_sorted() -> None:
    labels = read(["dog", "cat", "dog"], Value("string"))
    assert names_of(labels) == [("dog",), ("cat",), ("dog",)]
    assert order_names(labels) == ("cat", "dog")


@pytest.mark.parametrize(
    ("values", "feature"),
    [([10, 2, 1], Value("int64")), (["10", "2", "1"], Value("string"))],
)
def test_numbers_are_sorted_by_value(values: list[object], feature: Value) -> None:
    assert order_names(read(values, feature)) == ("1", "2", "10")


def test_truth_values_are_two_classes() -> None:
    assert order_names(read([True, False], Value("bool"))) == ("False", "True")


def test_text_is_split_only_where_several_labels_are_asked_for() -> None:
    values: list[object] = ["cat|dog", "eel", "", " dog | dog"]
    assert names_of(read(values[:2], Value("string"))) == [("cat|dog",), ("eel",)]
    several = read(values, Value("string"), "multi_label")
    assert names_of(several) == [("cat", "dog"), ("eel",), (), ("dog",)]


@pytest.mark.parametrize(
    ("values", "element"),
    [
        ([[0, 2], [], [1]], CATS),
        ([["cat", "eel"], [], ["dog"]], Value("string")),
    ],
)
def test_lists_are_several_labels(values: list[object], element: object) -> None:
    labels = read(values, List(element), "multi_label")
    assert names_of(labels) == [("cat", "eel"), (), ("dog",)]


def test_one_class_a_row_may_be_used_with_several_labels() -> None:
    assert names_of(read([1, 0], CATS, "multi_label")) == [("dog",), ("cat",)]


def test_lists_are_refused_for_one_label() -> None:
    with pytest.raises(DataError, match="holds lists") as caught:
        read([[0], [1]], List(CATS))
    assert "problem=multi_label" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("values", "feature", "found"),
    [
        ([0, -1, -1], CATS, "-1 (2 rows)"),
        ([0, None, 1], CATS, "no label (1 row)"),
        ([0, -1], Value("int32"), "-1 (1 row)"),
        (["a", None, " ", ""], Value("string"), "no label (1 row), ' ' (1 row), '' (1 row)"),
    ],
)
def test_rows_without_a_class_are_counted(
    values: list[object], feature: object, found: str
) -> None:
    with pytest.raises(DataError, match="stand for no class") as caught:
        read(values, feature)
    assert caught.value.found == found


def test_labels_out_of_range_are_counted_among_several() -> None:
    with pytest.raises(DataError, match="stand for no class") as caught:
        read([[0, -1], [1]], List(Value("int64")), "multi_label")
    assert caught.value.found == "-1 (1 row)"


@pytest.mark.parametrize("feature", [Value("float32"), {"a": Value("int32")}])
def test_columns_of_other_types_are_refused(feature: object) -> None:
    values: list[object] = [{"a": 1}] if isinstance(feature, dict) else [0.5]
    with pytest.raises(DataError, match="holds no classes"):
        read(values, feature)


def test_other_splits_are_mapped_by_name_whatever_their_own_order() -> None:
    # The same positions mean other classes in a split with its own order of names.
    train = read([0, 1, 2], ClassLabel(names=["cat", "dog", "eel"]))
    val = read([0, 1, 1], ClassLabel(names=["eel", "cat"]))
    space = LabelSpace(names=order_names(train))
    assert encode(train, space).tolist() == [0, 1, 2]
    assert encode(val, space).tolist() == [2, 0, 0]
    assert encode(val, space).dtype == np.int64


def test_texts_and_class_features_meet_by_name() -> None:
    space = LabelSpace(names=order_names(read([0, 1, 2], CATS)))
    assert encode(read(["eel", "cat"], Value("string")), space).tolist() == [2, 0]


def test_unknown_classes_stop() -> None:
    val = read_labels(part(["cat", "fox", "fox"], Value("string"), name="val"), "single_label")
    with pytest.raises(
        DataError, match="split 'val' has classes that the training split"
    ) as caught:
        encode(val, LabelSpace(names=("cat", "dog")))
    assert caught.value.found == "fox (2 images)"
    assert caught.value.allowed == "cat, dog"


def test_declared_names_that_no_row_uses_are_no_unknown_classes() -> None:
    val = read([0], ClassLabel(names=["cat", "fox"]))
    assert encode(val, LabelSpace(names=("cat", "dog"))).tolist() == [0]


def test_several_labels_become_rows_of_zeros_and_ones() -> None:
    labels = RowLabels(part="train", names=[("cat", "eel"), (), ("dog",)])
    targets = encode(labels, LabelSpace(names=("cat", "dog", "eel"), multi=True))
    assert targets.dtype == np.float32
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert count_classes(targets, 3) == (1, 1, 1)


def test_classes_are_counted_also_where_there_is_none() -> None:
    targets = np.array([0, 2, 2])
    space = LabelSpace(names=("cat", "dog", "eel", "fox"))
    assert count_classes(targets, 4) == (1, 0, 2, 0)
    assert missing_classes(targets, space) == ("dog", "fox")


@pytest.mark.parametrize(
    ("names", "problem", "fits"),
    [
        (("a",), "single_label", False),
        ((), "multi_label", False),
        (("a",), "multi_label", True),
        (("a", "b"), "single_label", True),
    ],
)
def test_there_must_be_something_to_tell_apart(
    names: tuple[str, ...], problem: ProblemName, fits: bool
) -> None:
    if fits:
        check_number(names, problem, where="here")
        return
    with pytest.raises(DataError, match="too few classes"):
        check_number(names, problem, where="here")


def test_long_lists_are_cut() -> None:
    labels = RowLabels(part="val", names=[(f"class {number}",) for number in range(20)])
    with pytest.raises(DataError) as caught:
        encode(labels, LabelSpace(names=("a",)))
    assert str(caught.value.found).endswith("class 7 (1 image) and 12 more")
