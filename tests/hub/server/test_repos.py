from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session, hf_raise_for_status

from hftune.hub.server import RunningHub


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_create_gives_the_address_on_this_hub(api: HfApi, hub: RunningHub) -> None:
    url = api.create_repo("acme/created")
    assert url == f"{hub.endpoint}/acme/created"
    assert (url.repo_id, url.repo_type) == ("acme/created", "model")
    dataset = api.create_repo("acme/created", repo_type="dataset")
    assert dataset == f"{hub.endpoint}/datasets/acme/created"


def test_bare_name_is_created_in_the_own_namespace(api: HfApi) -> None:
    assert api.create_repo("bare").repo_id == "local/bare"


def test_new_repo_holds_one_commit_with_gitattributes(api: HfApi) -> None:
    api.create_repo("acme/fresh")
    assert api.list_repo_files("acme/fresh") == [".gitattributes"]
    assert [commit.title for commit in api.list_repo_commits("acme/fresh")] == ["initial commit"]


def test_creating_twice_is_a_conflict_unless_allowed(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/twice")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("acme/twice")
    assert status(caught) == 409
    assert api.create_repo("acme/twice", exist_ok=True) == f"{hub.endpoint}/acme/twice"


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("acme", ".."),
        ("..", "name"),
        ("acme", "a--b"),
        ("acme", ".hidden"),
        ("acme", "name.git"),
        ("acme", "a/b"),
        ("acme", "a\\b"),
        ("acme", ""),
        ("acme", "x" * 97),
        ("api", "name"),
        ("datasets", "name"),
    ],
)
def test_names_that_could_escape_or_collide_are_refused(
    api: HfApi, hub: RunningHub, namespace: str, name: str
) -> None:
    # The client checks names as well, so the request is made by hand through its session.
    before = sorted(hub.root.parent.rglob("settings.json"))
    response = get_session().post(
        f"{hub.endpoint}/api/repos/create",
        headers={"Authorization": f"Bearer {hub.write_token}"},
        json={"organization": namespace, "name": name},
    )
    with pytest.raises(BadRequestError):
        hf_raise_for_status(response)
    assert sorted(hub.root.parent.rglob("settings.json")) == before


def test_delete_removes_repo_and_folder(api: HfApi, hub: RunningHub) -> None:
    api.create_repo("acme/doomed")
    api.delete_repo("acme/doomed")
    assert not api.repo_exists("acme/doomed")
    assert [path.name for path in hub.root.glob("repos/models/acme/*doomed*")] == []
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("acme/doomed")
    api.delete_repo("acme/doomed", missing_ok=True)


def test_moved_repo_answers_under_its_old_name(api: HfApi) -> None:
    api.create_repo("acme/old")
    commit = api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id="acme/old").oid
    api.move_repo("acme/old", "acme/new")
    info = api.model_info("acme/old")
    assert (info.id, info.sha) == ("acme/new", commit)
    assert api.file_exists("acme/old", "a.txt")
    api.upload_file(path_or_fileobj=b"y", path_in_repo="b.txt", repo_id="acme/old")
    assert api.file_exists("acme/new", "b.txt")


def test_move_onto_an_existing_repo_is_a_conflict(api: HfApi) -> None:
    api.create_repo("acme/here")
    api.create_repo("acme/there")
    with pytest.raises(HfHubHTTPError) as caught:
        api.move_repo("acme/here", "acme/there")
    assert status(caught) == 409


def test_new_repo_under_an_old_name_ends_the_forwarding(api: HfApi) -> None:
    api.create_repo("acme/first")
    api.move_repo("acme/first", "acme/second")
    api.create_repo("acme/first")
    assert api.model_info("acme/first").id == "acme/first"


def test_settings_change_visibility_and_gating(api: HfApi) -> None:
    api.create_repo("acme/settings")
    api.update_repo_settings("acme/settings", private=True)
    assert api.model_info("acme/settings").private is True
    api.update_repo_settings("acme/settings", gated="manual", private=False)
    info = api.model_info("acme/settings")
    assert (info.private, info.gated) == (False, "manual")


