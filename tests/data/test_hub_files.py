"""Data sets by the road of models: what is needed, verified, and through a Hub that fails."""

import logging
import resource
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hftune.core import DataFacts, RepoRef
from hftune.data.hub_files import fetch_files
from hftune.data.hub_source import hub_dataset, open_repository
from hftune.errors import DataError, DiskError, HftuneError, HubError, OfflineError
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.seed import seed_repo
from hftune.hub.server import RunningHub
from tests.data.conftest import draw
from tests.data.squares import write_squares
from tests.hub.faulty import FAULTS, Fault, FaultyHub, Kind, faulty

Seed = Callable[[Path], RepoRef]
KINDS: tuple[Kind, ...] = ("info", "tree", "head", "get small", "get large")
EACH_RUN: tuple[tuple[Kind, str], ...] = (
    ("info", "503"),
    ("info", "reset"),
    ("tree", "answer cut short"),
    ("get small", "502"),
    ("get large", "reset in the answer"),
    ("get large", "answer cut short"),
    ("get large", "stall"),
    ("get large", "byte flipped"),
)
# A byte that flips in an answer of JSON is another answer; only contents have a digest.
EVERY = [
    (kind, name)
    for kind in KINDS
    for name, fault in FAULTS.items()
    if fault.ending != "flipped" or kind.startswith("get")
]
NOT_WAITED_OUT = ("page of HTML", "429, Retry-After: 3600", "503, Retry-After: 3600")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture
def settings(local_hub: RunningHub, tmp_path: Path) -> HubSettings:
    """Ask the test Hub with an empty cache, few attempts and next to no pauses."""
    return HubSettings(
        endpoint=local_hub.endpoint,
        token=local_hub.write_token,
        cache=tmp_path / "cache",
        attempts=3,
        first_pause=0.01,
        longest_pause=2.0,
        timeout=0.5,
    )


@pytest.fixture
def seed(local_hub: RunningHub, tmp_path: Path, request: pytest.FixtureRequest) -> Seed:
    """Give a function that makes a folder a data set repository, and gives its reference."""
    name = "".join(one if one.isalnum() else "-" for one in request.node.name)
    repo_id = f"local/{name.replace('--', '-').strip('-')[-60:].strip('-')}".replace("--", "-")

    def make(folder: Path) -> RepoRef:
        owner = HubSettings(
            endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "seeding"
        )
        ref = seed_repo(owner, RepoRef(kind="dataset", repo_id=repo_id, folder=folder)).ref
        return RepoRef(kind="dataset", repo_id=repo_id, revision=ref.commit)

    return make


@pytest.fixture
def proxy(local_hub: RunningHub) -> Iterator[FaultyHub]:
    with faulty(local_hub.endpoint) as running:
        yield running


def labels(ref: RepoRef, settings: HubSettings) -> list[int]:
    """Open a data set and give the labels of its training rows, after reading every image."""
    rows = open_repository(ref, None, settings=settings).builder.as_dataset(split="train")
    assert {image.size for image in rows["image"]} == {(32, 33)}
    return list(rows["label"])


def parquet(settings: HubSettings) -> Path:
    (path,) = settings.cache.glob("*/snapshots/*/data/train*.parquet")
    return path


def test_files_that_the_data_need_are_brought_and_no_others(
    squares: Path, seed: Seed, settings: HubSettings, tmp_path: Path
) -> None:
    folder = write_squares(tmp_path / "repo")
    (folder / "original.bin").write_bytes(b"raw" * 1000)
    (folder / "banner.png").write_bytes((squares / "README.md").read_bytes())
    got = fetch_files(seed(folder), None, settings=settings)
    assert got.ref.folder is not None
    brought = {p.relative_to(got.ref.folder).as_posix() for p in got.ref.folder.rglob("*.*")}
    wanted = {p.relative_to(squares).as_posix() for p in squares.rglob("*.*")}
    assert brought == wanted == set(got.sizes)
    assert all((squares / path).stat().st_size == size for path, size in got.sizes.items())


