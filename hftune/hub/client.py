"""One door to the Hub's client library: settings, a time limit, and bounded retry."""

import logging
import os
import platform
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_token

from hftune import __version__
from hftune.errors import HubPermissionError, RequestError
from hftune.hub import failure, wording
from hftune.hub.failure import Errand
from hftune.hub.session import bound_session
from hftune.log import hide, without_secrets

T = TypeVar("T")
logger = logging.getLogger(__name__)

_SENDABLE = re.compile(r"[!-~]+")  # what a header can carry, without blanks


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """Where the Hub is and how patiently it is asked. Times are in seconds.

    `token` None lets the client library find one, False sends none. `timeout` bounds the silence
    of a server, not a transfer. `attempts` counts the first one; pauses double from `first_pause`.
    A server that asks for more than `longest_pause` is not waited for. What the client library
    repeats by itself (listings and uploads: six tries, 23 seconds) is one attempt.
    """

    endpoint: str
    cache: Path
    token: str | Literal[False] | None = field(default=None, repr=False)
    offline: bool = False
    timeout: float = 60.0
    attempts: int = 4
    first_pause: float = 1.0
    longest_pause: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(
                "this is no address of a Hub",
                found=repr(without_secrets(self.endpoint)),
                allowed="http://HOST:PORT or https://HOST",
                where="HF_ENDPOINT",
            )
        if "@" in parts.netloc:
            raise RequestError(
                "the address of a Hub may hold no user name or password",
                found=repr(without_secrets(self.endpoint)),
                allowed="http://HOST:PORT or https://HOST",
                where="HF_ENDPOINT",
                remedy=f"take them out; {wording.LOGIN}",
            )
        object.__setattr__(self, "endpoint", self.endpoint.rstrip("/"))


def settings_from_environment() -> HubSettings:
    """Give what the client library read from HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE, HF_HOME.

    The library reads them once, when it is imported; so they are asked of it, not read again.
    """
    return HubSettings(
        endpoint=constants.ENDPOINT,
        cache=Path(constants.HF_HUB_CACHE).expanduser(),
        offline=constants.HF_HUB_OFFLINE,
    )


def token_in_use(settings: HubSettings) -> str | None:
    """Give the token that requests will carry, None for none; from now on it is never shown.

    Raises HubPermissionError for one that cannot be read, or that no request could carry.
    """
    if settings.token is False:
        return None
    try:
        token = settings.token or get_token()
    except (OSError, ValueError) as error:
        raise HubPermissionError(
            "the token cannot be read",
            found=type(error).__name__,
            where=str(constants.HF_TOKEN_PATH),
            remedy=wording.LOGIN,
        ) from None
    if token is None:
        return None
    hide(token)
    if not _SENDABLE.fullmatch(token):
        raise HubPermissionError(
            "what is given as a token is none",
            found=f"{len(token)} characters, among them blanks or such as no token has",
            where="HF_TOKEN, or the file that 'hf auth login' wrote",
            remedy=wording.LOGIN,
        )
    return token


def open_api(settings: HubSettings) -> HfApi:
    """Give the client library's interface for these settings; nothing is sent yet.

    Raises HubPermissionError for a token that no request could carry.
    """
    if not settings.offline:
        token_in_use(settings)
    return HfApi(
        endpoint=settings.endpoint,
        token=settings.token,
        library_name="hftune",
        library_version=__version__,
    )


def ask(settings: HubSettings, errand: Errand, request: Callable[[], T]) -> T:
    """Make one request, again after failures that pass. Raises HubError and its kin.

    `request` is called up to `settings.attempts` times, so it must be safe to repeat.
    """
    if settings.offline:
        raise wording.offline(errand)
    attempt = 1
    while True:
        bound(settings)
        try:
            return request()
        except failure.CLIENT_ERRORS as error:
            pause_or_raise(settings, errand, error, attempt)
        attempt += 1


def pause_or_raise(settings: HubSettings, errand: Errand, error: Exception, attempt: int) -> None:
    """Sleep before the next attempt, or raise the error in our words.

    An error that is none of the Hub's (a full disk, a defect) is raised as it is.
    """
    pause = _pause_after(settings, error, attempt)
    if pause is None:
        ours = wording.translate(error, errand)
        if ours is None:
            raise error
        raise ours from error
    logger.warning(
        "could not %s (%s); trying again in %.0f s, attempt %d of %d",
        errand.doing,
        failure.short_cause(error),
        pause,
        attempt + 1,
        settings.attempts,
    )
    time.sleep(pause)


def bound(settings: HubSettings) -> None:
    """Hold the client library to the settings' limits; before every request to it."""
    bound_session(silence=settings.timeout, pause=settings.longest_pause)


def spread(pause: float) -> float:
    """Lengthen a pause by up to a quarter, by this process's own share.

    Many processes that one outage has stopped would else come back in the same moment.
    """
    name = f"{platform.node()} {os.getpid()}"
    return pause * (1 + zlib.crc32(name.encode()) / 2**34)


def _pause_after(settings: HubSettings, error: Exception, attempt: int) -> float | None:
    """Give the seconds to wait before another attempt; None if there should be none."""
    if attempt >= settings.attempts or not failure.passes(error):
        return None
    asked = failure.asked_pause(error)
    if asked is not None:
        return spread(asked) if asked <= settings.longest_pause else None
    return spread(min(settings.first_pause * 2.0 ** (attempt - 1), settings.longest_pause))
