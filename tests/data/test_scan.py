import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from hftune.cache_folders import cache_root
from hftune.data.fingerprints import fingerprint
from hftune.data.folder_source import image_folder
from hftune.data.part import Part
from hftune.data.scan import (
    bad_images_error,
    scan,
    scanned,
    warn_of_frames,
)
from hftune.errors import DiskError
from tests.data.conftest import check_text
from tests.data.test_header import bomb


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
    records = list((cache_root() / "scan").glob("*.safetensors"))
    assert len(records) == 1
    before = records[0].stat().st_mtime_ns
    assert scanned(part).unreadable == first
    assert records[0].stat().st_mtime_ns == before
    good = (Path("images/cat/000.png")).read_bytes()
    Path("images/dog/004.png").write_bytes(good)
    assert len(scanned(part).unreadable) == 2


def test_what_the_system_could_not_give_is_looked_at_again(make_folder) -> None:
    root = make_folder({"cat": 3, "dog": 2})
    # This file of Linux exists, and reading its start fails with EIO.
    (root / "cat" / "003.png").symlink_to("/proc/self/mem")
    part = image_folder(path=str(root)).parts["train"]
    for _ in range(2):
        assert scanned(part).unreadable == {3: "OSError: [Errno 5] Input/output error"}
        assert list((cache_root() / "scan").glob("*.safetensors")) == []


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


def test_unusual_images_are_noted_and_used(make_folder) -> None:
    root = make_folder({"cat": 40, "dog": 3})
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    red.save(root / "cat" / "005.gif", save_all=True, append_images=[blue])
    red.convert("CMYK").save(root / "dog" / "000.png", "JPEG")
    part = image_folder(path=str(root)).parts["train"]
    found = scan(part, workers=2)
    noted = {part.key(row): [note.kind for note in notes] for row, notes in found.notes.items()}
    assert noted == {"cat/005.gif": ["animated"], "dog/000.png": ["mode", "extension"]}
    assert found.unreadable == {}


def test_animations_are_warned_of(make_folder, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folder({"cat": 3})
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for row in range(7):
        frames[0].save(root / "cat" / f"{row}.gif", save_all=True, append_images=frames[1:])
    part = image_folder(path=str(root)).parts["train"]
    warn_of_frames(part, scanned(part))
    assert "7 of the 10 images of 'train' have several frames, of which the first" in caplog.text
    assert caplog.text.rstrip().endswith("cat/2.gif, cat/3.gif, cat/4.gif ...")


@pytest.mark.parametrize("workers", [0, 2])
def test_fingerprints_lie_by_position(part: Part, workers: int) -> None:
    prints = scan(part, workers=workers).fingerprints
    assert len(prints) == 70
    for row in (0, 33, 68):
        expected = fingerprint(part.picture(row))
        assert prints.digests[row].tolist() == expected.digests[0].tolist()
        assert prints.hashes[row] == expected.hashes[0]
    assert not prints.digests[3].any()  # cannot be read


def test_record_gives_what_was_found(part: Part) -> None:
    first, kept = scanned(part), scanned(part)
    assert (kept.unreadable, kept.notes) == (first.unreadable, first.notes)
    for name in ("digests", "hashes", "copies", "colours"):
        one, other = getattr(first.fingerprints, name), getattr(kept.fingerprints, name)
        assert (one.dtype, one.tolist()) == (other.dtype, other.tolist())


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"])
def test_damaged_record_is_made_anew(
    part: Part, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    scanned(part)
    (record,) = (cache_root() / "scan").glob("*.safetensors")
    record.write_bytes(content)
    assert len(scanned(part).unreadable) == 3
    assert "is damaged: looking at the images again" in caplog.text
    assert record.stat().st_size > len(content)


def test_empty_and_enormous_files_are_named_without_decoding(make_folder) -> None:
    root = make_folder({"cat": 2})
    (root / "cat" / "empty.png").touch()
    (root / "cat" / "huge.png").write_bytes(bomb(20_000, 10_000))
    part = image_folder(path=str(root)).parts["train"]
    found = scan(part, workers=0).unreadable
    assert found[2] == "empty: 0 bytes"
    assert found[3].startswith("enormous: ")
