import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.cache_folders import list_entries
from hftune.core import Split, Splits
from hftune.data.cached_rows import CachedRows, keep_decoded, read_decoded
from hftune.data.image_input import train_transform
from hftune.data.loader import LoaderSpec, train_batches
from hftune.data.order import Order, Share
from hftune.data.rows import draft_split
from hftune.data.sources import open_splits
from hftune.errors import DataError
from hftune.recipe.schema import AuditRecipe, Component, DataRecipe
from tests.data.conftest import draw, drawn_split, small_spec
from tests.fuzz.images import good_images

BOTH = ("train", "val")
MakeFolder = Callable[[Mapping[str, int]], Path]


@pytest.fixture
def data(make_folder: MakeFolder) -> DataRecipe:
    """Twelve drawn images in three splits."""
    root = make_folder(
        {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in "ab"}
    )
    return recipe_of(root)


def recipe_of(root: Path, **changes: object) -> DataRecipe:
    data = DataRecipe(
        source=Component(name="image_folder", options={"path": str(root)}),
        audit=AuditRecipe(leaks="off"),
    )
    return replace(data, **changes)  # type: ignore[arg-type]


def opened(data: DataRecipe) -> Splits:
    return open_splits(data, problem="single_label")


def read(split: Split) -> list[np.ndarray]:
    return [np.asarray(split.rows.image(row)) for row in range(len(split))]


def kept(split: Split) -> list[bool]:
    rows = split.rows
    assert isinstance(rows, CachedRows)
    return [rows.cache.get(int(at)) is not None for at in rows.rows.positions]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_kept_images_of_every_format_are_what_decoding_gives(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1})
    for name, content in good_images().items():
        (root / "train" / "a" / name).write_bytes(content)
    data = recipe_of(root)
    plain = opened(data).train
    split = keep_decoded(opened(data), data, filled=BOTH).train
    assert len(split) == 6 + len(good_images())
    for _ in range(2):  # the second time from the disk
        for row in range(len(split)):
            image, wanted = split.rows.image(row), plain.rows.image(row)
            assert image.mode == wanted.mode
            assert np.array_equal(np.asarray(image), np.asarray(wanted)), plain.rows.key(row)
    assert all(kept(split))


def test_only_what_is_read_again_is_kept(data: DataRecipe) -> None:
    splits = keep_decoded(opened(data), data, filled=BOTH)
    for split in (splits.train, splits.val):
        read(split)
        assert all(kept(split))
    assert splits.test is not None
    assert not isinstance(splits.test.rows, CachedRows)


def test_splits_cut_from_one_part_share_a_cache(make_folder: MakeFolder) -> None:
    data = recipe_of(make_folder({"a": 8, "b": 8}), val="25%", test="25%")
    splits = keep_decoded(opened(data), data, filled=BOTH)
    assert splits.test is not None
    for split in (splits.train, splits.val, splits.test):
        read(split)
    assert len(list_entries("images")) == 1
    assert all(kept(splits.train))
    assert all(kept(splits.val))
    assert not any(kept(splits.test))


def test_who_fills_nothing_reads_what_others_kept(data: DataRecipe) -> None:
    assert keep_decoded(opened(data), data, filled=()).val.rows.image(0) is not None
    assert list_entries("images") == []
    read(keep_decoded(opened(data), data, filled=BOTH).val)
    split = keep_decoded(opened(data), data, filled=()).val
    assert all(kept(split))
    assert same(read(split), read(opened(data).val))


def test_who_reads_one_split_looks_at_no_other(data: DataRecipe) -> None:
    splits = opened(data)
    read(keep_decoded(splits, data, filled=BOTH).val)
    for path in Path("images/train").rglob("*.png"):
        path.unlink()  # a look at the files of this split would be an error
    split = read_decoded(splits.val, data)
    assert all(kept(split))
    assert same(read(split), read(splits.val))
    off = replace(data, decoded_cache="0 GiB")
    assert read_decoded(splits.val, off) is splits.val
    assert splits.test is not None
    assert read_decoded(splits.test, data) is splits.test  # nobody filled a cache for it


def test_kept_images_are_used_again_when_the_files_are_the_same(data: DataRecipe) -> None:
    read(keep_decoded(opened(data), data, filled=BOTH).train)
    assert all(kept(keep_decoded(opened(data), data, filled=BOTH).train))


def test_a_changed_file_is_decoded_anew(data: DataRecipe) -> None:
    read(keep_decoded(opened(data), data, filled=BOTH).train)
    draw(99).save(Path("images/train/a/000.png"))
    splits = keep_decoded(opened(data), data, filled=BOTH)
    assert not any(kept(splits.train))
    assert same(read(splits.train), read(opened(data).train))


