import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem
from huggingface_hub.errors import (
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from hftune.hub.server import RunningHub

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# reading\n",
    "weights.bin": bytes(range(256)) * 10,
    "empty.txt": b"",
    "a/b/deep.txt": b"deep",
    "a/b.txt": b"not so deep",
}


@pytest.fixture(scope="module")
def repo(hub: RunningHub) -> str:
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    api.create_repo("acme/reading")
    operations = [CommitOperationAdd(path, content) for path, content in FILES.items()]
    api.create_commit("acme/reading", operations, commit_message="all files")
    return "acme/reading"


def get(hub: RunningHub, path: str, **headers: str) -> object:
    return get_session().get(f"{hub.endpoint}/{path}", headers=headers)


def test_info_has_what_clients_need(api: HfApi, repo: str) -> None:
    info = api.model_info(repo, files_metadata=True)
    assert info.id == repo
    assert info.sha == api.list_repo_commits(repo)[0].commit_id
    assert info.card_data.license == "mit"
    assert info.last_modified >= info.created_at
    weights = next(one for one in info.siblings if one.rfilename == "weights.bin")
    digest = hashlib.sha256(FILES["weights.bin"]).hexdigest()
    assert (weights.size, weights.lfs.sha256) == (2560, digest)
    assert weights.lfs.pointer_size == 129


def test_info_expands_only_what_is_asked(api: HfApi, repo: str) -> None:
    info = api.model_info(repo, expand=["sha", "tags"])
    assert info.sha is not None
    assert info.tags == ["license:mit"]
    assert info.siblings is None


