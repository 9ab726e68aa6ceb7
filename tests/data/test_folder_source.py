import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hftune.data.folder_source import image_folder
from hftune.data.labels import read_labels
from hftune.errors import DataError
from tests.data.conftest import check_text, draw

Make = Callable[[Mapping[str, int]], Path]


def classes(found, split: str = "train") -> list[str]:
    return [name for (name,) in read_labels(found.parts[split], "single_label").names]


def test_class_folders_are_the_training_part(make_folder: Make) -> None:
    root = make_folder({"dog": 2, "cat": 3})
    found = image_folder(path=str(root))
    assert list(found.parts) == ["train"]
    part = found.parts["train"]
    assert classes(found) == ["cat"] * 3 + ["dog"] * 2
    assert [part.key(row) for row in range(5)][2:4] == ["cat/002.png", "dog/000.png"]
    assert part.picture(0).size == (20, 30)


def test_a_folder_per_split_gives_a_part_per_split(make_folder: Make) -> None:
    root = make_folder(
        {"train/cat": 2, "train/dog": 2, "validation/cat": 1, "validation/dog": 1, "test/dog": 1}
    )
    found = image_folder(path=str(root))
    assert {name: len(part) for name, part in found.parts.items()} == {
        "train": 4,
        "val": 2,
        "test": 1,
    }
    assert found.parts["val"].key(0) == "validation/cat/000.png"


def test_train_may_be_a_class(make_folder: Make) -> None:
    root = make_folder({"car": 2, "plane": 2, "train": 2})
    assert sorted(set(classes(image_folder(path=str(root))))) == ["car", "plane", "train"]


def test_images_anywhere_below_a_class_folder_belong_to_it(make_folder: Make) -> None:
    root = make_folder({"cat/2024/may": 2, "cat": 1, "dog": 1})
    assert classes(image_folder(path=str(root))) == ["cat"] * 3 + ["dog"]


def test_hidden_files_are_ignored_and_others_counted(
    make_folder: Make, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder({"cat": 2, "dog": 2, ".git/objects": 1, "__MACOSX/cat": 1})
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "._000.png").write_bytes(b"x")
    (root / "cat" / "notes.txt").write_text("x")
    (root / "dog" / "Thumbs.db").write_text("x")
    with caplog.at_level(logging.WARNING):
        found = image_folder(path=str(root))
    assert classes(found) == ["cat", "cat", "dog", "dog"]
    assert [record.getMessage() for record in caplog.records] == [
        "images: not used, as they are no images: 2 files"
    ]


def test_suffixes_are_read_in_any_case(make_folder: Make) -> None:
    root = make_folder({"cat": 1, "dog": 1})
    draw(1).save(root / "cat" / "LOUD.JPG", "JPEG")
    assert classes(image_folder(path=str(root))) == ["cat", "cat", "dog"]


def test_folders_beside_the_splits_are_named(
    make_folder: Make, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder({"train/cat": 1, "train/dog": 1, "unlabelled/all": 3})
    with caplog.at_level(logging.WARNING):
        found = image_folder(path=str(root))
    assert list(found.parts) == ["train"]
    assert "unlabelled" in caplog.text


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ({"cat": 0, "dog": 0}, "folder_without_images"),
        ({}, "folder_without_folders"),
        ({"val/cat": 1, "test/cat": 1}, "splits_without_train"),
        ({"train/cat": 1, "val/cat": 1, "valid/cat": 1}, "two_validation_folders"),
    ],
)
def test_folder_that_cannot_be_used(make_folder: Make, counts: dict[str, int], name: str) -> None:
    root = make_folder(counts)
    root.mkdir(exist_ok=True)
    (root / "readme.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        image_folder(path=str(root))
    check_text(caught.value, name)


def test_missing_folder(make_folder: Make) -> None:
    make_folder({})
    with pytest.raises(DataError, match="no such folder of images"):
        image_folder(path="imges")


def test_empty_class_folder_is_a_class_without_images(make_folder: Make) -> None:
    root = make_folder({"cat": 2, "dog": 0})
    labels = read_labels(image_folder(path=str(root)).parts["train"], "single_label")
    assert labels.declared == ("cat", "dog")


def test_a_folder_is_read_without_the_datasets_library(make_folder: Make) -> None:
    root = make_folder({"dog": 4, "cat": 4})
    code = (
        "import sys; sys.modules['datasets'] = None  # as where it is not installed\n"
        "from hftune.data.sources import open_splits\n"
        "from hftune.recipe.schema import Component, DataRecipe\n"
        f"source = Component(name='image_folder', options={{'path': {str(root)!r}}})\n"
        "splits = open_splits(DataRecipe(source=source, val='50%'), problem='single_label')\n"
        "print(splits.labels.names, splits.train.rows.image(0).size, 'pandas' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert result.stdout == "('cat', 'dog') (20, 30) False\n"
