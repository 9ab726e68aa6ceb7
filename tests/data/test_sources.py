import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hftune.core import Splits
from hftune.data.sources import SOURCES, open_splits
from hftune.errors import ComponentError, DataError
from hftune.recipe.schema import Component, DataRecipe
from tests.data.conftest import check_text

Make = Callable[[Mapping[str, int]], Path]

FOLDER = DataRecipe(source=Component(name="image_folder", options={"path": "images"}))
SPLIT = {"train/cat": 8, "train/dog": 6, "val/cat": 2, "val/dog": 2, "test/cat": 1, "test/dog": 2}


def keys(splits: Splits, name: str) -> list[str]:
    split = getattr(splits, name)
    return [split.rows.key(row) for row in range(len(split))]


def test_splits_of_the_source_are_taken_as_they_are(make_folder: Make) -> None:
    make_folder(SPLIT)
    splits = open_splits(FOLDER, problem="single_label")
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (14, 4, 3)
    assert splits.labels.names == ("cat", "dog")
    assert splits.labels.counts == (8, 6)
    assert splits.val.labels == splits.labels
    assert splits.val.rows.targets.tolist() == [0, 0, 1, 1]
    assert splits.val.rows.image(0).size == (20, 30)
    assert splits.facts.path == "images"
    assert splits.facts.split_rule == "test: the source's own 'test'; val: the source's own 'val'"


def test_absent_splits_are_carved_from_training(make_folder: Make) -> None:
    make_folder({"cat": 40, "dog": 20})
    splits = open_splits(replace(FOLDER, test="25%", val="20%"), problem="single_label")
    assert splits.test is not None
    together = [*keys(splits, "train"), *keys(splits, "val"), *keys(splits, "test")]
    assert len(together) == len(set(together)) == 60
    assert np.bincount(splits.test.rows.targets).tolist() == [10, 5]
    assert np.bincount(splits.val.rows.targets).tolist() == [6, 3]
    assert splits.labels.counts == (24, 12)
    assert splits.facts.split_rule == (
        "test: 15 of 60 training images (25%), stratified by label, seed 0;"
        " val: 9 of 45 training images (20%), stratified by label, seed 0"
    )


def test_without_a_share_there_is_no_test_split(make_folder: Make) -> None:
    make_folder({"cat": 10, "dog": 10})
    assert open_splits(FOLDER, problem="single_label").test is None


def test_same_data_and_seed_give_the_same_splits_and_digests(make_folder: Make) -> None:
    make_folder({"cat": 20, "dog": 20})
    one, other = (open_splits(FOLDER, problem="single_label") for _ in range(2))
    seed = open_splits(replace(FOLDER, split_seed=1), problem="single_label")
    assert keys(one, "val") == keys(other, "val") != keys(seed, "val")
    assert one.train.digest == other.train.digest != seed.train.digest
    assert one.train.digest != one.val.digest


