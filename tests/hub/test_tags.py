from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.errors import PushConflictError, RefError
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, push
from hftune.hub.tags import check_tag, give_tag


def tags(api: HfApi, repo_id: str) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}


def test_a_tag_names_the_pushed_commit_and_may_be_given_again(
    artifact: Path, repo_id: str, settings: HubSettings, api: HfApi
) -> None:
    pushed = push(artifact, PushTarget(repo_id=repo_id), message="x", settings=settings)
    for _ in range(2):
        give_tag(pushed, "v1.0", settings=settings)
        assert tags(api, repo_id) == {"v1.0": pushed.commit}


def test_a_tag_does_not_move(
    artifact: Path, repo_id: str, settings: HubSettings, api: HfApi
) -> None:
    first = push(artifact, PushTarget(repo_id=repo_id), message="x", settings=settings)
    give_tag(first, "v1.0", settings=settings)
    (artifact / "config.json").write_text("{}")
    second = push(artifact, PushTarget(repo_id=repo_id), message="y", settings=settings)
    with pytest.raises(PushConflictError, match="another commit") as caught:
        give_tag(second, "v1.0", settings=settings)
    assert caught.value.found == f"commit {first.commit}"
    assert tags(api, repo_id) == {"v1.0": first.commit}


@pytest.mark.parametrize("name", ["", "a b", "refs/tags/x", "0" * 40])
def test_what_is_no_name_of_a_tag(name: str) -> None:
    with pytest.raises(RefError):
        check_tag(name)
