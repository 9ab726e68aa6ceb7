import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.core import RepoRef
from hftune.errors import (
    DiskError,
    HubError,
    HubPermissionError,
    OfflineError,
    RefError,
    RepoNotFoundError,
    RequestError,
    WeightsError,
)
from hftune.hub.client import HubSettings
from hftune.hub.listing import read_listing
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.hub.resolve import resolve_commit
from hftune.hub.server import RunningHub

WEIGHTS = b"\x01\x02\x03" * 1000
MODEL = {
    "model.safetensors": WEIGHTS,
    "config.json": b"{}",
    "README.md": b"---\nlicense: mit\n---\n",
    "pytorch_model.bin": b"\x80\x02pickle",
    "code/run.py": b"print()",
}
MakeRepo = Callable[..., str]


def names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_pull_gives_folder_and_commit(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    commit = make_repo(MODEL)
    got = pull(parse_ref(repo_id), settings=settings)
    assert got.commit == commit
    assert got.folder is not None
    assert (got.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert pull(repo_id, settings=settings) == got


def test_model_gives_safetensors_and_texts_only(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), settings=settings)
    assert got.folder is not None
    assert names(got.folder) == ["README.md", "config.json", "model.safetensors"]


def test_pinned_commit_stays_when_the_branch_moves(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    first = make_repo(MODEL)
    second = make_repo({"config.json": b'{"new": 1}'})
    old = pull(parse_ref(repo_id, revision=first), settings=settings)
    new = pull(parse_ref(repo_id), settings=settings)
    assert (old.commit, new.commit) == (first, second)
    assert old.folder is not None
    assert new.folder is not None
    assert (old.folder / "config.json").read_bytes() == b"{}"
    assert (new.folder / "config.json").read_bytes() == b'{"new": 1}'


def test_pinned_and_cached_needs_no_request(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, unreachable: HubSettings
) -> None:
    commit = make_repo(MODEL)
    first = pull(parse_ref(repo_id, revision=commit), settings=settings)
    assert pull(parse_ref(repo_id, revision=commit), settings=unreachable) == first


def test_branch_and_tag_resolve(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, api: HfApi
) -> None:
    commit = make_repo(MODEL)
    api.create_branch(repo_id, branch="dev/x")
    api.create_tag(repo_id, tag="v1")
    for revision in ("dev/x", "v1"):
        assert resolve_commit(parse_ref(repo_id, revision=revision), settings=settings) == RepoRef(
            repo_id=repo_id, revision=revision, commit=commit
        )


@pytest.mark.parametrize("away", ["offline", "unreachable"])
def test_without_the_hub_the_cache_serves_and_says_so(
    away: str,
    make_repo: MakeRepo,
    repo_id: str,
    settings: HubSettings,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    commit = make_repo(MODEL)
    first = pull(parse_ref(repo_id), settings=settings)
    make_repo({"config.json": b'{"new": 1}'})
    with caplog.at_level(logging.WARNING, logger="hftune"):
        again = pull(parse_ref(repo_id), settings=request.getfixturevalue(away))
    assert again == first
    assert commit in caplog.text


def test_without_the_hub_another_revision_never_serves(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, offline: HubSettings
) -> None:
    make_repo(MODEL)
    pull(parse_ref(repo_id), settings=settings)
    with pytest.raises(OfflineError):
        pull(parse_ref(repo_id, revision="v2"), settings=offline)
    with pytest.raises(OfflineError):
        pull(parse_ref(repo_id, revision="f" * 40), settings=offline)


def test_offline_copy_that_is_not_whole_is_refused(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, offline: HubSettings
) -> None:
    make_repo(MODEL)
    pull(parse_ref(repo_id), files=["config.json"], settings=settings)
    with pytest.raises(OfflineError) as caught:
        pull(parse_ref(repo_id), settings=offline)
    assert caught.value.exit_code == 3
    assert "HF_HUB_OFFLINE" in str(caught.value)


def test_unreachable_without_cache_names_the_endpoint(unreachable: HubSettings) -> None:
    with pytest.raises(OfflineError) as caught:
        pull(parse_ref("local/never-seen"), settings=unreachable)
    assert unreachable.endpoint in str(caught.value)


def test_unreachable_with_a_pinned_commit_is_found_by_one_light_request(
    unreachable: HubSettings,
) -> None:
    with pytest.raises(OfflineError, match="look up the revision") as caught:
        pull(parse_ref("local/never-seen", revision="a" * 40), settings=unreachable)
    assert f"hftune pull local/never-seen@{'a' * 40}" in str(caught.value.remedy)


def test_missing_repository(settings: HubSettings) -> None:
    with pytest.raises(RepoNotFoundError, match="no such repository") as caught:
        pull(parse_ref("local/absent"), settings=settings)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_missing_revision(
    revision: str, make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    make_repo(MODEL)
    with pytest.raises(RepoNotFoundError, match="no such revision"):
        pull(parse_ref(repo_id, revision=revision), settings=settings)


def test_private_repository_without_token(
    make_repo: MakeRepo, repo_id: str, nobody: HubSettings, settings: HubSettings
) -> None:
    make_repo(MODEL, private=True)
    with pytest.raises(RepoNotFoundError, match="private"):
        pull(parse_ref(repo_id), settings=nobody)
    assert pull(parse_ref(repo_id), settings=settings).commit is not None


def test_cached_copy_does_not_hide_a_refusal(
    make_repo: MakeRepo, repo_id: str, nobody: HubSettings, settings: HubSettings
) -> None:
    make_repo(MODEL, private=True)
    pull(parse_ref(repo_id), settings=settings)
    with pytest.raises(RepoNotFoundError):
        pull(parse_ref(repo_id), settings=nobody)


def test_unknown_token(make_repo: MakeRepo, repo_id: str, settings: HubSettings) -> None:
    make_repo(MODEL)
    secret = "hf_" + "secret" * 6
    with pytest.raises(HubPermissionError) as caught:
        pull(parse_ref(repo_id), settings=replace(settings, token=secret))
    assert "hf auth login" in str(caught.value)
    assert secret not in str(caught.value)


def test_pickles_only_is_refused_before_any_download(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    make_repo({"pytorch_model.bin": b"\x80\x02", "config.json": b"{}"})
    with pytest.raises(WeightsError, match="pickled") as caught:
        pull(parse_ref(repo_id), settings=settings)
    assert "pytorch_model.bin" in str(caught.value)
    assert not list(settings.cache.rglob("snapshots"))


def test_named_files_and_patterns(make_repo: MakeRepo, repo_id: str, settings: HubSettings) -> None:
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), files=["config.json", "code/*.py"], settings=settings)
    assert got.folder is not None
    assert names(got.folder) == ["code/run.py", "config.json"]


def test_named_file_that_is_absent(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    make_repo(MODEL)
    with pytest.raises(RepoNotFoundError, match="no such file") as caught:
        pull(parse_ref(repo_id), files=["config.yaml"], settings=settings)
    assert "config.yaml" in str(caught.value)


def test_dataset_gives_every_file(make_repo: MakeRepo, repo_id: str, settings: HubSettings) -> None:
    make_repo(
        {"data/train.parquet": b"PAR1", "README.md": b"---\nlicense: mit\n---\n"}, kind="dataset"
    )
    got = pull(parse_ref(repo_id, kind="dataset"), settings=settings)
    assert got.folder is not None
    assert names(got.folder) == ["README.md", "data/train.parquet"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_flipped_byte_in_the_cache_is_repaired(
    name: str, make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), settings=settings)
    assert got.folder is not None
    flip((got.folder / name).resolve())
    pull(parse_ref(repo_id), settings=settings)
    assert (got.folder / name).read_bytes() == MODEL[name]


def test_flipped_byte_offline_is_an_error_and_the_file_goes(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, offline: HubSettings
) -> None:
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), settings=settings)
    assert got.folder is not None
    flip((got.folder / "model.safetensors").resolve())
    with pytest.raises(HubError, match="thrown away"):
        pull(parse_ref(repo_id), settings=offline)
    assert not (got.folder / "model.safetensors").exists()


def test_flipped_byte_on_the_hub_is_an_error(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, client_hub: RunningHub
) -> None:
    weights = WEIGHTS + repo_id.encode()
    make_repo(MODEL | {"model.safetensors": weights})
    flip(find_blob(client_hub.root, weights))
    with pytest.raises(HubError, match="thrown away") as caught:
        pull(parse_ref(repo_id), settings=settings)
    assert hashlib.sha256(weights).hexdigest() in str(caught.value)
    assert not list(settings.cache.rglob("model.safetensors"))


def test_copy_to_a_folder(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, tmp_path: Path
) -> None:
    make_repo(MODEL)
    to = tmp_path / "copy"
    got = pull(parse_ref(repo_id), to=to, settings=settings)
    assert got.folder == to
    assert names(to) == ["README.md", "config.json", "model.safetensors"]
    assert not any(path.is_symlink() for path in to.rglob("*"))
    assert pull(parse_ref(repo_id), to=to, settings=settings) == got


def test_copy_never_replaces_a_folder_of_the_user(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, tmp_path: Path
) -> None:
    make_repo(MODEL)
    to = tmp_path / "thesis"
    to.mkdir()
    (to / "chapter.tex").write_text("words")
    with pytest.raises(RequestError, match="something else"):
        pull(parse_ref(repo_id), to=to, settings=settings)
    assert names(to) == ["chapter.tex"]


def test_empty_cache_can_be_named(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, tmp_path: Path
) -> None:
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), cache_dir=tmp_path / "other", settings=settings)
    assert got.folder is not None
    assert got.folder.is_relative_to(tmp_path / "other")
    assert not settings.cache.exists()


