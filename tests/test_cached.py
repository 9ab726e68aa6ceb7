"""What is kept to be faster: listed with size and use, cleared by kind, name and age."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hftune.cache_folders import cache_root, list_entries, made_entry, used_entry
from hftune.cached import Cached, choose, clear, list_cached
from hftune.errors import RequestError

NOW = time.time()
DAY = 86_400


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path / "own"))


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def make(kind: str, key: str, *, days: float = 0.0) -> None:
    """Put an entry into the cache that was used so many days ago."""
    with made_entry(kind, key, says=f"{kind} of a test") as folder:
        (folder / "data").write_bytes(bytes(1000))
    os.utime(cache_root() / kind / key / "about.json", (NOW - days * DAY,) * 2)


def record(folder: str, name: str) -> Path:
    path = cache_root() / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(10))
    path.with_suffix(".lock").touch()
    return path


def pull_something(hub_cache: Path, name: str) -> None:
    """Lay a repository out as the client library does."""
    repo = hub_cache / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    (repo / "blobs" / "b").write_bytes(bytes(500))
    (snapshot / "config.json").symlink_to("../../blobs/b")


def names(cached: Sequence[Cached]) -> list[tuple[str, str]]:
    return [(one.kind, one.key) for one in cached]


def test_all_kinds_are_listed_with_size_time_and_use(hub_cache: Path) -> None:
    make("images", "abcdef01", days=2)
    make("features", "abcdef02")
    record("scan", "0123.safetensors")
    record("audit", "4567.json")
    pull_something(hub_cache, "org/name")
    with used_entry("features", "abcdef02"):
        listed = list_cached(hub_cache)
    assert names(listed) == [
        ("images", "abcdef01"),
        ("features", "abcdef02"),
        ("records", "0123"),
        ("records", "4567"),
        ("repos", "org/name"),
    ]
    assert [one.in_use for one in listed] == [False, True, False, False, False]
    assert listed[0].used == pytest.approx(NOW - 2 * DAY, abs=1)
    assert 1000 < listed[0].num_bytes < 1100
    assert [one.num_bytes for one in listed[2:]] == [10, 10, 500]
    assert listed[0].to_json()["used"] == time.strftime(
        "%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW - 2 * DAY)
    )


def test_nothing_is_an_empty_list(hub_cache: Path) -> None:
    assert list_cached(hub_cache) == []
    assert clear([]).removed == ()


def test_clearing_everything_leaves_repositories_and_what_is_in_use(hub_cache: Path) -> None:
    make("images", "abcdef01")
    make("features", "abcdef02")
    path = record("scan", "0123.safetensors")
    pull_something(hub_cache, "org/name")
    with used_entry("images", "abcdef01") as used:
        cleared = clear(choose(list_cached(hub_cache), kind="all", keys=[], older=0))
        assert used is not None
        assert (used / "data").exists()
    assert names(cleared.removed) == [("features", "abcdef02"), ("records", "0123")]
    assert names(cleared.kept) == [("images", "abcdef01")]
    assert list(path.parent.iterdir()) == []
    assert names(list_cached(hub_cache)) == [("images", "abcdef01"), ("repos", "org/name")]


def test_clearing_by_kind_and_age(hub_cache: Path) -> None:
    make("images", "abcdef01", days=8)
    make("images", "abcdef02", days=6)
    make("features", "abcdef03", days=9)
    chosen = choose(list_cached(hub_cache), kind="images", keys=[], older=7 * DAY)
    assert names(chosen) == [("images", "abcdef01")]


def test_clearing_by_name_takes_repositories_too(hub_cache: Path) -> None:
    make("images", "abcdef01")
    pull_something(hub_cache, "org/name")
    pull_something(hub_cache, "org/name-2")
    keys = ["abcdef", "org/name", "abcdef01"]
    cleared = clear(choose(list_cached(hub_cache), kind="all", keys=keys, older=0))
    assert names(cleared.removed) == [("images", "abcdef01"), ("repos", "org/name")]
    assert names(list_cached(hub_cache)) == [("repos", "org/name-2")]


@pytest.mark.parametrize(
    ("kind", "key", "problem"),
    [
        ("all", "abcdef", "names several things"),
        ("images", "abcdef02", "nothing in the cache"),
        ("all", "abcde", "nothing in the cache"),
        ("all", "", "nothing in the cache"),
        ("repos", "abcdef01", "nothing in the cache"),
    ],
)
def test_a_name_has_to_mean_one_thing(kind: str, key: str, problem: str, hub_cache: Path) -> None:
    make("images", "abcdef01")
    make("features", "abcdef02")
    with pytest.raises(RequestError, match=problem):
        choose(list_cached(hub_cache), kind=kind, keys=[key], older=0)


def test_what_killed_writers_left_goes_after_a_day(hub_cache: Path) -> None:
    old, new = NOW - 2 * DAY, NOW
    remains = []
    for folder in ("images", "scan"):
        for name, when in ((".a.part", old), (".b.part", new)):
            path = cache_root() / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if folder == "images" else path.touch()
            os.utime(path, (when, when))
            remains.append(path)
    assert list_cached(hub_cache) == []
    clear([])
    assert [path.exists() for path in remains] == [False, True, False, True]


def test_an_entry_that_is_gone_by_then_counts_as_removed(hub_cache: Path) -> None:
    make("images", "abcdef01")
    chosen = choose(list_cached(hub_cache), kind="all", keys=[], older=0)
    clear(chosen)
    assert names(clear(chosen).removed) == [("images", "abcdef01")]
    assert list_entries("images") == []
