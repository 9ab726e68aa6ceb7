"""The client library's cache: what was pulled is listed by name, and goes with all revisions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hftune.hub.cached import cached_repos, remove_repo
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref

FILES = {"model.safetensors": bytes(3000), "config.json": b"{}"}


def test_pulled_repositories_are_listed_and_removed(
    make_repo: Callable[..., str], repo_id: str, settings: HubSettings
) -> None:
    commit = make_repo(FILES)
    pulled = pull(parse_ref(repo_id), settings=settings)
    (repo,) = cached_repos(settings.cache)
    assert (repo.name, repo.num_bytes, repo.revisions) == (repo_id, 3002, (commit,))
    assert pulled.folder is not None
    assert repo.folder in pulled.folder.parents
    assert remove_repo(settings.cache, repo)
    assert cached_repos(settings.cache) == []
    assert pull(parse_ref(repo_id), settings=settings) == pulled


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_a_place_without_repositories_lists_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert cached_repos(tmp_path / name) == []


def test_a_damaged_repository_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "models--org--name").mkdir()
    assert cached_repos(tmp_path) == []
    assert "models--org--name" in caplog.text