def test_one_configuration_of_several_is_brought(
    seed: Seed, settings: HubSettings, tmp_path: Path
) -> None:
    for name in ("small", "large"):
        write_squares(tmp_path / "repo" / name)
    (tmp_path / "repo" / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {name}\n  data_files:\n"
            f"  - {{split: train, path: {name}/data/train-*}}\n"
            for name in ("small", "large")
        )
        + "---\n"
    )
    ref = seed(tmp_path / "repo")
    got = fetch_files(ref, "large", settings=settings)
    data = [path for path in got.sizes if path.endswith(".parquet")]
    assert data == ["large/data/train-00000-of-00001.parquet"]
    with pytest.raises(DataError) as caught:
        fetch_files(ref, "huge", settings=settings)
    assert caught.value.allowed == "large, small"
    assert caught.value.where == ref.repo_id


def test_images_in_folders_of_their_classes_are_read(
    seed: Seed, settings: HubSettings, tmp_path: Path
) -> None:
    for number in range(4):
        path = tmp_path / "repo" / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)
    opened = open_repository(seed(tmp_path / "repo"), None, settings=settings)
    rows = opened.builder.as_dataset(split="train")
    assert rows["label"] == [0, 0, 1, 1]
    assert rows.features["label"].names == ["a", "b"]


def test_archive_is_looked_into(seed: Seed, settings: HubSettings, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    draw(0).save(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "repo" / "train.zip", "w") as archive:
        archive.write(tmp_path / "0.png", "0.png")
        archive.writestr("metadata.csv", "file_name,label\n0.png,ant\n")
    opened = open_repository(seed(tmp_path / "repo"), None, settings=settings)
    assert opened.builder.as_dataset(split="train")["label"] == ["ant"]


def test_what_is_no_data_set_is_one_error(
    seed: Seed, settings: HubSettings, tmp_path: Path
) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "notes.md").write_text("nothing")
    ref = seed(tmp_path / "repo")
    with pytest.raises(DataError, match="cannot be read as a data set") as caught:
        open_repository(ref, None, settings=settings)
    assert "/tmp" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_second_opening_asks_for_nothing(
    squares: Path, seed: Seed, settings: HubSettings, caplog: pytest.LogCaptureFixture
) -> None:
    ref = seed(squares)
    first = labels(ref, settings)
    with caplog.at_level(logging.DEBUG, logger="hftune.hub.server.call"):
        assert labels(ref, settings) == first == [0, 1] * 6
    assert "GET" not in caplog.text
    assert "HEAD" not in caplog.text


@pytest.mark.parametrize("damage", [b"", b"\0", b"PAR1"], ids=["empty", "short", "other"])
def test_damaged_file_is_brought_again(
    squares: Path, seed: Seed, settings: HubSettings, damage: bytes
) -> None:
    ref = seed(squares)
    whole = labels(ref, settings)
    parquet(settings).resolve().write_bytes(damage)
    assert labels(ref, settings) == whole


