from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.core import RepoRef
from hftune.errors import RequestError
from hftune.hub.client import HubSettings
from hftune.hub.seed import require_local, seed_repo
from hftune.hub.server import RunningHub, running


@pytest.fixture
def hub(tmp_path: Path):
    with running(tmp_path / "hub") as running_hub:
        yield running_hub


@pytest.fixture
def settings(hub: RunningHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, cache=tmp_path / "cache", token=hub.write_token)


@pytest.fixture
def ref(tmp_path: Path) -> RepoRef:
    folder = tmp_path / "folder"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "data" / "rows.parquet").write_bytes(b"\x00rows")
    return RepoRef(kind="dataset", repo_id="acme/rows", folder=folder)


def test_a_folder_becomes_one_commit(settings: HubSettings, ref: RepoRef) -> None:
    seeded = seed_repo(settings, ref)
    api = HfApi(endpoint=settings.endpoint, token=settings.token)
    commits = api.list_repo_commits("acme/rows", repo_type="dataset")
    assert len(commits) == 2  # the first is the repository's own
    assert (seeded.ref.commit, seeded.is_new) == (commits[0].commit_id, True)
    assert api.list_repo_files("acme/rows", repo_type="dataset") == [
        ".gitattributes",
        "README.md",
        "data/rows.parquet",
    ]


def test_seeding_twice_changes_nothing(settings: HubSettings, ref: RepoRef) -> None:
    first = seed_repo(settings, ref)
    second = seed_repo(settings, ref)
    assert (second.ref.commit, second.is_new) == (first.ref.commit, False)


def test_seeding_removes_what_no_longer_belongs(settings: HubSettings, ref: RepoRef) -> None:
    seed_repo(settings, ref)
    assert ref.folder is not None
    (ref.folder / "data" / "rows.parquet").rename(ref.folder / "data" / "other.parquet")
    seed_repo(settings, ref)
    api = HfApi(endpoint=settings.endpoint, token=settings.token)
    files = api.list_repo_files("acme/rows", repo_type="dataset")
    assert files == [".gitattributes", "README.md", "data/other.parquet"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://huggingface.co",
        "http://127.0.0.1.example.org",
        "http://10.0.0.1:8765",
        "http://localhost.example.org:8765",
    ],
)
def test_only_a_hub_on_this_machine_is_seeded(
    settings: HubSettings, ref: RepoRef, endpoint: str
) -> None:
    with pytest.raises(RequestError, match="only a local Hub can be seeded"):
        seed_repo(replace(settings, endpoint=endpoint), ref)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8765", "http://localhost:1", "http://[::1]:8765"]
)
def test_addresses_of_this_machine_are_known(endpoint: str) -> None:
    require_local(endpoint)
