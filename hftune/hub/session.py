"""The client library's HTTP session, bounded: no silence and no wait without an end."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from huggingface_hub import get_session, set_client_factory
from huggingface_hub.utils import _http as library  # the factory in force has no public name

from hftune.hub.failure import pause_asked_by

_SILENCES = ("connect", "read", "write", "pool")


# The HTTP library is another one in each major version of the client library, so its classes are
# described here by what is used of them.
class Request(Protocol):
    """A request before it is sent."""

    extensions: dict[str, Any]


class Response(Protocol):
    """An answer whose body may not have been read."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""

    def read(self) -> bytes:
        """Read the body."""


class Session(Protocol):
    """What sends requests; its hooks see each request and each answer."""

    event_hooks: dict[str, list[Callable[..., Any]]]


S = TypeVar("S", bound=Session)


@dataclass
class Limits:
    """What holds for the session, in seconds; one for the process, as the session is.

    The library sets no time limit for most requests, so that a server which accepts a connection
    and stays silent would hold a push for ever; and where it asks again by itself, it waits as
    long as the server says, were it a day.
    """

    silence: float
    pause: float

    def shorten(self, request: Request) -> None:
        """Bound every silence of one request; a shorter limit, of the library or a user, stays."""
        given = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            name: self.silence if given.get(name) is None else min(given[name], self.silence)
            for name in _SILENCES
        }

    def refuse_to_wait(self, response: Response) -> None:
        """Raise HfHubHTTPError, which the library does not repeat, for a longer wait than ours."""
        asked = pause_asked_by(response.status_code, response.headers)
        if response.status_code >= 400 and asked is not None and asked > self.pause:
            response.read()
            library.hf_raise_for_status(response)  # type: ignore[arg-type]  # its own class

    def put_on(self, session: S) -> S:
        """Give the session with these limits; those on it already are not put on twice."""
        hooks = session.event_hooks
        if self.shorten not in hooks["request"]:
            session.event_hooks = {
                "request": [*hooks["request"], self.shorten],
                "response": [*hooks["response"], self.refuse_to_wait],
            }
        return session


_LIMITS = Limits(silence=60.0, pause=60.0)
_CHANGING = threading.Lock()  # a factory set twice would close the session under a first request


def bound_session(*, silence: float, pause: float) -> None:
    """Bound the session of this process: what a server may be silent, and may ask us to wait.

    Done before every request, since the library closes its session after some failures and makes a
    new one, at times between two tries of its own. New ones are bounded as well, unless the user
    has set a factory; then only the session that is there now.
    """
    _LIMITS.silence, _LIMITS.pause = silence, pause
    with _CHANGING:
        if library._GLOBAL_CLIENT_FACTORY is library.default_client_factory:
            set_client_factory(lambda: _LIMITS.put_on(library.default_client_factory()))
        _LIMITS.put_on(get_session())
