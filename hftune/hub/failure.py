"""What went wrong with a request to the Hub: does it pass, and what is said about it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hftune.core import RepoKind, RepoRef
from hftune.errors import (
    HftuneError,
    HubError,
    HubPermissionError,
    OfflineError,
    PushConflictError,
    RepoNotFoundError,
)
from hftune.units import format_duration

# The HTTP library's root error; which library it is differs between huggingface_hub 1 and 2.
HTTP_ERROR: type[Exception] = next(
    base
    for base in HfHubHTTPError.__mro__
    if base.__name__ == "HTTPError" and issubclass(base, Exception)
)
# What a call into the client library may raise. RuntimeError and ValueError are its wrappers
# around a failed transfer; those of another origin are raised on as they are.
CLIENT_ERRORS = (OSError, HTTP_ERROR, EntryNotFoundError, RuntimeError, ValueError)

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NEVER_PASSING = frozenset({"UnsupportedProtocol", "LocalProtocolError", "TooManyRedirects"})
_CUT_SHORT = "Consistency check failed"
_XET_ROAD = re.compile(r"xet-(?:read|write)-token")
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_LOGIN = "log in with 'hf auth login', or set HF_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What is asked of which repository: `doing` completes 'could not ...'.

    `safe` says what a failure leaves untouched; it follows 'run the same command again'.
    """

    doing: str
    endpoint: str
    kind: RepoKind = "model"
    repo_id: str | None = None
    revision: str | None = None
    path: str | None = None
    safe: str | None = None

    @property
    def place(self) -> str:
        """Repository, revision and file on which Hub."""
        if self.repo_id is None:
            return self.endpoint
        revision = f" at {self.revision}" if self.revision else ""
        path = f", file {self.path}" if self.path else ""
        return f"{self.kind} {self.repo_id}{revision}{path} on {self.endpoint}"

    @property
    def again(self) -> str:
        """What continues, and why it may."""
        return "run the same command again" + (f"; {self.safe}" if self.safe else "")


def errand_for(ref: RepoRef, doing: str, endpoint: str, *, path: str | None = None) -> Errand:
    """Give the errand for a repository, at its commit where that is known."""
    revision = ref.commit or ref.revision
    return Errand(
        doing=doing,
        endpoint=endpoint,
        kind=ref.kind,
        repo_id=ref.repo_id,
        revision=revision,
        path=path,
        safe="what arrived before is kept",
    )


def root_of(error: BaseException) -> BaseException:
    """Give the failure under the client library's wrappers, such as 'no such local entry'."""
    wrappers = (LocalEntryNotFoundError, RuntimeError, ValueError)
    while (
        isinstance(error, wrappers)
        and not isinstance(error, HfHubHTTPError)
        and error.__cause__ is not None
    ):
        error = error.__cause__
    return error


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status behind `error`, None if no answer came."""
    root = root_of(error)
    return root.response.status_code if isinstance(root, HfHubHTTPError) else None


def passes(error: BaseException) -> bool:
    """Say whether the same request may well succeed a little later."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        return root.response.status_code in _PASSING
    if isinstance(root, OfflineModeIsEnabled) or _XET_ROAD.search(str(root)):
        return False
    return lost_contact(root) or _CUT_SHORT in str(root)


def lost_contact(error: BaseException) -> bool:
    """Say whether the request got no answer: refused, reset, cut short or timed out.

    What was asked may have been done all the same.
    """
    root = root_of(error)
    if isinstance(root, HfHubHTTPError | OfflineModeIsEnabled):
        return False
    if isinstance(root, HTTP_ERROR):
        return type(root).__name__ not in _NEVER_PASSING
    return isinstance(root, ConnectionError | TimeoutError)


def unable(error: HftuneError) -> bool:
    """Say whether one of our errors means: the Hub could not be asked, or did not manage.

    Only then may a cached copy stand in; a refusal is no outage.
    """
    if isinstance(error, OfflineError):
        return True
    cause = error.__cause__
    return isinstance(error, HubError) and cause is not None and passes(cause)


def asked_pause(error: BaseException) -> float | None:
    """Give the seconds that the server asks to wait, None if it does not say."""
    root = root_of(error)
    if not isinstance(root, HfHubHTTPError):
        return None
    return pause_asked_by(root.response.status_code, root.response.headers)