def test_gated_repo_shows_itself_but_not_its_files(
    api: HfApi, guest: HfApi, nobody: HfApi, cache: Path
) -> None:
    api.create_repo("acme/gated")
    api.update_repo_settings("acme/gated", gated="auto")
    assert guest.model_info("acme/gated").gated == "auto"
    for stranger, code in ((guest, 403), (nobody, 401)):
        with pytest.raises(GatedRepoError) as caught:
            stranger.auth_check("acme/gated")
        assert status(caught) == code
        with pytest.raises(GatedRepoError):
            stranger.hf_hub_download("acme/gated", ".gitattributes", cache_dir=cache)


def test_whoami_tells_name_and_role(api: HfApi, reader: HfApi) -> None:
    assert api.whoami()["name"] == "local"
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"


def test_unknown_token_is_refused_everywhere(hub: RunningHub) -> None:
    stranger = HfApi(endpoint=hub.endpoint, token="hf_wrong")
    for attempt in (stranger.whoami, lambda: stranger.create_repo("acme/no"), stranger.list_models):
        with pytest.raises(HfHubHTTPError) as caught:
            list(attempt() or [])
        assert status(caught) == 401
        assert "Invalid credentials" in str(caught.value) or "Invalid user token" in str(
            caught.value
        )


def test_read_token_may_read_but_not_write(api: HfApi, reader: HfApi) -> None:
    api.create_repo("acme/readable", private=True)
    assert reader.model_info("acme/readable").private is True
    reader.auth_check("acme/readable")
    for attempt in (
        lambda: reader.create_repo("acme/other"),
        lambda: reader.delete_repo("acme/readable"),
        lambda: reader.create_branch("acme/readable", branch="b"),
        lambda: reader.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="acme/readable"),
        lambda: reader.auth_check("acme/readable", write=True),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            attempt()
        assert status(caught) == 403


def test_foreign_namespace_is_forbidden(api: HfApi, guest: HfApi) -> None:
    api.create_repo("acme/foreign")
    assert guest.create_repo("guest/own").repo_id == "guest/own"
    for attempt in (
        lambda: guest.create_repo("acme/mine"),
        lambda: guest.delete_repo("acme/foreign"),
        lambda: guest.move_repo("guest/own", "acme/taken"),
        lambda: guest.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="acme/foreign"),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            attempt()
        assert status(caught) == 403


def test_private_repo_is_hidden_from_strangers(
    api: HfApi, guest: HfApi, nobody: HfApi, cache: Path
) -> None:
    api.create_repo("acme/secret", private=True)
    for stranger, code in ((guest, 404), (nobody, 401)):
        for repo_id in ("acme/secret", "acme/never-made"):  # The two must look alike.
            with pytest.raises(RepositoryNotFoundError) as caught:
                stranger.model_info(repo_id)
            assert status(caught) == code
            with pytest.raises(RepositoryNotFoundError):
                stranger.hf_hub_download(repo_id, ".gitattributes", cache_dir=cache)
    assert "acme/secret" not in [info.id for info in guest.list_models(author="acme")]
    assert "acme/secret" in [info.id for info in api.list_models(author="acme")]


def test_branches_are_made_listed_and_removed(api: HfApi) -> None:
    api.create_repo("acme/branches")
    first = api.model_info("acme/branches").sha
    api.create_branch("acme/branches", branch="dev/x")
    api.upload_file(
        path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="acme/branches", revision="dev/x"
    )
    heads = {ref.name: ref.target_commit for ref in api.list_repo_refs("acme/branches").branches}
    assert heads["main"] == first
    assert heads["dev/x"] == api.model_info("acme/branches", revision="dev/x").sha != first
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_branch("acme/branches", branch="dev/x")
    assert status(caught) == 409
    api.create_branch("acme/branches", branch="dev/x", exist_ok=True)
    api.delete_branch("acme/branches", branch="dev/x")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/branches", revision="dev/x")
    with pytest.raises(HfHubHTTPError) as caught:
        api.delete_branch("acme/branches", branch="main")
    assert status(caught) == 403