def test_object_ids_are_those_of_git(api: HfApi, repo: str, tmp_path: Path, cache: Path) -> None:
    # The reference is git itself, given the same files with the pointer of the large one.
    snapshot = Path(api.snapshot_download(repo, cache_dir=cache))
    for path in (*FILES, ".gitattributes"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((snapshot / path).read_bytes())
    digest = hashlib.sha256(FILES["weights.bin"]).hexdigest()
    (tmp_path / "weights.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 2560\n"
    )
    # The file must not be filtered by the attributes it is listed in.
    environment = {**os.environ, "GIT_DIR": str(tmp_path / "git"), "GIT_WORK_TREE": str(tmp_path)}
    run = {"cwd": tmp_path, "env": environment, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q"], **run)
    subprocess.run(["git", "-c", "filter.lfs.clean=", "add", *FILES, ".gitattributes"], **run)
    root = subprocess.run(["git", "write-tree"], **run).stdout.decode().strip()
    listed = subprocess.run(["git", "ls-tree", "-r", "-t", root], **run).stdout.decode()
    expected = {line.split("\t")[1]: line.split()[2] for line in listed.splitlines()}
    found = {
        item.path: getattr(item, "blob_id", None) or item.tree_id
        for item in api.list_repo_tree(repo, recursive=True)
    }
    assert found == expected


def test_tree_lists_one_folder_or_everything_below(api: HfApi, repo: str) -> None:
    def paths(**options: object) -> list[str]:
        return [item.path for item in api.list_repo_tree(repo, **options)]

    assert set(paths()) == {".gitattributes", "README.md", "weights.bin", "empty.txt", "a"}
    assert paths(path_in_repo="a") == ["a/b", "a/b.txt"]
    assert paths(path_in_repo="a/b") == ["a/b/deep.txt"]
    assert paths(path_in_repo="a", recursive=True) == ["a/b", "a/b.txt", "a/b/deep.txt"]


def test_absent_folder_is_an_absent_entry(api: HfApi, repo: str) -> None:
    for path in ("nothing", "README.md", "a/b/deep.txt"):
        with pytest.raises(RemoteEntryNotFoundError):
            list(api.list_repo_tree(repo, path))


def test_expanded_listing_names_the_last_commit(api: HfApi) -> None:
    api.create_repo("acme/last")
    for number, path in enumerate(["x/1.txt", "x/2.txt", "y.txt"]):
        api.upload_file(
            path_or_fileobj=b"x",
            path_in_repo=path,
            repo_id="acme/last",
            commit_message=f"commit {number}",
        )
    items = api.list_repo_tree("acme/last", recursive=True, expand=True)
    assert {item.path: item.last_commit.title for item in items} == {
        ".gitattributes": "initial commit",
        "x": "commit 1",
        "x/1.txt": "commit 0",
        "x/2.txt": "commit 1",
        "y.txt": "commit 2",
    }


def test_long_listings_come_in_pages(api: HfApi) -> None:
    api.create_repo("acme/long")
    names = [f"{number:04d}.txt" for number in range(1203)]
    api.create_commit(
        "acme/long", [CommitOperationAdd(name, b"x") for name in names], commit_message="many"
    )
    listed = [item.path for item in api.list_repo_tree("acme/long")]
    assert listed == [".gitattributes", *names]
    expanded = [item.path for item in api.list_repo_tree("acme/long", expand=True)]
    assert expanded == listed


def test_paths_info_leaves_out_what_is_absent(api: HfApi, repo: str) -> None:
    found = api.get_paths_info(repo, ["a", "weights.bin", "nothing"], expand=True)
    assert [item.path for item in found] == ["a", "weights.bin"]
    assert found[1].lfs.size == 2560
    assert found[1].last_commit.title == "all files"


def test_absent_file_names_the_commit(api: HfApi, repo: str, cache: Path) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(repo, "nothing.txt", cache_dir=cache)
    # With the commit in the answer, the client remembers the absence.
    commit = api.model_info(repo).sha
    assert (cache / "models--acme--reading/.no_exist" / commit / "nothing.txt").exists()


def test_absent_revision_and_repo_are_told_apart(api: HfApi, repo: str, cache: Path) -> None:
    for revision in ("never", "0" * 40, "refs/pr/7", "refs/other/1", "../main"):
        with pytest.raises(RevisionNotFoundError):
            api.hf_hub_download(repo, "README.md", revision=revision, cache_dir=cache)
    with pytest.raises(RepositoryNotFoundError):
        api.hf_hub_download("acme/never", "README.md", cache_dir=cache)


@pytest.mark.parametrize("revision", ["main", "refs/heads/main", "v1/x", "refs/tags/v1/x", None])
def test_revisions_with_slashes_are_one_segment(
    api: HfApi, repo: str, cache: Path, revision: str | None
) -> None:
    api.create_tag(repo, tag="v1/x", exist_ok=True)
    revision = revision or api.model_info(repo).sha
    path = api.hf_hub_download(repo, "a/b/deep.txt", revision=revision, cache_dir=cache)
    assert Path(path).read_bytes() == b"deep"
    assert api.model_info(repo, revision=revision).sha == api.model_info(repo).sha


def test_head_tells_commit_id_and_size(api: HfApi, hub: RunningHub, repo: str) -> None:
    commit = api.model_info(repo).sha
    head = get_session().head(f"{hub.endpoint}/{repo}/resolve/main/weights.bin")
    digest = hashlib.sha256(FILES["weights.bin"]).hexdigest()
    assert head.headers["X-Repo-Commit"] == commit
    assert head.headers["X-Linked-Etag"] == head.headers["ETag"] == f'"{digest}"'
    assert head.headers["Content-Length"] == head.headers["X-Linked-Size"] == "2560"
    assert head.content == b""


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("0-9", 0, 10), ("100-", 100, 2560), ("-5", 2555, 2560), ("2550-9999", 2550, 2560)],
)
def test_ranges_are_honoured(
    hub: RunningHub, repo: str, wanted: str, start: int, stop: int
) -> None:
    reply = get(hub, f"{repo}/resolve/main/weights.bin", Range=f"bytes={wanted}")
    assert reply.status_code == 206
    assert reply.content == FILES["weights.bin"][start:stop]
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/2560"


def test_range_past_the_end_is_416(hub: RunningHub, repo: str) -> None:
    reply = get(hub, f"{repo}/resolve/main/weights.bin", Range="bytes=2560-")
    assert reply.status_code == 416
    assert reply.headers["Content-Range"] == "bytes */2560"


@pytest.mark.parametrize("path", ["..%2F..%2Ftokens.json", "../../tokens.json", "%2e%2e/x"])
def test_paths_cannot_reach_the_disk(hub: RunningHub, repo: str, path: str) -> None:
    reply = get(hub, f"{repo}/resolve/main/{path}")
    assert reply.status_code == 404
    assert hub.write_token.encode() not in reply.content


def test_downloads_come_from_eight_threads_at_once(api: HfApi, repo: str, cache: Path) -> None:
    folder = Path(api.snapshot_download(repo, cache_dir=cache, max_workers=8))
    found = {path: (folder / path).read_bytes() for path in FILES}
    assert found == FILES


def test_file_system_reads_through_ranges(hub: RunningHub, repo: str) -> None:
    system = HfFileSystem(endpoint=hub.endpoint, token=hub.write_token)
    with system.open(f"{repo}/weights.bin", "rb", block_size=100) as stream:
        stream.seek(1000)
        assert stream.read(50) == FILES["weights.bin"][1000:1050]
    assert sorted(system.ls(f"{repo}/a", detail=False)) == [f"{repo}/a/b", f"{repo}/a/b.txt"]
