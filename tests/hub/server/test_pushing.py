import hashlib
import os
import threading
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError
from huggingface_hub.utils import get_session, hf_raise_for_status

from hftune.hub.server import RunningHub
from hftune.hub.server.lfs import MULTIPART_ABOVE, PART_SIZE


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)


def send_lines(hub: RunningHub, repo_id: str, *lines: str) -> None:
    """Send commit lines that the client itself would never write."""
    response = get_session().post(
        f"{hub.endpoint}/api/models/{repo_id}/commit/main",
        headers={"Authorization": f"Bearer {hub.write_token}"},
        content="\n".join(lines).encode(),
    )
    hf_raise_for_status(response)


HEADER = '{"key": "header", "value": {"summary": "by hand"}}'


def test_one_commit_carries_small_and_large_files(api: HfApi, cache: Path) -> None:
    api.create_repo("acme/push")
    weights = os.urandom(200_000)
    commit = api.create_commit(
        "acme/push",
        [add("config.json", b"{}"), add("model.safetensors", weights), add("deep/a/b.txt", b"b")],
        commit_message="all at once",
        commit_description="in one step",
    )
    history = api.list_repo_commits("acme/push")
    assert [(one.title, one.message) for one in history] == [
        ("all at once", "in one step"),
        ("initial commit", ""),
    ]
    assert history[0].commit_id == commit.oid == api.model_info("acme/push").sha
    assert history[0].authors == ["local"]
    folder = Path(api.snapshot_download("acme/push", cache_dir=cache))
    assert (folder / "model.safetensors").read_bytes() == weights
    assert (folder / "deep/a/b.txt").read_bytes() == b"b"


def test_names_binaries_and_sizes_decide_which_files_are_large(api: HfApi) -> None:
    api.create_repo("acme/ways")
    files = {
        "a.txt": b"text",
        "utf8.txt": ("\u00e4" * 400).encode(),
        "a.npz": b"text under a large name",
        "a.dat": b"\x00\x01binary",
        "a.jpg": b"\xff\xd8\xff\xe0binary",
        "long.txt": b"x" * 10_000_001,
        "empty.bin": b"",
    }
    api.create_commit("acme/ways", [add(*item) for item in files.items()], commit_message="ways")
    large = {item.path for item in api.list_repo_tree("acme/ways") if item.lfs}
    assert large == {"a.npz", "a.dat", "a.jpg", "long.txt"}


