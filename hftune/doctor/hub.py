"""Whether the Hub answers, and what the token may do there."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hftune.doctor.finding import Finding, fault, fine, note
from hftune.errors import HftuneError, HubError, HubPermissionError
from hftune.hub import wording
from hftune.hub.client import HubSettings, ask, open_api, token_in_use
from hftune.hub.failure import Errand
from hftune.hub.rights import check_rights

TOPIC = "hub"

_SECONDS = 15.0
_PUBLIC = "timm/resnet18.a1_in1k"
_UNREACHED = (
    "nothing can be pulled or pushed: check the network, HF_ENDPOINT and proxies; what is cached"
    " can be used"
)
_SCOPES = {"read": "may read", "write": "may read and write"}


def check_hub(settings: HubSettings) -> Iterator[Finding]:
    """Ask the Hub once, with the token if there is one."""
    if settings.offline:
        remedy = "unset HF_HUB_OFFLINE to pull and push; 'hftune pull' brings models here before"
        yield note(TOPIC, "offline: HF_HUB_OFFLINE is set, only what is cached can be used", remedy)
        return
    try:
        token = token_in_use(settings)
        if token is None:
            yield from _without_token(settings)
        else:
            yield fine(TOPIC, _whose(_answer(settings)))
    except HubPermissionError as error:
        yield fault(TOPIC, one_line(error), error.remedy or wording.LOGIN)
    except HubError as error:  # what lies on this machine can still be used
        yield note(TOPIC, one_line(error), _UNREACHED)


def check_target(repo_id: str, settings: HubSettings) -> Iterator[Finding]:
    """Ask whether the token may push there."""
    if settings.offline:
        yield fault(TOPIC, f"offline: nothing can be pushed to {repo_id}", "unset HF_HUB_OFFLINE")
        return
    try:
        may_make = check_rights(repo_id, briefly(settings))
    except HftuneError as error:
        yield fault(TOPIC, one_line(error), error.remedy or wording.LOGIN)
        return
    more = "" if may_make else ", if it exists already"
    yield fine(TOPIC, f"the token may push to {repo_id}{more}")


def _without_token(settings: HubSettings) -> Iterator[Finding]:
    """Ask for something public, which needs no token; whether it is there does not matter."""
    errand = Errand(doing="ask for a public model", endpoint=settings.endpoint)
    api = open_api(settings)
    ask(briefly(settings), errand, lambda: api.repo_exists(_PUBLIC))
    remedy = f"to push, or to pull what is private or gated: {wording.LOGIN}"
    yield note(TOPIC, f"{settings.endpoint} answers; there is no token", remedy)


def _answer(settings: HubSettings) -> Mapping[str, Any]:
    errand = Errand(doing="ask whose token this is", endpoint=settings.endpoint)
    answer: Mapping[str, Any] = ask(briefly(settings), errand, open_api(settings).whoami)
    return answer


def _whose(answer: Mapping[str, Any]) -> str:
    """Say whose token it is and what it may do; never the token."""
    auth = answer.get("auth")
    access = auth.get("accessToken") if isinstance(auth, Mapping) else None
    role = access.get("role") if isinstance(access, Mapping) else None
    scope = _SCOPES.get(str(role), "may do what its fine-grained scopes say")
    return f"the token of {answer.get('name')} {scope}"


def briefly(settings: HubSettings) -> HubSettings:
    """Give settings that ask once: a doctor's visit is no run."""
    return replace(settings, attempts=1, timeout=_SECONDS)


def one_line(error: HftuneError) -> str:
    """Give what an error says, without its remedy."""
    found = f": {error.found}" if error.found else ""
    place = f" ({error.where})" if error.where else ""
    return f"{error.problem}{found}{place}".replace("\n", "; ")
