"""The leak audit over folders of drawn images, through the opening of splits."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hftune.cache_folders import cache_root
from hftune.core import AuditFacts, LeakFacts
from hftune.data.sources import open_splits
from hftune.errors import LeakError
from hftune.recipe.schema import AuditRecipe, Component, DataRecipe
from tests.data.conftest import check_text, draw

Make = Callable[[Mapping[str, int]], Path]

SPLIT = {"train/cat": 8, "train/dog": 6, "val/cat": 2, "val/dog": 2, "test/cat": 1, "test/dog": 2}


def recipe(**rule: object) -> DataRecipe:
    source = Component(name="image_folder", options={"path": "images"})
    return DataRecipe(source=source, audit=AuditRecipe(**rule))  # type: ignore[arg-type]


def facts_of(data: DataRecipe) -> AuditFacts:
    facts = open_splits(data, problem="single_label").facts.audit
    assert facts is not None
    return facts


@pytest.fixture
def clean(make_folder: Make) -> Path:
    return make_folder(SPLIT)


@pytest.fixture
def leaky(clean: Path) -> Path:
    """Two of four validation images and one of three test images are in training."""
    train, val, test = clean / "train", clean / "val", clean / "test"
    draw(77, size=(200, 300)).resize((90, 120)).save(train / "dog" / "003.png")
    shutil.copyfile(train / "dog" / "002.png", val / "cat" / "000.png")
    (val / "dog" / "001.png").unlink()
    with Image.open(train / "dog" / "003.png") as image:
        image.save(val / "dog" / "001.jpg", quality=85)
    shutil.copyfile(train / "cat" / "001.png", test / "dog" / "000.png")
    return clean


def test_splits_with_nothing_in_common_are_recorded_as_such(clean: Path) -> None:
    assert facts_of(recipe()) == AuditFacts(
        near=True,
        images=14,
        repeated=0,
        conflicting=0,
        leaks=(
            LeakFacts(split="val", images=4, exact=0),
            LeakFacts(split="test", images=3, exact=0),
        ),
    )


def test_leak_above_the_share_stops_with_the_names(leaky: Path) -> None:
    with pytest.raises(LeakError) as caught:
        open_splits(recipe(), problem="single_label")
    check_text(caught.value, "leak")


def test_leak_is_only_warned_of_where_that_is_asked_for(
    leaky: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        facts = facts_of(recipe(leaks="warn"))
    assert facts.leaks == (
        LeakFacts(split="val", images=4, exact=1, near=1),
        LeakFacts(split="test", images=3, exact=1, near=0),
    )
    assert facts.leaks[0].share == 0.5
    assert "2 of the 4 images of 'val' (50.0%) are in training as well" in caplog.text
    assert "val/dog/001.jpg ~ train/dog/003.png" in caplog.text


def test_leak_up_to_the_share_is_no_warning(leaky: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="hftune.data.audit"):
        assert facts_of(recipe(most="50%")).leaks[0].exact == 1
    said = [record for record in caplog.records if record.name == "hftune.data.audit"]
    assert [record.levelname for record in said if "'val'" in record.message] == ["INFO"]
    with pytest.raises(LeakError, match="'val'"):
        open_splits(recipe(most="49%"), problem="single_label")


def test_near_duplicates_can_be_left_out(leaky: Path) -> None:
    facts = facts_of(recipe(near=False, leaks="warn"))
    assert not facts.near
    assert facts.leaks[0] == LeakFacts(split="val", images=4, exact=1, near=0)


def test_off_does_not_look(leaky: Path) -> None:
    assert open_splits(recipe(leaks="off"), problem="single_label").facts.audit is None
    assert not (cache_root() / "audit").exists()


def test_pair_parted_by_a_carved_split_counts(make_folder: Make) -> None:
    root = make_folder({"cat": 20, "dog": 20})
    for path in sorted(root.glob("*/*.png")):
        shutil.copyfile(path, path.with_stem(f"{path.stem}-again"))
    data = recipe(leaks="warn")
    splits = open_splits(replace(data, val="25%"), problem="single_label")
    held = {splits.val.rows.key(row).replace("-again", "") for row in range(len(splits.val))}
    parted = 2 * len(held) - len(splits.val)
    assert 0 < parted < 20
    assert splits.facts.audit is not None
    assert splits.facts.audit.leaks == (LeakFacts(split="val", images=20, exact=parted),)


def test_repeated_images_and_conflicting_labels_are_named(
    clean: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = clean / "train"
    shutil.copyfile(train / "cat" / "000.png", train / "cat" / "again.png")
    shutil.copyfile(train / "cat" / "000.png", train / "dog" / "other.png")
    with caplog.at_level(logging.WARNING):
        facts = facts_of(recipe())
    assert (facts.images, facts.repeated, facts.conflicting) == (16, 2, 1)
    assert (
        "2 of the 16 training images have the pixels of an earlier one, 1 of them under another"
        " label:\ntrain/dog/other.png = train/cat/000.png"
    ) in caplog.text


def test_numbers_conflict_as_labels_do(make_folder: Make) -> None:
    root = make_folder({"all": 24})
    rows = [f"all/{row:03}.png,{row}" for row in range(24)]
    repeated = ["all/000.png,0", "all/001.png,99"]
    for name, lines in (("train", rows[:18] + repeated), ("val", rows[18:])):
        text = "\n".join(["image,label", *lines])
        (root / f"{name}.csv").write_text(text, encoding="utf-8")
    tables = {name: f"images/{name}.csv" for name in ("train", "val")}
    data = DataRecipe(source=Component(name="table", options=tables))
    facts = open_splits(data, problem="regression").facts.audit
    assert facts is not None
    assert (facts.images, facts.repeated, facts.conflicting) == (20, 2, 1)


def test_image_that_cannot_be_read_is_no_twin(leaky: Path) -> None:
    # All such images have the same fingerprint: none.
    for place in ("train/cat/003.png", "val/cat/001.png", "test/cat/000.png"):
        (leaky / place).write_text("not an image")
    facts = facts_of(replace(recipe(leaks="warn"), on_bad_image="skip", missing_classes="warn"))
    assert facts.leaks == (
        LeakFacts(split="val", images=3, exact=1, near=1),
        LeakFacts(split="test", images=2, exact=1, near=0),
    )


def test_near_twins_are_searched_once_until_an_image_changes(leaky: Path) -> None:
    facts = facts_of(recipe(leaks="warn"))
    records = {path: path.stat().st_mtime_ns for path in (cache_root() / "audit").glob("*.json")}
    assert len(records) == 2  # val and test
    assert facts_of(recipe(leaks="warn", most="1%")) == facts
    assert {path: path.stat().st_mtime_ns for path in records} == records
    draw(5).save(leaky / "train" / "cat" / "000.png")
    facts_of(recipe(leaks="warn"))
    assert len(list((cache_root() / "audit").glob("*.json"))) == 4
