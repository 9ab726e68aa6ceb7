import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from datasets import Dataset

from hftune.data.labels import order_names, read_labels
from hftune.data.part import Part
from hftune.data.table_source import table
from hftune.errors import DataError
from tests.data.conftest import check_text

ROWS = [("cat/000.png", "NA"), ("cat/001.png", "007"), ("dog/000.png", "null")]


@pytest.fixture
def folder(make_folder: Callable[[Mapping[str, int]], Path]) -> Path:
    return make_folder({"cat": 2, "dog": 1})


def write(path: Path, rows: list[tuple[str, object]], *, label: str = "label") -> Path:
    columns = {"image": [row[0] for row in rows], label: [row[1] for row in rows]}
    if path.suffix == ".parquet":
        Dataset.from_dict(columns).to_parquet(str(path))
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"image": image, label: value}) for image, value in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [separator.join(("image", label)), *(f"{i}{separator}{v}" for i, v in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(**options: object) -> Part:
    return table(**options).parts["train"]  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_kind_of_table_gives_the_same_rows(folder: Path, suffix: str) -> None:
    part = train(train=str(write(folder / f"rows{suffix}", ROWS)))
    # Names that some readers take for gaps or numbers stay what they are.
    assert [name for (name,) in read_labels(part, "single_label").names] == ["NA", "007", "null"]
    assert part.picture(2).size == (20, 30)
    assert part.key(2) == "dog/000.png"


def test_paths_may_start_elsewhere(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    part = train(train=str(path), root=str(folder))
    assert part.picture(0).size == (20, 30)
    assert part.key(0) == "cat/000.png"


def test_absolute_paths_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(str((folder / ROWS[0][0]).absolute()), "x")]
    part = train(train=str(write(tmp_path / "rows.csv", rows)), root=str(folder))
    assert part.picture(0).size == (20, 30)


def test_a_file_per_split(folder: Path) -> None:
    paths = {
        name: str(write(folder / f"{name}.jsonl", ROWS[:count]))
        for name, count in (("train", 3), ("val", 2), ("test", 1))
    }
    found = table(**paths)
    assert {name: len(part) for name, part in found.parts.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    assert found.facts.path == "images/train.jsonl"


def test_integers_of_a_typed_table_are_classes(folder: Path) -> None:
    rows: list[tuple[str, object]] = [(ROWS[0][0], 10), (ROWS[1][0], 9)]
    part = train(train=str(write(folder / "rows.parquet", rows)))
    assert order_names(read_labels(part, "single_label")) == ("9", "10")


def test_several_labels_as_lists_and_as_text(folder: Path) -> None:
    expected = [("a", "b"), ("b",), ()]
    paths = [row[0] for row in ROWS]
    lists = list(zip(paths, [["a", "b"], ["b"], []], strict=True))
    texts = list(zip(paths, ["a|b", "b", ""], strict=True))
    for name, rows in (("lists.jsonl", lists), ("texts.csv", texts), ("lists.parquet", lists)):
        part = train(train=str(write(folder / name, rows)))
        assert list(read_labels(part, "multi_label").names) == expected


def test_quoted_names_keep_their_separator(folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_text('image,label\ncat/000.png,"cat, tabby"\n', encoding="utf-8")
    assert list(read_labels(train(train=str(path)), "single_label").names) == [("cat, tabby",)]


def test_byte_order_mark_of_spreadsheets_is_no_part_of_a_name(folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfimage,label\ncat/000.png,x\n")
    assert len(train(train=str(path))) == 1


def test_missing_image_is_named_when_it_is_read(folder: Path) -> None:
    part = train(train=str(write(folder / "rows.csv", [("gone.png", "x")])))
    with pytest.raises(DataError) as caught:
        part.picture(0)
    assert caught.value.where == "gone.png"


def test_missing_column(folder: Path) -> None:
    write(folder / "rows.csv", ROWS, label="breed")
    with pytest.raises(DataError) as caught:
        table(train="images/rows.csv")
    check_text(caught.value, "missing_column")


def test_ragged_table(folder: Path) -> None:
    (folder / "rows.csv").write_text("image,label\na,b\na,b,c,d\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        table(train="images/rows.csv")
    check_text(caught.value, "ragged_table")


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", "{not json"), ("rows.parquet", "not parquet"), ("rows.csv", "")],
)
def test_damaged_table(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"this table cannot be read|no column"):
        table(train=str(folder / name))


def test_images_inside_a_table_are_refused_with_the_remedy(folder: Path) -> None:
    rows = [{"image": {"bytes": b"x", "path": None}, "label": "a"}]
    Dataset.from_list(rows).to_parquet(str(folder / "rows.parquet"))
    with pytest.raises(DataError, match="must hold paths") as caught:
        table(train=str(folder / "rows.parquet"))
    assert "hub_dataset" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "problem"), [("gone.csv", "no such file"), ("cat/000.png", "no table")]
)
def test_file_that_is_no_table(folder: Path, name: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        table(train=str(folder / name))