def test_digest_follows_the_content_not_the_place(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(SPLIT)
    before = open_splits(FOLDER, problem="single_label")
    moved = root.rename(tmp_path / "elsewhere")
    source = Component(name="image_folder", options={"path": str(moved)})
    assert open_splits(DataRecipe(source=source), problem="single_label").val.digest == (
        before.val.digest
    )
    image = moved / "val" / "cat" / "000.png"
    image.write_bytes((moved / "val" / "dog" / "001.png").read_bytes() + b"\0")
    after = open_splits(DataRecipe(source=source), problem="single_label")
    assert after.val.digest != before.val.digest
    assert after.train.digest == before.train.digest


def test_unreadable_image_stops(make_folder: Make) -> None:
    root = make_folder(SPLIT)
    (root / "val" / "cat" / "001.png").write_text("not an image")
    with pytest.raises(DataError) as caught:
        open_splits(FOLDER, problem="single_label")
    assert "1 of the 4 images of 'val' cannot be read" in str(caught.value)
    assert "val/cat/001.png" in str(caught.value)


def test_unreadable_image_is_left_out_with_its_name(
    make_folder: Make, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder(SPLIT)
    (root / "train" / "cat" / "001.png").write_text("not an image")
    with caplog.at_level(logging.WARNING):
        splits = open_splits(replace(FOLDER, on_bad_image="skip"), problem="single_label")
    assert len(splits.train) == 13
    assert "train/cat/001.png" not in keys(splits, "train")
    assert splits.train.rows.targets.tolist() == [0] * 7 + [1] * 6
    assert "left out 1 of the 14 images of 'train'" in caplog.text
    (bad,) = splits.left_out
    assert (bad.split, bad.row, bad.name) == ("train", 1, "train/cat/001.png")
    assert bad.reason.startswith("UnidentifiedImageError")
    assert "train/cat/001.png" in caplog.text


def test_stratified_columns_are_balanced(make_folder: Make) -> None:
    root = make_folder({"cat": 40, "dog": 40})
    lines = ["image,label,kind"]
    for number in range(40):
        for name in ("cat", "dog"):
            kind = "mono" if number % 4 else "poly"
            lines.append(f"{name}/{number:03}.png,{name},{kind}")
    (root / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    source = Component(name="table", options={"train": "images/rows.csv"})
    data = DataRecipe(source=source, val="20%", stratify=("kind",))
    splits = open_splits(data, problem="single_label")
    numbers = [(key[:3], int(key[4:7]) % 4 == 0) for key in keys(splits, "val")]
    assert {pair: numbers.count(pair) for pair in set(numbers)} == {
        ("cat", True): 2,
        ("cat", False): 6,
        ("dog", True): 2,
        ("dog", False): 6,
    }
    with pytest.raises(DataError, match="no column 'type'"):
        open_splits(replace(data, stratify=("type",)), problem="single_label")


def test_several_labels(make_folder: Make) -> None:
    root = make_folder({"all": 40})
    names = ["a|b", "a", "b|c", ""] * 10
    lines = [f"all/{row:03}.png,{text}" for row, text in enumerate(names)]
    (root / "rows.csv").write_text("\n".join(["image,label", *lines]), encoding="utf-8")
    source = Component(name="table", options={"train": "images/rows.csv"})
    splits = open_splits(DataRecipe(source=source, val="20%"), problem="multi_label")
    assert splits.labels.names == ("a", "b", "c")
    assert splits.labels.multi
    assert splits.train.rows.targets.shape == (32, 3)
    assert splits.train.rows.targets.dtype == np.float32
    assert splits.labels.counts == (16, 16, 8)
    assert splits.val.rows.targets.sum(axis=0).tolist() == [4, 4, 2]


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ({"train/cat": 4, "train/dog": 4, "val/cat": 2}, "class_missing_from_val"),
        ({"train/cat": 4, "train/dog": 0, "val/cat": 2}, "class_missing_from_train"),
        ({"train/cat": 4, "train/dog": 2, "val/cat": 1, "val/fox": 2}, "unknown_class"),
        ({"cat": 4}, "one_class"),
        ({"cat": 9, "dog": 1}, "class_too_small_to_split"),
    ],
)
def test_classes_that_do_not_fit(make_folder: Make, counts: dict[str, int], name: str) -> None:
    make_folder(counts)
    with pytest.raises(DataError) as caught:
        open_splits(FOLDER, problem="single_label")
    check_text(caught.value, name)


def test_missing_class_may_be_a_warning(
    make_folder: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder({"train/cat": 4, "train/dog": 4, "val/cat": 2})
    with caplog.at_level(logging.WARNING):
        splits = open_splits(replace(FOLDER, missing_classes="warn"), problem="single_label")
    assert splits.labels.names == ("cat", "dog")
    assert "the split 'val' has no image of 1 of 2 classes: dog" in caplog.text


def test_nothing_to_validate_on(make_folder: Make) -> None:
    make_folder({"cat": 4, "dog": 4})
    with pytest.raises(DataError) as caught:
        open_splits(replace(FOLDER, val="0%"), problem="single_label")
    check_text(caught.value, "no_validation")


def test_unknown_source_lists_the_table() -> None:
    with pytest.raises(ComponentError) as caught:
        open_splits(DataRecipe(source=Component(name="folder")), problem="single_label")
    assert caught.value.allowed == ", ".join(SOURCES)


def test_source_of_ones_own(make_folder: Make, tmp_path: Path) -> None:
    make_folder({"cat": 10, "dog": 10})
    (tmp_path / "mine.py").write_text(
        "from hftune.data.folder_source import image_folder\n"
        "def halved(*, path: str):\n"
        "    return image_folder(path=path)\n"
    )
    source = Component(name="./mine.py:halved", options={"path": "images"})
    assert len(open_splits(DataRecipe(source=source), problem="single_label").train) == 18