def test_flipped_byte_offline_is_an_error_and_never_used(
    squares: Path, seed: Seed, settings: HubSettings
) -> None:
    ref = seed(squares)
    whole = labels(ref, settings)
    content = bytearray(parquet(settings).read_bytes())
    content[len(content) // 2] ^= 1
    parquet(settings).resolve().write_bytes(bytes(content))
    with pytest.raises(HubError, match="not what the repository's listing says"):
        labels(ref, replace(settings, offline=True))
    with pytest.raises(OfflineError, match="download a file"):
        labels(ref, replace(settings, offline=True))
    assert labels(ref, settings) == whole


def test_without_a_hub_the_last_seen_commit_of_a_branch_serves(
    squares: Path, seed: Seed, settings: HubSettings, caplog: pytest.LogCaptureFixture
) -> None:
    branch = replace(seed(squares), revision=None)
    whole = labels(branch, settings)
    for without in (
        replace(settings, offline=True),
        replace(settings, endpoint="http://127.0.0.1:1"),
    ):
        caplog.clear()
        assert labels(branch, without) == whole
        assert "from the cache, last seen for 'main'" in caplog.text


def test_what_was_pulled_by_name_serves_without_a_hub(
    squares: Path, seed: Seed, settings: HubSettings
) -> None:
    ref = replace(seed(squares), revision=None)
    pull(ref, settings=settings)
    assert labels(ref, replace(settings, offline=True)) == [0, 1] * 6


def test_cache_that_cannot_take_the_tables_is_one_error(
    squares: Path, seed: Seed, settings: HubSettings
) -> None:
    ref = seed(squares)
    fetch_files(ref, None, settings=settings)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(DiskError, match="largest size"):
            open_repository(ref, None, settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert labels(ref, settings) == [0, 1] * 6


def test_without_a_hub_another_commit_never_serves(
    squares: Path, seed: Seed, settings: HubSettings
) -> None:
    ref = seed(squares)
    labels(ref, settings)
    with pytest.raises(OfflineError) as caught:
        labels(replace(ref, revision="0" * 40), replace(settings, offline=True))
    assert f"hftune pull --dataset {ref.repo_id}@{'0' * 40}" in str(caught.value.remedy)


def test_folder_laid_out_like_a_repository_needs_no_hub(squares: Path) -> None:
    found = hub_dataset(repo=str(squares))
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 12, "val": 6}
    assert found.facts == DataFacts(config="default", license="cc0-1.0", path=str(squares))


def try_cell(
    kind: Kind, fault: Fault, *, times: int | None, ref: RepoRef, settings: HubSettings,
    proxy: FaultyHub,
) -> HftuneError | None:  # fmt: skip
    """Open a data set through a fault, then with a Hub that is well again."""
    ref, settings = replace(ref, revision=None), replace(settings, endpoint=proxy.endpoint)
    proxy.spoil(kind, fault, times=times)
    error = None
    try:
        assert labels(ref, settings) == [0, 1] * 6
    except HftuneError as caught:
        error = caught
    assert proxy.count(kind) >= 1
    assert error is None or (error.exit_code == 3 and error.remedy)
    proxy.heal()
    assert labels(ref, settings) == [0, 1] * 6
    return error


@pytest.mark.parametrize(
    ("kind", "name"), EACH_RUN, ids=[f"{kind}, {name}" for kind, name in EACH_RUN]
)
def test_a_fault_that_passes_costs_time_only(
    kind: Kind, name: str, squares: Path, seed: Seed, settings: HubSettings, proxy: FaultyHub
) -> None:
    fault, ref = FAULTS[name], seed(squares)
    assert try_cell(kind, fault, times=1, ref=ref, settings=settings, proxy=proxy) is None


@pytest.mark.parametrize("name", ["byte flipped", "500"])
def test_a_fault_that_stays_is_one_error(
    name: str, squares: Path, seed: Seed, settings: HubSettings, proxy: FaultyHub
) -> None:
    fault, ref = FAULTS[name], seed(squares)
    error = try_cell("get large", fault, times=None, ref=ref, settings=settings, proxy=proxy)
    assert isinstance(error, HubError)
    assert not list(settings.cache.glob("**/*.incomplete"))


@pytest.mark.chaos
@pytest.mark.parametrize(("kind", "name"), EVERY, ids=map(", ".join, EVERY))
def test_every_fault_of_every_request(
    kind: Kind, name: str, squares: Path, seed: Seed, settings: HubSettings, proxy: FaultyHub
) -> None:
    ref = seed(squares)
    error = try_cell(kind, FAULTS[name], times=1, ref=ref, settings=settings, proxy=proxy)
    assert error is None or name in NOT_WAITED_OUT