def test_own_gitattributes_and_gitignore_are_obeyed(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("acme/attributes")
    attributes = b"raw/** filter=lfs diff=lfs merge=lfs -text\n*.bin -filter\n"
    api.create_commit(
        "acme/attributes",
        [add(".gitattributes", attributes), add(".gitignore", b"*.log\n/tmp/\n!keep.log\n")],
        commit_message="rules",
    )
    paths = ("raw/x/a.txt", "b.bin", "a.log", "keep.log", "tmp/x.txt", "deep/tmp/x.txt")
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    api.upload_folder(repo_id="acme/attributes", folder_path=tmp_path)
    found = {
        item.path: item.lfs is not None
        for item in api.list_repo_tree("acme/attributes", recursive=True)
        if hasattr(item, "lfs") and not item.path.startswith(".")
    }
    assert found == {
        "raw/x/a.txt": True,
        "b.bin": False,
        "keep.log": False,
        "deep/tmp/x.txt": False,
    }


def test_unchanged_files_make_no_commit(api: HfApi) -> None:
    api.create_repo("acme/again")
    operations = [add("a.txt", b"same"), add("w.bin", b"same weights")]
    first = api.create_commit("acme/again", operations, commit_message="one").oid
    operations = [add("a.txt", b"same"), add("w.bin", b"same weights")]
    api.create_commit("acme/again", operations, commit_message="two")
    assert api.model_info("acme/again").sha == first


def test_parent_commit_guards_the_branch(api: HfApi) -> None:
    api.create_repo("acme/guarded")
    first = api.model_info("acme/guarded").sha
    api.create_commit(
        "acme/guarded", [add("a.txt", b"1")], commit_message="short", parent_commit=first[:7]
    )
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit(
            "acme/guarded", [add("b.txt", b"2")], commit_message="late", parent_commit=first
        )
    assert caught.value.response.status_code == 412
    assert not api.file_exists("acme/guarded", "b.txt")


def test_of_many_pushes_on_one_parent_exactly_one_lands(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/race")
    first = api.model_info("acme/race").sha
    outcomes: list[int] = []

    def push(number: int) -> None:
        try:
            api.create_commit(
                "acme/race",
                [add(f"{number}.txt", b"x")],
                commit_message=f"push {number}",
                parent_commit=first,
            )
            outcomes.append(200)
        except HfHubHTTPError as error:
            outcomes.append(error.response.status_code)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [200, 412, 412, 412, 412, 412]
    assert len(api.list_repo_commits("acme/race")) == 2


def test_many_pushes_without_parent_all_land(api: HfApi) -> None:
    api.create_repo("acme/crowd")
    threads = [
        threading.Thread(
            target=api.upload_file,
            kwargs={"path_or_fileobj": b"x", "path_in_repo": f"{n}.txt", "repo_id": "acme/crowd"},
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = set(api.list_repo_files("acme/crowd"))
    assert files == {".gitattributes", *(f"{n}.txt" for n in range(6))}
    assert len(api.list_repo_commits("acme/crowd")) == 7


def test_files_and_folders_are_deleted_and_copied(api: HfApi) -> None:
    api.create_repo("acme/edit")
    files = ("a.txt", "w.bin", "old/1.txt", "old/2.txt", "older.txt")
    api.create_commit(
        "acme/edit", [add(path, path.encode()) for path in files], commit_message="all"
    )
    api.create_commit(
        "acme/edit",
        [
            CommitOperationDelete("a.txt"),
            CommitOperationDelete("old/", is_folder=True),
            CommitOperationCopy("w.bin", "copy/w.bin"),
            CommitOperationCopy("older.txt", "copy/older.txt"),
        ],
        commit_message="edit",
    )
    assert set(api.list_repo_files("acme/edit")) == {
        ".gitattributes",
        "w.bin",
        "older.txt",
        "copy/w.bin",
        "copy/older.txt",
    }


def test_deleting_what_is_not_there_changes_nothing(api: HfApi) -> None:
    api.create_repo("acme/absent")
    before = api.model_info("acme/absent").sha
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit(
            "acme/absent",
            [add("b.txt", b"b"), CommitOperationDelete("a.txt")],
            commit_message="half",
        )
    assert api.model_info("acme/absent").sha == before


def test_a_name_cannot_be_both_file_and_folder(api: HfApi) -> None:
    api.create_repo("acme/clash")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id="acme/clash")
    with pytest.raises(BadRequestError, match="both a file and a folder"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="a/b", repo_id="acme/clash")


@pytest.mark.parametrize(
    "path",
    ["../out", "/abs", "a//b", "a/../../out", "a/./b", "a\\\\b", "c:/x", ".git/config", "a/.GIT/x"],
)
def test_paths_that_leave_the_repo_are_refused(api: HfApi, hub: RunningHub, path: str) -> None:
    api.create_repo("acme/paths", exist_ok=True)
    line = f'{{"key": "file", "value": {{"path": "{path}", "encoding": "base64", "content": ""}}}}'
    with pytest.raises(BadRequestError, match="cannot be the path of a file"):
        send_lines(hub, "acme/paths", HEADER, line)
    assert api.list_repo_files("acme/paths") == [".gitattributes"]


@pytest.mark.parametrize(
    "lines",
    [
        ["not json"],
        ["[]"],
        ['{"key": "file", "value": {"path": "a"}}'],
        [HEADER, '{"key": "file", "value": {"path": "a", "encoding": "utf-8", "content": ""}}'],
        [HEADER, '{"key": "file", "value": {"path": "a", "encoding": "base64", "content": "?"}}'],
        [HEADER, '{"key": "nothing", "value": {}}'],
        [HEADER, '{"key": "lfsFile", "value": {"path": "a", "oid": "%s", "size": 1}}' % ("0" * 64)],
        ['{"key": "header", "value": {"summary": ""}}'],
        ['{"key": "header", "value": {"summary": "x", "parentCommit": "main"}}'],
    ],
)
def test_malformed_commits_are_refused_whole(api: HfApi, hub: RunningHub, lines: list[str]) -> None:
    api.create_repo("acme/malformed", exist_ok=True)
    with pytest.raises(BadRequestError):
        send_lines(hub, "acme/malformed", *lines)
    assert len(api.list_repo_commits("acme/malformed")) == 1


def test_large_file_above_the_limit_goes_in_parts(api: HfApi, tmp_path: Path, cache: Path) -> None:
    api.create_repo("acme/parts")
    size = MULTIPART_ABOVE + PART_SIZE // 2
    block = os.urandom(1 << 20)
    source = tmp_path / "big.bin"
    with source.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(block)
    api.upload_file(path_or_fileobj=source, path_in_repo="big.bin", repo_id="acme/parts")
    info = api.model_info("acme/parts", files_metadata=True)
    big = next(sibling for sibling in info.siblings if sibling.rfilename == "big.bin")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert (big.size, big.lfs.sha256, big.lfs.size) == (size, digest, size)
    copy = Path(api.hf_hub_download("acme/parts", "big.bin", cache_dir=cache))
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == digest


def batch(hub: RunningHub, repo_id: str, content: bytes, **changes: object) -> dict:
    wish = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "hash_algo": "sha256",
        "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}],
        **changes,
    }
    response = get_session().post(
        f"{hub.endpoint}/{repo_id}.git/info/lfs/objects/batch",
        headers={"Authorization": f"Bearer {hub.write_token}"},
        json=wish,
    )
    hf_raise_for_status(response)
    return response.json()["objects"][0]


def test_known_content_is_not_asked_for_again(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/known")
    assert "actions" in batch(hub, "acme/known", b"weights")
    api.upload_file(path_or_fileobj=b"weights", path_in_repo="w.bin", repo_id="acme/known")
    assert "actions" not in batch(hub, "acme/known", b"weights")


def test_content_of_a_private_repo_cannot_be_claimed_by_its_hash(
    api: HfApi, hub: RunningHub, guest: HfApi
) -> None:
    api.create_repo("acme/vault", private=True)
    api.upload_file(path_or_fileobj=b"the secret", path_in_repo="w.bin", repo_id="acme/vault")
    guest.create_repo("guest/thief")
    assert "actions" in batch(hub, "guest/thief", b"the secret")


def test_upload_addresses_need_their_signature(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/signed")
    content = b"some weights"
    href = batch(hub, "acme/signed", content)["actions"]["upload"]["href"]
    session = get_session()
    for forged in (
        href.partition("?")[0] + "?size=12&expires=99999999999",
        href.replace("size=12", "size=13"),
        href.replace("acme/signed", "acme/other"),
        href.replace("expires=", "expires=9"),
        href[:-1] + ("0" if href[-1] != "0" else "1"),
    ):
        assert session.put(forged, content=content).status_code == 403
    assert session.put(href, content=content).status_code == 200


def test_wrong_content_is_not_kept(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/wrong")
    content = b"some weights"
    href = batch(hub, "acme/wrong", content)["actions"]["upload"]["href"]
    for wrong, code in ((b"SOME WEIGHTS", 400), (b"some", 400), (b"some weights and more", 413)):
        assert get_session().put(href, content=wrong).status_code == code
    assert "actions" in batch(hub, "acme/wrong", content)
    assert list((hub.root / "incoming").iterdir()) == []


def test_pull_request_is_opened_read_and_merged(api: HfApi, guest: HfApi) -> None:
    api.create_repo("acme/proposal")
    proposed = guest.create_commit(
        "acme/proposal",
        [add("idea.txt", b"idea"), add("idea.bin", b"weights")],
        commit_message="an idea",
        create_pr=True,
    )
    assert (proposed.pr_num, proposed.pr_revision) == (1, "refs/pr/1")
    assert not api.file_exists("acme/proposal", "idea.txt")
    assert api.file_exists("acme/proposal", "idea.txt", revision="refs/pr/1")
    refs = api.list_repo_refs("acme/proposal", include_pull_requests=True)
    assert [ref.target_commit for ref in refs.pull_requests] == [proposed.oid]
    api.upload_file(path_or_fileobj=b"x", path_in_repo="meanwhile.txt", repo_id="acme/proposal")
    details = api.get_discussion_details("acme/proposal", 1)
    assert (details.title, details.author, details.status) == ("an idea", "guest", "open")
    assert details.conflicting_files == []
    by = {name: list(api.get_repo_discussions("acme/proposal", author=name))
          for name in ("guest", "local")}  # fmt: skip
    assert ([one.num for one in by["guest"]], by["local"]) == ([1], [])
    api.merge_pull_request("acme/proposal", 1)
    assert {"idea.txt", "idea.bin", "meanwhile.txt"} < set(api.list_repo_files("acme/proposal"))
    assert api.get_discussion_details("acme/proposal", 1).status == "merged"


def test_pull_request_starts_at_the_parent_it_names(api: HfApi) -> None:
    api.create_repo("acme/earlier")
    first = api.model_info("acme/earlier").sha
    api.upload_file(path_or_fileobj=b"x", path_in_repo="later.txt", repo_id="acme/earlier")
    api.create_commit(
        "acme/earlier",
        [add("idea.txt", b"idea")],
        commit_message="an idea",
        create_pr=True,
        parent_commit=first,
    )
    assert api.list_repo_files("acme/earlier", revision="refs/pr/1") == [
        ".gitattributes",
        "idea.txt",
    ]


def test_conflicting_pull_request_is_not_merged(api: HfApi) -> None:
    api.create_repo("acme/conflict")
    pull = api.create_pull_request("acme/conflict", title="mine")
    api.upload_file(
        path_or_fileobj=b"mine",
        path_in_repo="a",
        repo_id="acme/conflict",
        revision=pull.git_reference,
    )
    api.upload_file(path_or_fileobj=b"yours", path_in_repo="a", repo_id="acme/conflict")
    assert api.get_discussion_details("acme/conflict", pull.num).conflicting_files == ["a"]
    with pytest.raises(HfHubHTTPError) as caught:
        api.merge_pull_request("acme/conflict", pull.num)
    assert caught.value.response.status_code == 409
    assert [one.num for one in api.get_repo_discussions("acme/conflict")] == [1]
