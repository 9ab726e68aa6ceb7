from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hftune.data.seed_elpv import (
    Cell,
    read_cells,
    split_cells,
    write_dataset,
    write_image_folder,
)

# Counted from the package's own table: module type and probability >= 0.5.
STRATA = {
    ("mono", "functional"): 705,
    ("mono", "defective"): 369,
    ("poly", "functional"): 1098,
    ("poly", "defective"): 452,
}


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return read_cells()


def strata(cells: list[Cell]) -> Counter[tuple[str, str]]:
    return Counter((cell.module_type, cell.label) for cell in cells)


def test_all_cells_are_read(cells: list[Cell]) -> None:
    assert len(cells) == 2624
    assert strata(cells) == STRATA
    with Image.open(cells[0].path) as image:
        assert (image.mode, image.size) == ("L", (300, 300))


@pytest.mark.parametrize(
    ("probability", "label"), [(0.0, "functional"), (1 / 3, "functional"), (0.5, "defective")]
)
def test_half_is_defective(cells: list[Cell], probability: float, label: str) -> None:
    assert replace(cells[0], probability=probability).label == label


def test_a_quarter_of_every_stratum_is_for_testing(cells: list[Cell]) -> None:
    splits = split_cells(cells)
    assert (len(splits["train"]), len(splits["test"])) == (1968, 656)
    for stratum, count in strata(splits["test"]).items():
        assert abs(count - STRATA[stratum] / 4) < 1
    assert strata(splits["train"]) + strata(splits["test"]) == STRATA
    assert {cell.path for cell in splits["train"]}.isdisjoint(cell.path for cell in splits["test"])


def test_split_depends_on_names_and_seed_only(cells: list[Cell]) -> None:
    splits = split_cells(cells)
    assert split_cells(cells[::-1]) == splits
    assert split_cells(cells, seed=1) != splits
    # Pinned: another machine, or another version of Python, must draw the same cells.
    assert [cell.path.stem for cell in splits["test"][:4]] == [
        "cell0003",
        "cell0004",
        "cell0009",
        "cell0010",
    ]


def test_image_folder_holds_the_same_splits(cells: list[Cell], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_image_folder(folder)
    for split, members in split_cells(cells).items():
        for label in ("functional", "defective"):
            expected = {cell.path.name for cell in members if cell.label == label}
            assert {path.name for path in (folder / split / label).iterdir()} == expected
    first = cells[0].path
    copy = next(folder.rglob(first.name))
    assert copy.read_bytes() == first.read_bytes()
    assert "CC-BY-NC-SA-4.0" in (folder / "ABOUT.txt").read_text()


def test_dataset_folder_loads_with_its_features(cells: list[Cell], tmp_path: Path) -> None:
    import datasets

    write_dataset(tmp_path / "one")
    card = (tmp_path / "one" / "README.md").read_text()
    assert "\nlicense: cc-by-nc-sa-4.0\n" in card
    assert "Deitsch2019" in card
    loaded = datasets.load_dataset(str(tmp_path / "one"), cache_dir=str(tmp_path / "cache"))
    splits = split_cells(cells)
    for name, members in splits.items():
        rows = loaded[name]
        assert Counter(rows["name"]) == Counter(cell.path.stem for cell in members)
        assert rows.features["label"].names == ["functional", "defective"]
        assert rows.features["module_type"].names == ["mono", "poly"]
    by_name = {cell.path.stem: cell for cell in cells}
    for row in loaded["test"].select(range(0, 656, 101)):
        cell = by_name[row["name"]]
        assert rows.features["label"].int2str(row["label"]) == cell.label
        assert rows.features["module_type"].int2str(row["module_type"]) == cell.module_type
        assert row["probability"] == cell.probability
        with Image.open(cell.path) as image:
            assert image.tobytes() == row["image"].tobytes()
    write_dataset(tmp_path / "two")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert other.read_bytes() == path.read_bytes(), path.name
