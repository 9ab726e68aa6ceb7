"""Folders of what can be made again: whole or absent, kept while used, removed oldest first."""

import os
from pathlib import Path

import pytest

from hftune.cache_folders import (
    ABOUT,
    CacheEntry,
    cache_root,
    list_entries,
    made_entry,
    make_room,
    remove_entry,
    remove_remains,
    used_entry,
)


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path))


def make(key: str, *, num_bytes: int = 100, used: float | None = None) -> CacheEntry:
    with made_entry("images", key, says=f"entry {key}") as folder:
        (folder / "data").write_bytes(bytes(num_bytes))
    about = cache_root() / "images" / key / ABOUT
    if used is not None:
        os.utime(about, (used, used))
    return next(entry for entry in list_entries("images") if entry.key == key)


def test_an_entry_is_whole_or_absent() -> None:
    with pytest.raises(RuntimeError), made_entry("images", "half", says="x"):
        raise RuntimeError
    assert list_entries("images") == []
    assert list((cache_root() / "images").iterdir()) == []
    with used_entry("images", "half") as found:
        assert found is None


def test_an_entry_says_what_it_is_and_how_large() -> None:
    entry = make("a", num_bytes=1000)
    assert entry.says == "entry a"
    assert 1000 < entry.num_bytes < 1100
    with used_entry("images", "a") as found:
        assert found == entry.folder


def test_an_entry_in_use_is_not_removed() -> None:
    entry = make("a")
    with used_entry("images", "a") as found, used_entry("images", "a"):
        assert found is not None
        assert not remove_entry(entry)
        assert (found / "data").exists()
    assert remove_entry(entry)
    assert not entry.folder.exists()
    assert remove_entry(entry)


def test_the_longest_unused_go_first_until_there_is_room() -> None:
    old, middle, new = (make(key, used=at) for key, at in (("o", 1e9), ("m", 2e9), ("n", 3e9)))
    total = old.num_bytes + middle.num_bytes + new.num_bytes
    assert make_room("images", needed=old.num_bytes, limit=total)
    assert [entry.key for entry in list_entries("images")] == ["m", "n"]
    with used_entry("images", "m"):
        assert not make_room("images", needed=total, limit=total)
    assert [entry.key for entry in list_entries("images")] == ["m"]


def test_use_makes_an_entry_the_youngest() -> None:
    make("a", used=1e9)
    make("b", used=1.1e9)
    with used_entry("images", "a"):
        pass
    assert [entry.key for entry in list_entries("images")] == ["b", "a"]


def test_more_than_the_limit_removes_nothing() -> None:
    make("a")
    assert not make_room("images", needed=11, limit=10)
    assert len(list_entries("images")) == 1


def test_remains_of_killed_writers_go_once_they_are_old() -> None:
    make("a")
    young, old = (cache_root() / "images" / name for name in (".x.1.part", ".y.2.part"))
    for folder in (young, old):
        folder.mkdir()
    os.utime(old, (1e9, 1e9))
    remove_remains("images")
    assert young.exists()
    assert not old.exists()
    assert [entry.key for entry in list_entries("images")] == ["a"]


def test_a_damaged_word_about_an_entry_is_said() -> None:
    entry = make("a")
    (entry.folder / ABOUT).write_text("[")
    assert list_entries("images")[0].says == "damaged"
    assert remove_entry(entry)


def test_only_known_kinds_have_entries() -> None:
    with pytest.raises(ValueError, match="no such kind"), made_entry("other", "a", says=""):
        pass
