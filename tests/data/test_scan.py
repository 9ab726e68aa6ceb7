import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hftune.data.folder_source import image_folder
from hftune.data.part import Part
from hftune.data.scan import bad_images_error, cache_folder, scan, scanned
from hftune.errors import DiskError
from tests.data.conftest import check_text


@pytest.fixture
def part(make_folder) -> Part:
    """Seventy images, three of them damaged in different ways."""
    root = make_folder({"cat": 40, "dog": 30})
    (root / "cat" / "003.png").write_bytes((root / "cat" / "003.png").read_bytes()[:200])
    (root / "dog" / "004.png").write_bytes(b"")
    (root / "dog" / "029.png").write_text("not an image")
    return image_folder(path=str(root)).parts["train"]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_unreadable_image_is_found(part: Part, workers: int) -> None:
    found = scan(part, workers=workers).unreadable
    assert [part.key(position) for position in sorted(found)] == [
        "cat/003.png",
        "dog/004.png",
        "dog/029.png",
    ]
    assert "truncated" in found[3]


def test_scan_is_remembered_until_a_file_changes(part: Part) -> None:
    first = scanned(part).unreadable
    assert len(first) == 3
    records = list((cache_folder() / "scan").glob("*.safetensors"))
    assert len(records) == 1
    before = records[0].stat().st_mtime_ns
    assert scanned(part).unreadable == first
    assert records[0].stat().st_mtime_ns == before
    good = (Path("images/cat/000.png")).read_bytes()
    Path("images/dog/004.png").write_bytes(good)
    assert len(scanned(part).unreadable) == 2


def test_who_comes_while_the_data_is_scanned_waits_for_the_answer(
    part: Part, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: len(scanned(part).unreadable), range(3)))
    assert answers == [3, 3, 3]
    assert caplog.text.count("looking at the 70 images of 'train'") == 1


def test_message_names_the_first_and_counts_all(part: Part) -> None:
    found = dict.fromkeys(range(12), "OSError: image file is truncated")
    check_text(bad_images_error(part, found), "unreadable_images")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_cache_that_cannot_be_written_is_one_error(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setenv("HFTUNE_CACHE", str(locked))
    with pytest.raises(DiskError):
        scanned(part)