def pause_asked_by(status: int, headers: Mapping[str, str]) -> float | None:
    """Give the seconds that an answer asks to wait, from RateLimit or Retry-After."""
    limit = re.search(r";\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    if status == 429 and limit is not None:
        return float(limit[1])
    seconds = headers.get("retry-after", "").strip()
    return float(seconds) if seconds.isdecimal() else None


def short_cause(error: BaseException, *, token: str | None = None) -> str:
    """Name the failure in a few words, without a secret."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        said = (root.server_message or "").strip().partition("\n")[0]
        text = f"HTTP {root.response.status_code}" + (f": {said}" if said else "")
    else:
        said = str(root).strip().partition("\n")[0]
        text = f"{type(root).__name__}: {said}" if said else type(root).__name__
    return without_secrets(text, token)


def without_secrets(text: str, token: str | None = None) -> str:
    """Blank out tokens and the signed part of addresses."""
    if token:
        text = text.replace(token, "hf_***")
    return _QUERY.sub(r"\1", _TOKEN.sub("hf_***", text))


def offline(errand: Errand) -> OfflineError:
    """Give the error for something that needs the Hub while offline mode is on."""
    return OfflineError(
        f"offline mode is on, so hftune could not {errand.doing}",
        where=errand.place,
        remedy="unset HF_HUB_OFFLINE; or, where there is a network, run 'hftune pull' first and"
        " bring the cache (HF_HOME) here",
    )


def translate(
    error: BaseException, errand: Errand, *, token: str | None = None
) -> HftuneError | None:
    """Give a client error in our words; None for one that is none of the Hub's business."""
    root = root_of(error)
    found = short_cause(error, token=token)
    if isinstance(root, OfflineModeIsEnabled):
        return offline(errand)
    if isinstance(root, LocalTokenNotFoundError):
        return HubPermissionError(
            f"could not {errand.doing}: there is no token", where=errand.place, remedy=_LOGIN
        )
    if isinstance(root, HfHubHTTPError):
        return _missing(root, errand, found) or _refused(root, errand, found)
    if isinstance(root, ValueError) and root is not error:
        return odd_answer(errand, found)  # found by the library in the midst of an upload
    return _unanswered(root, errand, found)


def odd_answer(errand: Errand, found: str) -> HubError:
    """Give the error for an answer that makes no sense, such as a page in place of JSON."""
    return HubError(
        f"could not {errand.doing}: the answer is not one a Hub gives",
        found=found,
        where=errand.place,
        remedy=f"check that HF_ENDPOINT is the address of a Hub, then {errand.again}",
    )


def _missing(error: HfHubHTTPError, errand: Errand, found: str) -> HubError | None:
    """Translate answers about a repository, a revision or a file."""
    place = errand.place
    if isinstance(error, GatedRepoError):
        return HubPermissionError(
            f"{errand.repo_id} is gated, and access was not granted",
            found=found,
            where=place,
            remedy=f"accept the conditions at {errand.endpoint}/{errand.repo_id}, then {_LOGIN}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return RepoNotFoundError(
            "no such repository, or it is private and this token may not see it",
            found=found,
            where=place,
            remedy=f"check the name; for a private repository {_LOGIN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return RepoNotFoundError(
            "the repository has no such revision",
            found=found,
            where=place,
            remedy="give a branch, a tag or a full commit id; leave it out for main",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return RepoNotFoundError("the repository has no such file", found=found, where=place)
    if isinstance(error, DisabledRepoError):
        return HubPermissionError("the Hub has closed this repository", found=found, where=place)
    return None


def _refused(error: HfHubHTTPError, errand: Errand, found: str) -> HubError:
    """Translate the other answers by their status."""
    status = error.response.status_code
    could_not = f"could not {errand.doing}"
    if status == 401:
        return HubPermissionError(
            f"{could_not}: the Hub does not accept this token",
            found=found,
            where=errand.place,
            remedy=f"the token is wrong or has expired; {_LOGIN} with a new one",
        )
    if status == 403:
        return HubPermissionError(
            f"{could_not}: this token lacks the right",
            found=found,
            where=errand.place,
            remedy="use a token with write access to this namespace",
        )
    if status == 412:
        return PushConflictError(
            f"{could_not}: the branch has moved on",
            found=found,
            where=errand.place,
            remedy=f"look at the new commit, then {errand.again}",
        )
    return HubError(
        could_not, found=found, where=errand.place, remedy=_advice(error, status, errand)
    )


def _advice(error: HfHubHTTPError, status: int, errand: Errand) -> str:
    if status == 429:
        asked = asked_pause(error)
        wait = "a while" if asked is None else format_duration(asked)
        return (
            f"too many requests: wait {wait}, or {_LOGIN}, which raises the limit; then"
            f" {errand.again}"
        )
    if status == 409:
        return f"something else is changing this repository; {errand.again}"
    if status >= 500 or status == 408:
        return f"the Hub is out of order for the moment; wait a while, then {errand.again}"
    return errand.again


def _unanswered(error: BaseException, errand: Errand, found: str) -> HubError | None:
    """Translate failures without an answer, or with one that is not a Hub's."""
    could_not, place = f"could not {errand.doing}", errand.place
    if _XET_ROAD.search(str(error)):
        return HubError(
            f"{could_not}: this Hub does not take files through hf_xet",
            found=found,
            where=place,
            remedy=f"set HF_HUB_DISABLE_XET=1 in the environment, then {errand.again}",
        )
    if lost_contact(error):
        return OfflineError(
            f"{could_not}: the Hub cannot be reached",
            found=found,
            where=place,
            remedy=f"check the network, HF_ENDPOINT and proxies, then {errand.again}",
        )
    if isinstance(error, HTTP_ERROR | FileMetadataError | json.JSONDecodeError):
        return odd_answer(errand, found)
    if isinstance(error, EntryNotFoundError):
        return HubError(could_not, found=found, where=place, remedy=errand.again)
    if isinstance(error, PermissionError) and error.errno is None:
        return HubPermissionError(could_not, found=found, where=place, remedy=_LOGIN)
    cut_short = isinstance(error, OSError) and error.errno is None
    if cut_short or isinstance(error, RuntimeError):
        return HubError(could_not, found=found, where=place, remedy=errand.again)
    return None
