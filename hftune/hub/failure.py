"""What went wrong with a request to the Hub: does it pass, and what came back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from hftune.core import RepoKind, RepoRef
from hftune.errors import (
    HftuneError,
    HubError,
    OfflineError,
)
from hftune.log import without_secrets

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
_CLOSED = "client has been closed"  # by another thread, whose connection was refused
_XET_ROAD = re.compile(r"xet-(?:read|write)-token")


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
    if isinstance(root, OfflineModeIsEnabled) or closed_xet_road(root):
        return False
    return lost_contact(root) or any(text in str(root) for text in (_CUT_SHORT, _CLOSED))


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


def closed_xet_road(error: BaseException) -> bool:
    """Say whether the Hub gave no leave to send or fetch through hf_xet."""
    return _XET_ROAD.search(str(error)) is not None


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


def short_cause(error: BaseException) -> str:
    """Name the failure in a few words, without a secret."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        said = (root.server_message or "").strip().partition("\n")[0]
        text = f"HTTP {root.response.status_code}" + (f": {said}" if said else "")
    else:
        said = str(root).strip().partition("\n")[0]
        text = f"{type(root).__name__}: {said}" if said else type(root).__name__
    return without_secrets(text)
