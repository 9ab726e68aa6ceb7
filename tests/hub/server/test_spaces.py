"""Spaces, through the unmodified client: a third kind of repository, with something that runs."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from hftune.hub.server import RunningHub

CARD = b"---\ntitle: Cats\nsdk: gradio\nmodels:\n- acme/cats\n---\n"


def test_a_space_begins_with_a_card_that_says_what_runs_it(api: HfApi, hub: RunningHub) -> None:
    url = api.create_repo("acme/fresh", repo_type="space", space_sdk="gradio")
    assert url == f"{hub.endpoint}/spaces/acme/fresh"
    assert (url.repo_id, url.repo_type) == ("acme/fresh", "space")
    assert api.list_repo_files("acme/fresh", repo_type="space") == [".gitattributes", "README.md"]
    assert api.space_info("acme/fresh").sdk == "gradio"
    assert not api.repo_exists("acme/fresh")


def test_small_and_large_files_come_back(api: HfApi, hub: RunningHub, tmp_path: Path) -> None:
    api.create_repo("acme/demo", repo_type="space", space_sdk="gradio", private=True)
    files = {"README.md": CARD, "app.py": b"print()\n", "example.png": bytes(range(256)) * 9}
    made = api.create_commit(
        "acme/demo",
        [CommitOperationAdd(path, content) for path, content in files.items()],
        commit_message="A demo",
        repo_type="space",
    )
    info = api.space_info("acme/demo")
    assert (info.sha, info.private, info.models) == (made.oid, True, ["acme/cats"])
    assert [one.title for one in api.list_repo_commits("acme/demo", repo_type="space")] == [
        "A demo",
        "initial commit",
    ]
    options = {"repo_type": "space", "endpoint": hub.endpoint, "token": hub.read_token}
    folder = snapshot_download("acme/demo", cache_dir=tmp_path, revision=made.oid, **options)
    for path, content in files.items():
        assert (Path(folder) / path).read_bytes() == content
        assert Path(
            hf_hub_download("acme/demo", path, cache_dir=tmp_path / "2", **options)
        ).read_bytes() == content  # fmt: skip
    assert [space.id for space in api.list_spaces(author="acme", search="demo")] == ["acme/demo"]
    assert api.get_paths_info("acme/demo", ["app.py"], repo_type="space")[0].size == 8


def test_a_space_has_branches_and_is_removed(api: HfApi) -> None:
    api.create_repo("acme/short", repo_type="space", space_sdk="static")
    api.create_branch("acme/short", branch="dev", repo_type="space")
    branches = api.list_repo_refs("acme/short", repo_type="space").branches
    assert [branch.name for branch in branches] == ["dev", "main"]
    api.delete_repo("acme/short", repo_type="space")
    assert not api.repo_exists("acme/short", repo_type="space")


@pytest.mark.parametrize("sdk", ["", "abacus"])
def test_a_space_that_nothing_runs_is_refused(api: HfApi, hub: RunningHub, sdk: str) -> None:
    answer = get_session().post(
        f"{hub.endpoint}/api/repos/create",
        json={"type": "space", "name": "none", "sdk": sdk},
        headers={"Authorization": f"Bearer {hub.write_token}"},
    )
    assert answer.status_code == 400
    assert "gradio" in answer.json()["error"]
    with pytest.raises(HfHubHTTPError):
        api.space_info("local/none")