@pytest.mark.parametrize("form", ["bmp", "parquet"])
def test_a_local_data_set_that_changed_is_decoded_anew(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    folder = tmp_path / "set"

    def write(first: int) -> None:
        """Write the data set again: other pixels, but names and sizes as before."""
        for number in range(8):
            path = folder / "train" / "ab"[number % 2] / f"{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(first + number).save(path)
        if form == "parquet":
            paths = sorted(map(str, folder.rglob("*.bmp")))
            features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
            cells = [{"bytes": Path(path).read_bytes(), "path": None} for path in paths]
            table = Dataset.from_dict({"image": cells, "label": [0, 1] * 4}, features=features)
            table.to_parquet(tmp_path / "parquet" / "data" / "train.parquet")

    source = Component(
        name="hub_dataset", options={"repo": str(folder if form == "bmp" else tmp_path / "parquet")}
    )
    data = replace(recipe_of(folder), source=source, val="25%")
    for first in (0, 100, 100):
        write(first)
        splits = keep_decoded(opened(data), data, filled=BOTH)
        assert same(read(splits.train), read(opened(data).train))
        assert same(read(splits.train), read(opened(data).train))


def test_batches_are_the_same_with_and_without(data: DataRecipe) -> None:
    order = Order(num_rows=4, batch_size=2, seed=3)
    crop = Component(name="random_resized_crop", options={"min_scale": 0.5})
    transform = train_transform(small_spec(), (crop,))

    def batches(split: Split, workers: int) -> list[np.ndarray]:
        spec = LoaderSpec(
            start=0, stop=6, share=Share(rank=0, world_size=1), micro_batch_size=2, workers=workers
        )
        made = train_batches(split, transform, order, spec)
        return [batch.inputs.numpy() for step in made for batch in step]

    plain = batches(opened(data).train, 0)
    split = keep_decoded(opened(data), data, filled=BOTH).train
    assert same(batches(split, 2), plain)
    assert all(kept(split))  # by the workers
    assert same(batches(split, 0), plain)


def test_an_image_that_cannot_be_read_is_an_error_as_before(data: DataRecipe) -> None:
    split = keep_decoded(opened(data), data, filled=BOTH).train
    Path("images/train/a/000.png").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        split.rows.image(0)
    assert kept(split) == [False] * 4


def test_a_cache_of_no_size_is_none(data: DataRecipe) -> None:
    splits = opened(data)
    off = replace(data, decoded_cache="0 GiB")
    assert keep_decoded(splits, off, filled=BOTH) is splits
    assert list_entries("images") == []


def test_images_that_would_not_fit_are_not_kept(
    data: DataRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    small = replace(data, decoded_cache="4 KiB")  # eight images take 14 KiB
    with caplog.at_level(logging.INFO):
        read(keep_decoded(opened(small), small, filled=BOTH).train)
    assert list_entries("images") == []
    assert "decoded images are not kept: they would take about 14.1 KiB" in caplog.text


def test_one_line_says_where_they_are(data: DataRecipe, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        keep_decoded(opened(data), data, filled=BOTH)
    lines = [line for line in caplog.messages if "are kept for later epochs" in line]
    assert len(lines) == 1
    assert "about 14.1 KiB, at most 10 GiB" in lines[0]
    assert "hftune cache clear" in lines[0]


def test_training_goes_on_where_nothing_can_be_written(
    data: DataRecipe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = opened(data)
    monkeypatch.setenv("HFTUNE_CACHE", "/proc/hftune")
    assert keep_decoded(splits, data, filled=BOTH) is splits
    assert caplog.text.count("decoded images are not kept: ") == 1


def test_rows_that_are_not_decoded_from_files_stay_as_they_are(data: DataRecipe) -> None:
    drawn = drawn_split(5)
    splits = replace(opened(data), train=drawn)
    assert keep_decoded(splits, data, filled=BOTH).train is drawn


def test_cached_rows_have_the_keys_and_targets_of_the_rows(data: DataRecipe) -> None:
    plain = opened(data).train
    split = keep_decoded(opened(data), data, filled=BOTH).train
    assert split.digest == plain.digest
    assert [split.rows.key(row) for row in range(4)] == [plain.rows.key(row) for row in range(4)]
    assert split.rows.targets.tolist() == plain.rows.targets.tolist()


def test_a_grey_image_stays_grey(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1})
    Image.new("L", (9, 8), 7).save(root / "train/a/000.png")
    data = recipe_of(root)
    split = keep_decoded(opened(data), data, filled=BOTH).train
    assert [split.rows.image(0).mode for _ in range(2)] == ["L", "L"]


def test_drafts_are_kept_beside_whole_images(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1})
    for name in "ab":
        draw(7, size=(400, 480)).save(root / "train" / name / "000.png", "JPEG")
    data = recipe_of(root)
    for _ in range(2):  # the second time from the disk
        whole = opened(data)
        draft = replace(whole, train=draft_split(whole.train, small_spec()))  # wants 24 x 32
        assert draft.train.digest != whole.train.digest
        splits = [keep_decoded(one, data, filled=BOTH) for one in (whole, draft)]
        sizes = [[one.train.rows.image(row).size for row in range(2)] for one in splits]
        assert sizes == [[(400, 480)] * 2, [(100, 120)] * 2]
    assert len(list_entries("images")) == 3  # train twice, val once