def test_local_folder_is_used_where_it_lies(tmp_path: Path, unreachable: HubSettings) -> None:
    ref = parse_ref(str(tmp_path))
    assert pull(ref, settings=unreachable) == ref
    with pytest.raises(RefError, match="needs no pull"):
        pull(ref, to=tmp_path / "copy", settings=unreachable)


def test_the_client_library_finds_what_was_pulled(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings, api: HfApi
) -> None:
    """Both share one cache: what hftune pulled, timm and others find offline."""
    make_repo(MODEL)
    got = pull(parse_ref(repo_id), settings=settings)
    found = api.hf_hub_download(
        repo_id, "config.json", cache_dir=settings.cache, local_files_only=True
    )
    assert Path(found).parent == got.folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def find_blob(root: Path, content: bytes) -> Path:
    [blob] = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == content]
    return blob


def test_files_that_do_not_fit_are_not_begun(
    make_repo: MakeRepo, repo_id: str, settings: HubSettings
) -> None:
    commit = make_repo(MODEL)
    read_listing(RepoRef(repo_id=repo_id, commit=commit), settings)
    (kept,) = settings.cache.glob("models--*/hftune/*.json")
    kept.write_text(re.sub(r'"size": \d+', '"size": 1000000000000000000', kept.read_text()))
    with pytest.raises(DiskError, match="no room for the 3 files to download") as caught:
        pull(parse_ref(repo_id, revision=commit), settings=settings)
    assert caught.value.where == str(settings.cache)
    assert not list(settings.cache.glob("models--*/blobs/*"))
