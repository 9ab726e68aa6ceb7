from typing import Any

import pytest

from hftune.errors import HubPermissionError
from hftune.hub.failure import Errand
from hftune.hub.rights import check_answer

ERRAND = Errand(doing="push", endpoint="http://127.0.0.1:1", repo_id="ada/model")


def answer(access: dict[str, Any], *, orgs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"name": "ada", "orgs": orgs or [], "auth": {"accessToken": access}}


def scope(name: str, *permissions: str) -> dict[str, Any]:
    return {"entity": {"type": "user", "name": name}, "permissions": list(permissions)}


@pytest.mark.parametrize(
    ("access", "repo_id"),
    [
        ({"role": "write"}, "ada/model"),
        ({"role": "write", "everywhere": True}, "other/model"),
        ({"role": "fineGrained", "fineGrained": {"scoped": [scope("ada", "repo.write")]}}, "ada/m"),
        (
            {"role": "fineGrained", "fineGrained": {"scoped": [scope("ada/m", "repo.write")]}},
            "ada/m",
        ),
        ({"role": "fineGrained"}, "ada/model"),
        ({}, "ada/model"),
    ],
)
def test_let_in(access: dict[str, Any], repo_id: str) -> None:
    check_answer(answer(access), repo_id, ERRAND)


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ({"role": "write"}, True),
        ({"role": "fineGrained"}, True),
        ({"role": "fineGrained", "fineGrained": {"scoped": [scope("ada", "repo.write")]}}, True),
        ({"role": "fineGrained", "fineGrained": {"scoped": [scope("ada/m", "repo.write")]}}, False),
    ],
)
def test_right_to_one_repository_is_none_to_make_it(access: dict[str, Any], expected: bool) -> None:
    assert check_answer(answer(access), "ada/m", ERRAND) is expected


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({"role": "read"}, "only read"),
        (
            {
                "role": "fineGrained",
                "fineGrained": {"scoped": [scope("ada", "repo.content.read")]},
            },
            "fine-grained",
        ),
        (
            {"role": "fineGrained", "fineGrained": {"scoped": [scope("bob", "repo.write")]}},
            "fine-grained",
        ),
        ({"role": "fineGrained", "fineGrained": {"scoped": []}}, "fine-grained"),
    ],
)
def test_token_without_the_right(access: dict[str, Any], words: str) -> None:
    with pytest.raises(HubPermissionError, match=words) as caught:
        check_answer(answer(access), "ada/model", ERRAND)
    assert caught.value.remedy is not None


def test_answer_without_a_name_decides_nothing() -> None:
    check_answer({"auth": {"accessToken": {"role": "write"}}}, "bob/model", ERRAND)


def test_organisation_by_role() -> None:
    write = answer({"role": "write"}, orgs=[{"name": "lab", "roleInOrg": "write"}])
    check_answer(write, "lab/model", ERRAND)
    read = answer({"role": "write"}, orgs=[{"name": "lab", "roleInOrg": "read"}])
    with pytest.raises(HubPermissionError, match="organisation 'lab'"):
        check_answer(read, "lab/model", ERRAND)


def test_foreign_namespace_lists_the_own_ones() -> None:
    with pytest.raises(HubPermissionError) as caught:
        check_answer(answer({"role": "write"}, orgs=[{"name": "lab"}]), "bob/model", ERRAND)
    assert caught.value.allowed == "ada, lab"
