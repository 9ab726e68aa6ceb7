"""May this token push there? Asked before training, so that hours of work do not end in a 403."""

from collections.abc import Mapping
from typing import Any

from hftune.errors import HubPermissionError
from hftune.hub.client import HubSettings, ask, open_api, token_in_use
from hftune.hub.failure import Errand

_WRITE = "repo.write"
_REMEDY = "make a token with write access in the Hub's settings, then 'hf auth login' or HF_TOKEN"


def check_rights(repo_id: str, settings: HubSettings) -> bool:
    """Raise HubPermissionError unless the token may write to `repo_id`.

    Gives whether it may also make the repository, for which the right to write to that one alone,
    which a fine-grained token can have, is not enough.
    """
    errand = _errand(repo_id, settings)
    return check_answer(_whoami(errand, settings), repo_id, errand)


def whose_token(repo_id: str, settings: HubSettings) -> str:
    """Give the name of the token's owner.

    Raises HubPermissionError where there is no token, or one that may only read.
    """
    errand = _errand(repo_id, settings)
    answer = _whoami(errand, settings)
    _check_role(_mapping(_mapping(answer, "auth"), "accessToken"), None, repo_id, errand)
    return str(answer.get("name"))


def check_answer(answer: Mapping[str, Any], repo_id: str, errand: Errand) -> bool:
    """Judge what the Hub says about a token, as `check_rights` does. Raises HubPermissionError.

    What the answer does not tell is not held against the token: the Hub itself decides in the end.
    """
    access = _mapping(_mapping(answer, "auth"), "accessToken")
    places = _writable(access)
    _check_role(access, places, repo_id, errand)
    if not access.get("everywhere"):  # said by hftune's own Hub about its owner's tokens
        _check_namespace(answer, repo_id, errand)
    return places is None or repo_id.partition("/")[0] in places


def no_repository(repo_id: str, settings: HubSettings) -> HubPermissionError:
    """Give the error for a repository that is not there and that this token may not make."""
    namespace = repo_id.partition("/")[0]
    return HubPermissionError(
        "there is no such repository, and this token may not make it",
        found="a fine-grained token with 'repo.write' for this repository alone",
        allowed=f"'repo.write' for the namespace '{namespace}', or a repository that exists",
        where=Errand(doing="push", endpoint=settings.endpoint, repo_id=repo_id).place,
        remedy=f"make the repository by hand, or {_REMEDY}",
    )


def _errand(repo_id: str, settings: HubSettings) -> Errand:
    return Errand(doing="ask whose token this is", endpoint=settings.endpoint, repo_id=repo_id)


def _whoami(errand: Errand, settings: HubSettings) -> Mapping[str, Any]:
    if token_in_use(settings) is None:
        raise HubPermissionError(
            "a push needs a token, and there is none", where=errand.place, remedy=_REMEDY
        )
    answer: Mapping[str, Any] = ask(settings, errand, open_api(settings).whoami)
    return answer


def _writable(access: Mapping[str, Any]) -> set[str] | None:
    """Give the namespaces and repositories a fine-grained token may write to; None: not told."""
    scoped = _mapping(access, "fineGrained").get("scoped")
    if access.get("role") != "fineGrained" or not isinstance(scoped, list):
        return None
    return {
        str(_mapping(scope, "entity").get("name"))
        for scope in scoped
        if isinstance(scope, Mapping) and _WRITE in _list(scope, "permissions")
    }


def _check_role(
    access: Mapping[str, Any], places: set[str] | None, repo_id: str, errand: Errand
) -> None:
    role = access.get("role")
    if role == "read":
        raise HubPermissionError(
            "this token may only read",
            found="a token with the role 'read'",
            allowed="a token with the role 'write'",
            where=errand.place,
            remedy=_REMEDY,
        )
    if places is not None and places.isdisjoint((repo_id, repo_id.partition("/")[0])):
        raise HubPermissionError(
            "this fine-grained token may not write there",
            found=f"'{_WRITE}' for {', '.join(sorted(places)) or 'nothing'}",
            allowed=f"'{_WRITE}' for the repository or its namespace",
            where=errand.place,
            remedy=_REMEDY,
        )


def _check_namespace(answer: Mapping[str, Any], repo_id: str, errand: Errand) -> None:
    namespace = repo_id.partition("/")[0]
    groups = answer.get("orgs")
    roles = {
        str(group.get("name")): group.get("roleInOrg")
        for group in (groups if isinstance(groups, list) else [])
        if isinstance(group, Mapping)
    }
    own = answer.get("name")
    if own is None or namespace == own:
        return
    if namespace not in roles:
        raise HubPermissionError(
            f"this token may not write to the namespace '{namespace}'",
            found=f"a token of '{own}'",
            allowed=", ".join([own, *sorted(roles)]),
            where=errand.place,
            remedy=f"push to {own}/{repo_id.partition('/')[2]}, or ask to join '{namespace}'",
        )
    if roles[namespace] == "read":
        raise HubPermissionError(
            f"you may only read in the organisation '{namespace}'",
            where=errand.place,
            remedy="ask one of its administrators for the right to write",
        )


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    inner = value.get(key)
    return inner if isinstance(inner, list) else []
