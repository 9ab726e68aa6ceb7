"""What `hftune inspect` says about a folder of images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.cli.main import invoke
from hftune.describe import Description, describe


def draw(path: Path, seed: int) -> None:
    """Write a smooth picture, which survives resizing and JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((100, 120), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    places = ("train/cat", "train/dog", "val/cat", "val/dog")
    for number, place in enumerate(places):
        for row in range(3):
            draw(root / place / f"{row}.png", 10 * number + row)
    return root


def rows(description: Description, title: str) -> list[tuple[object, ...]]:
    table = next((found for found in description.tables if found.title == title), None)
    return [] if table is None else list(table.rows)


def test_of_clean_images_there_is_nothing_to_list(photos: Path) -> None:
    description = describe(str(photos))
    assert [table.title for table in description.tables] == ["images per class"]
    assert description.facts["duplicates"] == "0 with the same pixels, 0 nearly the same"
    assert description.facts["conflicting labels"] == 0
    assert description.facts["in several splits"] == 0
    assert "tiny" not in description.facts


def test_every_kind_of_broken_and_odd_file_is_named(photos: Path) -> None:
    cats = photos / "train" / "cat"
    with Image.open(cats / "0.png") as opened:
        image = opened.convert("RGB")
    (cats / "3.png").touch()
    (cats / "4.png").write_bytes((cats / "0.png").read_bytes()[:400])
    (cats / "5.png").write_text("no image")
    image.rotate(7).save(cats / "6.gif", save_all=True, append_images=[image])
    image.rotate(14).convert("CMYK").save(cats / "7.jpg")
    image.rotate(21).resize((9, 9)).save(cats / "8.png")
    image.rotate(28).save(cats / "9.jpg", "PNG")
    description = describe(str(photos))
    assert description.facts["cannot be read"] == 3
    assert [(row[0], str(row[1]).split(":")[0]) for row in rows(description, UNREADABLE)] == [
        ("train/cat/3.png", "empty"),
        ("train/cat/4.png", "OSError"),
        ("train/cat/5.png", "UnidentifiedImageError"),
    ]
    assert rows(description, ODD) == [
        ("train/cat/6.gif", "animated", "several frames; the first is used"),
        ("train/cat/7.jpg", "mode", "mode CMYK; converted to RGB"),
        ("train/cat/8.png", "tiny", "9 x 9 pixels; enlarged"),
        ("train/cat/9.jpg", "extension", "holds PNG; read as what it is"),
    ]
    assert description.facts["with a wrong extension"] == 1


UNREADABLE, ODD, DUPLICATES = "images that cannot be read", "images worth a look", "duplicates"


def test_duplicates_are_listed_by_what_is_worst(photos: Path) -> None:
    train, val = photos / "train", photos / "val"
    shutil.copyfile(train / "cat" / "0.png", train / "cat" / "a.png")
    shutil.copyfile(train / "cat" / "1.png", train / "dog" / "b.png")
    shutil.copyfile(train / "dog" / "0.png", val / "dog" / "c.png")
    with Image.open(val / "cat" / "1.png") as image:
        image.resize((50, 60), Image.Resampling.BICUBIC).save(val / "cat" / "d.jpg", quality=80)
    description = describe(str(photos))
    assert rows(description, DUPLICATES) == [
        ("train/dog/b.png", "train/cat/1.png", "same pixels", "train", "dog, not cat"),
        ("val/dog/c.png", "train/dog/0.png", "same pixels", "val in train", "dog"),
        ("train/cat/a.png", "train/cat/0.png", "same pixels", "train", "cat"),
        ("val/cat/d.jpg", "val/cat/1.png", "nearly the same", "val", "cat"),
    ]
    assert description.facts["duplicates"] == "3 with the same pixels, 1 nearly the same"
    assert description.facts["conflicting labels"] == 1
    assert description.facts["in several splits"] == "1 val in train"


def test_the_verb_ends_well_with_findings_and_json_lists_all(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in range(25):
        (photos / "train" / "cat" / f"broken-{row:02}.png").touch()
    assert invoke(["inspect", str(photos)]) == 0
    text = capsys.readouterr().out
    assert "  train/cat/broken-19.png  empty: 0 bytes\n  and 5 more; --json lists all\n" in text
    assert invoke(["inspect", str(photos), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tables"][UNREADABLE]) == 25


def test_folder_of_nothing_but_broken_images_is_described(photos: Path) -> None:
    for path in photos.glob("*/*/*.png"):
        path.write_bytes(b"")
    description = describe(str(photos))
    assert description.facts["cannot be read"] == description.facts["images"] == 12
    assert rows(description, DUPLICATES) == []
