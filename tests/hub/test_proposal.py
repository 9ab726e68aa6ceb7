"""A push that is proposed: one pull request, however often, and the owners' branch as it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.core import RepoRef
from hftune.errors import HubPermissionError, RefError, RepoNotFoundError
from hftune.hub.client import HubSettings
from hftune.hub.proposal import opens_pull
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, check_push, push
from hftune.hub.push_plan import plan_push

MakeRepo = Callable[..., str]
TITLE = "Better weights"


@pytest.fixture
def theirs(make_repo: MakeRepo, repo_id: str) -> PushTarget:
    make_repo({"a.txt": b"a"})
    return PushTarget(repo_id=repo_id, pull_request=True)


def propose(artifact: Path, target: PushTarget, settings: HubSettings) -> RepoRef:
    return push(artifact, target, message=TITLE, settings=settings)


def pulls(api: HfApi, repo_id: str) -> list[tuple[int, str, str]]:
    found = api.get_repo_discussions(repo_id)
    return [(one.num, one.title, one.status) for one in found]


def test_a_guest_proposes_one_commit_and_the_branch_stays(
    artifact: Path, theirs: PushTarget, guest: HubSettings, api: HfApi
) -> None:
    head = api.repo_info(theirs.repo_id).sha
    assert opens_pull(plan_push(artifact, theirs, message=TITLE, settings=guest).target)
    got = propose(artifact, theirs, guest)
    assert got.revision == "refs/pr/1"
    assert pulls(api, theirs.repo_id) == [(1, TITLE, "open")]
    assert api.repo_info(theirs.repo_id).sha == head
    assert api.repo_info(theirs.repo_id, revision="refs/pr/1").sha == got.commit
    pulled = pull(replace(got, folder=None), settings=guest)
    assert pulled.folder is not None
    assert (pulled.folder / "config.json").read_bytes() == (artifact / "config.json").read_bytes()


def test_proposing_again_goes_into_the_same_pull_request(
    artifact: Path, theirs: PushTarget, guest: HubSettings, api: HfApi
) -> None:
    first = propose(artifact, theirs, guest)
    assert propose(artifact, theirs, guest) == first
    (artifact / "config.json").write_text('{"architecture": "other"}')
    second = propose(artifact, theirs, guest)
    assert (second.revision, second.commit != first.commit) == ("refs/pr/1", True)
    assert len(pulls(api, theirs.repo_id)) == 1


def test_nothing_is_proposed_once_it_was_merged(
    artifact: Path, theirs: PushTarget, guest: HubSettings, api: HfApi
) -> None:
    propose(artifact, theirs, guest)
    api.merge_pull_request(theirs.repo_id, 1)
    assert propose(artifact, theirs, guest).revision == "main"  # which holds all of this by now
    assert len(pulls(api, theirs.repo_id)) == 1


def test_a_pull_request_of_somebody_else_is_left_alone(
    artifact: Path, theirs: PushTarget, guest: HubSettings, settings: HubSettings, api: HfApi
) -> None:
    assert propose(artifact, theirs, guest).revision == "refs/pr/1"
    assert propose(artifact, theirs, settings).revision == "refs/pr/2"


def test_what_cannot_be_proposed(
    theirs: PushTarget, settings: HubSettings, reader: HubSettings, nobody: HubSettings
) -> None:
    check_push(theirs, settings=settings)
    with pytest.raises(RefError, match="main branch"):
        check_push(replace(theirs, revision="dev"), settings=settings)
    with pytest.raises(RepoNotFoundError, match="no repository to propose this to"):
        check_push(replace(theirs, repo_id="local/not-there"), settings=settings)
    with pytest.raises(HubPermissionError, match="may only read"):
        check_push(theirs, settings=reader)
    with pytest.raises(HubPermissionError, match="needs a token"):
        check_push(theirs, settings=nobody)