def test_branch_starts_at_a_given_commit(api: HfApi) -> None:
    api.create_repo("acme/start")
    first = api.model_info("acme/start").sha
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="acme/start")
    api.create_branch("acme/start", branch="early", revision=first)
    assert api.model_info("acme/start", revision="early").sha == first
    with pytest.raises(RevisionNotFoundError):
        api.create_branch("acme/start", branch="never", revision="0" * 40)


@pytest.mark.parametrize("branch", ["..", "a..b", ".hidden", "a.lock", "0" * 40, "refs/heads/x"])
def test_branch_names_that_mislead_are_refused(api: HfApi, branch: str) -> None:
    api.create_repo("acme/misleading", exist_ok=True)
    with pytest.raises(HfHubHTTPError):
        api.create_branch("acme/misleading", branch=branch)
    names = [ref.name for ref in api.list_repo_refs("acme/misleading").branches]
    assert names == ["main"]


def test_squashing_leaves_the_newest_files_as_the_only_commit(api: HfApi) -> None:
    api.create_repo("acme/squashed")
    api.create_branch("acme/squashed", branch="side/x")
    for number in range(3):
        api.upload_file(
            path_or_fileobj=str(number).encode(),
            path_in_repo="a.txt",
            repo_id="acme/squashed",
            revision="side/x",
        )
    before = api.repo_info("acme/squashed").sha
    api.super_squash_history("acme/squashed", branch="side/x", commit_message="as one")
    titles = [one.title for one in api.list_repo_commits("acme/squashed", revision="side/x")]
    assert titles == ["as one"]
    assert api.list_repo_files("acme/squashed", revision="side/x") == [".gitattributes", "a.txt"]
    assert api.repo_info("acme/squashed").sha == before
    with pytest.raises(RevisionNotFoundError):
        api.super_squash_history("acme/squashed", branch="never")


def test_tags_are_made_listed_and_removed(api: HfApi) -> None:
    api.create_repo("acme/tags")
    first = api.model_info("acme/tags").sha
    api.create_tag("acme/tags", tag="v1.0", tag_message="the first")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="acme/tags")
    assert api.model_info("acme/tags", revision="v1.0").sha == first
    assert [ref.ref for ref in api.list_repo_refs("acme/tags").tags] == ["refs/tags/v1.0"]
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag("acme/tags", tag="v1.0")
    assert status(caught) == 409
    with pytest.raises(RevisionNotFoundError):
        api.create_tag("acme/tags", tag="v2", revision="never")
    api.delete_tag("acme/tags", tag="v1.0")
    assert api.list_repo_refs("acme/tags").tags == []


def test_listings_filter_by_author_search_and_tag(api: HfApi) -> None:
    card = b"---\nlicense: mit\npipeline_tag: image-classification\ntags: [cells]\n---\n# x\n"
    for name in ("one", "two"):
        api.create_repo(f"lists/{name}", exist_ok=True)
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="lists/two")
    api.create_repo("lists/rows", repo_type="dataset")
    assert {info.id for info in api.list_models(author="lists")} == {"lists/one", "lists/two"}
    assert [info.id for info in api.list_models(author="lists", search="ON")] == ["lists/one"]
    tagged = list(api.list_models(author="lists", filter=["cells", "license:mit"], cardData=True))
    assert [info.id for info in tagged] == ["lists/two"]
    assert tagged[0].card_data.license == "mit"
    assert tagged[0].pipeline_tag == "image-classification"
    newest = [info.id for info in api.list_models(author="lists", sort="last_modified", limit=1)]
    assert newest == ["lists/two"]
    assert [info.id for info in api.list_datasets(author="lists")] == ["lists/rows"]


def test_yaml_of_a_card_is_checked_before_the_push(api: HfApi) -> None:
    api.create_repo("acme/card")
    with pytest.raises(ValueError, match="no valid YAML"):
        api.upload_file(
            path_or_fileobj=b"---\nlicense: [mit\n---\n",
            path_in_repo="README.md",
            repo_id="acme/card",
        )
    assert not api.file_exists("acme/card", "README.md")


def test_unknown_address_is_a_plain_404(api: HfApi, hub: RunningHub) -> None:
    response = get_session().post(f"{hub.endpoint}/api/nothing/here", content=b"x" * 100_000)
    assert response.status_code == 404
    assert "does not serve" in response.json()["error"]
