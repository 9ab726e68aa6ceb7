import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hftune.errors import (
    HubPermissionError,
    OfflineError,
    PublishError,
    PushConflictError,
    RefError,
)
from hftune.hub.branch import read_branch
from hftune.hub.card import BEGIN, END, read_metadata
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, carry_out, check_push, push
from hftune.hub.push_plan import plan_push
from hftune.hub.ref import parse_ref
from hftune.hub.server import RunningHub
from tests.hub.conftest import FINE, GUEST, NARROW

MakeRepo = Callable[..., str]


@pytest.fixture
def target(repo_id: str) -> PushTarget:
    return PushTarget(repo_id=repo_id)


def history(api: HfApi, repo_id: str, revision: str = "main") -> list[str]:
    return [commit.title for commit in api.list_repo_commits(repo_id, revision=revision)]


def add(api: HfApi, repo_id: str, path: str, content: bytes) -> str:
    operation = CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
    return api.create_commit(repo_id, [operation], commit_message=f"add {path}").oid


def test_push_makes_a_private_repository_with_one_commit(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    got = push(artifact, target, message="run tiny", settings=settings)
    info = api.repo_info(target.repo_id)
    assert (got.repo_id, got.revision, got.commit) == (target.repo_id, "main", info.sha)
    assert info.private
    assert history(api, target.repo_id) == ["run tiny", "initial commit"]
    assert sorted(api.list_repo_files(target.repo_id)) == [
        ".gitattributes",
        "README.md",
        "config.json",
        "hftune/recipe.yaml",
        "model.safetensors",
    ]


def test_public_when_told(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    push(artifact, replace(target, private=False), message="x", settings=settings)
    assert not api.repo_info(target.repo_id).private


def test_what_was_pushed_can_be_pulled(
    artifact: Path, target: PushTarget, settings: HubSettings, tmp_path: Path
) -> None:
    pushed = push(artifact, target, message="x", settings=settings)
    got = pull(
        parse_ref(target.repo_id, revision=pushed.commit),
        cache_dir=tmp_path / "empty",
        settings=settings,
    )
    assert got.folder is not None
    for path in artifact.rglob("*"):
        if path.is_file():
            assert (got.folder / path.relative_to(artifact)).read_bytes() == path.read_bytes()


def test_second_push_makes_no_commit_and_says_so(
    artifact: Path,
    target: PushTarget,
    settings: HubSettings,
    api: HfApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = push(artifact, target, message="x", settings=settings)
    with caplog.at_level(logging.INFO, logger="hftune"):
        assert push(artifact, target, message="y", settings=settings) == first
    assert "already" in caplog.text
    assert len(history(api, target.repo_id)) == 2


def test_only_changed_files_are_sent(
    artifact: Path, target: PushTarget, settings: HubSettings
) -> None:
    push(artifact, target, message="x", settings=settings)
    (artifact / "config.json").write_text("{}")
    plan = plan_push(artifact, target, settings=settings)
    assert [file.path for file in plan.changed] == ["config.json"]
    assert not plan.unchanged


def test_files_of_others_stay(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    push(artifact, target, message="x", settings=settings)
    add(api, target.repo_id, "notes.txt", b"mine")
    (artifact / "config.json").write_text("{}")
    push(artifact, target, message="y", settings=settings)
    assert api.file_exists(target.repo_id, "notes.txt")


def test_dry_run_sends_nothing(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    plan = plan_push(artifact, target, message="hello", settings=settings)
    assert plan.creates_repo
    assert plan.message == "hello"
    assert [file.path for file in plan.files] == [
        "README.md",
        "config.json",
        "hftune/recipe.yaml",
        "model.safetensors",
    ]
    assert plan.total == sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    assert not api.repo_exists(target.repo_id)


def test_dry_run_on_an_existing_repository_sends_nothing(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi, make_repo: MakeRepo
) -> None:
    head = make_repo({"a.txt": b"a"})
    plan = plan_push(artifact, target, settings=settings)
    branch = plan_push(artifact, replace(target, revision="dev"), settings=settings)
    assert (plan.creates, plan.parent) == (None, head)
    assert (branch.creates, branch.parent) == ("branch", None)
    assert api.repo_info(target.repo_id).sha == head
    assert [ref.name for ref in api.list_repo_refs(target.repo_id).branches] == ["main"]


def test_missing_branch_is_made(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    dev = replace(target, revision="exp/one")
    got = push(artifact, dev, message="x", settings=settings)
    assert api.repo_info(target.repo_id, revision="exp/one").sha == got.commit
    assert history(api, target.repo_id) == ["initial commit"]
    assert push(artifact, dev, message="x", settings=settings).commit == got.commit


def test_branch_that_moved_is_a_conflict_and_stays(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi, make_repo: MakeRepo
) -> None:
    make_repo({"a.txt": b"a"})
    plan = plan_push(artifact, target, settings=settings)
    theirs = add(api, target.repo_id, "b.txt", b"b")
    with pytest.raises(PushConflictError) as caught:
        carry_out(plan, settings)
    assert caught.value.exit_code == 3
    assert theirs in str(caught.value)
    assert api.repo_info(target.repo_id).sha == theirs


def test_branch_that_moved_to_our_content_is_no_conflict(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi, make_repo: MakeRepo
) -> None:
    """The second of two equal commits is what a retry after a lost reply would be."""
    make_repo({"a.txt": b"a"})
    plan = plan_push(artifact, target, settings=settings)
    first = carry_out(plan, settings)
    assert carry_out(plan, settings) == first
    assert len(history(api, target.repo_id)) == 3


def test_words_of_users_on_the_hub_stay(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    card = artifact / "README.md"
    card.write_text(f"---\nlibrary_name: timm\n---\n\n{BEGIN}\nblock 1\n{END}\n")
    push(artifact, target, message="x", settings=settings)
    edited = card.read_text().replace("library_name: timm", "library_name: timm\nlanguage: en")
    add(api, target.repo_id, "README.md", (edited + "\nMy own words.\n").encode())
    card.write_text(card.read_text().replace("block 1", "block 2"))
    push(artifact, target, message="y", settings=settings)
    got = pull(parse_ref(target.repo_id), settings=settings)
    assert got.folder is not None
    text = (got.folder / "README.md").read_text()
    assert "My own words." in text
    assert "block 2" in text
    assert "block 1" not in text
    assert read_metadata(text)["language"] == "en"
    assert plan_push(artifact, target, settings=settings).unchanged


def test_token_in_a_file_stops_the_push_before_anything_is_sent(
    artifact: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    secret = "hf_" + "a1B2" * 8
    (artifact / "hftune" / "recipe.yaml").write_text(f"token: {secret}\n")
    with pytest.raises(PublishError) as caught:
        push(artifact, target, message="x", settings=settings)
    assert "hftune/recipe.yaml: holds an access token" in str(caught.value)
    assert secret not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not api.repo_exists(target.repo_id)


def test_card_that_the_hub_refuses_stops_the_push(
    artifact: Path, target: PushTarget, settings: HubSettings, make_repo: MakeRepo, api: HfApi
) -> None:
    head = make_repo({"a.txt": b"a"})
    (artifact / "README.md").write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(PublishError, match=r"README\.md"):
        push(artifact, target, message="x", settings=settings)
    assert api.repo_info(target.repo_id).sha == head


def test_pickles_on_the_branch_are_pointed_out(
    artifact: Path,
    target: PushTarget,
    settings: HubSettings,
    make_repo: MakeRepo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_repo({"pytorch_model.bin": b"\x80\x02"})
    push(artifact, target, message="x", settings=settings)
    assert "pytorch_model.bin" in caplog.text


def test_read_only_token_is_refused_before_anything_is_sent(
    artifact: Path, target: PushTarget, reader: HubSettings, api: HfApi
) -> None:
    with pytest.raises(HubPermissionError, match="only read") as caught:
        check_push(target, settings=reader)
    assert caught.value.exit_code == 3
    with pytest.raises(HubPermissionError):
        push(artifact, target, message="x", settings=reader)
    assert not api.repo_exists(target.repo_id)


def test_no_token_is_refused(target: PushTarget, nobody: HubSettings) -> None:
    with pytest.raises(HubPermissionError, match="token") as caught:
        check_push(target, settings=nobody)
    assert "hf auth login" in str(caught.value)


def test_foreign_namespace_is_refused(target: PushTarget, guest: HubSettings) -> None:
    with pytest.raises(HubPermissionError, match="namespace 'local'") as caught:
        check_push(target, settings=guest)
    assert "push to guest/" in str(caught.value)


def test_own_namespace_is_let_in(target: PushTarget, guest: HubSettings) -> None:
    check_push(replace(target, repo_id="guest/anything"), settings=guest)


def test_fine_grained_token_of_the_namespace_makes_and_fills_a_repository(
    artifact: Path, target: PushTarget, settings: HubSettings, client_hub: RunningHub
) -> None:
    own = replace(target, repo_id=target.repo_id.replace("local/", "guest/"))
    fine = replace(settings, token=FINE.secret)
    pushed = push(artifact, own, message="x", settings=fine)
    assert read_branch(own, fine) is not None
    assert pushed.commit is not None


def test_fine_grained_token_of_one_repository(
    artifact: Path, target: PushTarget, settings: HubSettings, client_hub: RunningHub
) -> None:
    """It may not make the repository, which is said before training, and may fill it."""
    chosen = replace(target, repo_id="guest/chosen")
    narrow = replace(settings, token=NARROW.secret)
    with pytest.raises(HubPermissionError, match="may not make it") as caught:
        check_push(chosen, settings=narrow)
    assert "namespace 'guest'" in str(caught.value)
    HfApi(endpoint=client_hub.endpoint, token=GUEST.secret).create_repo("guest/chosen")
    assert push(artifact, chosen, message="x", settings=narrow).commit is not None
    with pytest.raises(HubPermissionError, match="fine-grained") as caught:
        check_push(replace(target, repo_id="guest/other"), settings=narrow)
    assert "guest/chosen" in str(caught.value)


def test_the_hub_itself_refuses_what_the_scope_does_not_hold(
    settings: HubSettings, client_hub: RunningHub
) -> None:
    """The question before training and the Hub's own answer agree."""
    narrow = HfApi(endpoint=client_hub.endpoint, token=NARROW.secret)
    with pytest.raises(HfHubHTTPError) as caught:
        narrow.create_repo("guest/forbidden")
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("repo_id", "revision"),
    [("model", "main"), ("a/b/c", "main"), ("a/b", "x y"), ("a/b", "0" * 40), ("a/b", "refs/pr/1")],
)
def test_names_that_cannot_be_pushed_to(repo_id: str, revision: str, settings: HubSettings) -> None:
    with pytest.raises(RefError):
        check_push(PushTarget(repo_id=repo_id, revision=revision), settings=settings)


def test_offline_never_starts_a_push(
    artifact: Path, target: PushTarget, offline: HubSettings
) -> None:
    with pytest.raises(OfflineError):
        push(artifact, target, message="x", settings=offline)


@pytest.mark.parametrize("private", [True, False])
def test_repository_of_the_other_visibility_is_pointed_out(
    private: bool,
    target: PushTarget,
    settings: HubSettings,
    make_repo: MakeRepo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_repo({"a.txt": b"a"}, private=private)
    check_push(replace(target, private=private), settings=settings)
    assert not caplog.records
    check_push(replace(target, private=not private), settings=settings)
    assert f"exists and is {'private' if private else 'public'}" in caplog.text
