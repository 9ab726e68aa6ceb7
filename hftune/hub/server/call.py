"""One request on its way to the function that answers it: who asks, for which repository."""

import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from hftune.core import RepoKind
from hftune.errors import DiskError
from hftune.hub.server.auth import Keyring, Token
from hftune.hub.server.body import MIB, Body
from hftune.hub.server.names import RepoName, repo_name
from hftune.hub.server.refusal import Refusal, repo_not_found
from hftune.hub.server.repo import Repo
from hftune.hub.server.store import Store

JSON_LIMIT = 16 * MIB
_NUMBER = re.compile(r"[0-9]{1,9}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request whose body has arrived."""

    request: Request
    kind: RepoKind
    token: Token | None
    body: Body
    store: Store
    keyring: Keyring

    def segment(self, name: str) -> str:
        """Give a part of the path, decoded; empty when the route has none of this name."""
        return unquote(self.request.path_params.get(name, ""))

    def query(self, name: str, default: str = "") -> str:
        """Give a query parameter."""
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: int) -> int:
        """Give a query parameter that is a whole number. Raise Refusal 400."""
        text = self.query(name, str(default))
        if not _NUMBER.fullmatch(text):
            raise Refusal(400, f"{name} must be a whole number")
        return int(text)

    def flag(self, name: str) -> bool:
        """Say whether a query parameter is switched on."""
        return self.query(name).lower() in ("1", "true")

    @property
    def endpoint(self) -> str:
        """The address the client used for this Hub, without a trailing slash."""
        return str(self.request.base_url).rstrip("/")

    def readable_repo(self) -> Repo:
        """Give the repository of the path. Raise Refusal if it is absent or hidden."""
        name = repo_name(self.kind, self.segment("namespace"), self.segment("name"))
        repo = self.store.find(name)
        if repo is None:
            present = self.store.forwarded(name)
            if present is not None:
                raise self._forward(name, present)
            raise repo_not_found(has_token=self.token is not None)
        if repo.settings.private and not self.owns(name.namespace):
            raise repo_not_found(has_token=self.token is not None)
        return repo

    def writable_repo(self) -> Repo:
        """Give the repository of the path. Raise Refusal unless the asker may change it."""
        repo = self.readable_repo()
        self.require_writer(repo.name.repo_id)
        return repo

    def owns(self, namespace: str) -> bool:
        """Say whether the asker's token belongs to the namespace."""
        return self.token is not None and self.token.owns(namespace)

    def require_token(self) -> Token:
        """Give the token. Raise Refusal 401 without one."""
        if self.token is None:
            raise Refusal(401, "this needs a token")
        return self.token

    def require_writer(self, place: str | None = None) -> Token:
        """Give the token. Raise Refusal unless it may write, in `place` if one is given.

        A place is a namespace, or a repository such as `ns/name`.
        """
        token = self.require_token()
        if not token.writes:
            raise Refusal(403, "this token may only read; use one with the write role")
        if place is not None and not token.may_write(place):
            raise Refusal(403, f"this token of {token.user} has no right to write to {place}")
        return token

    def _forward(self, name: RepoName, present: RepoName) -> Refusal:
        """Answer for a renamed repository: the same address with its present name."""
        path = self.request.url.path.replace(f"/{name.repo_id}", f"/{present.repo_id}", 1)
        query = self.request.url.query
        location = f"{path}?{query}" if query else path
        return Refusal(307, f"{name.repo_id} is now {present.repo_id}", location=location)


Answer = Callable[[Call], Response]
# How many bytes of a body to keep, or a function that tells and may refuse the request.
Room = int | Callable[[Request, Keyring], int]


def endpoint(
    answer: Answer, *, kind: RepoKind = "model", room: Room = JSON_LIMIT
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a plain function as a route: read the body to its end, then answer in a thread."""

    async def reply(request: Request) -> Response:
        store: Store = request.app.state.store
        keyring: Keyring = request.app.state.keyring
        with Body(store.incoming) as body:
            try:
                token = await _receive(request, keyring, body, room)
                call = Call(
                    request=request, kind=kind, token=token, body=body, store=store, keyring=keyring
                )
                response = await run_in_threadpool(answer, call)
            except Refusal as refusal:
                response = refuse(refusal)
            except ClientDisconnect:
                response = refuse(Refusal(400, "the request ended early"))  # Nobody reads it.
            except DiskError as error:
                logger.error("%s %s: %s", request.method, request.url.path, error)
                response = refuse(Refusal(507, error.problem))
        response.headers["X-Request-Id"] = uuid.uuid4().hex
        # The query is left out: it may hold a signature.
        logger.debug("%s %s %d", request.method, request.url.path, response.status_code)
        return response

    return reply


async def _receive(request: Request, keyring: Keyring, body: Body, room: Room) -> Token | None:
    """Identify the asker and read the body. Raise Refusal only after the body's last byte."""
    refusal = None
    limit = 0
    token = None
    try:
        token = keyring.identify(request.headers.get("authorization"))
        limit = room if isinstance(room, int) else room(request, keyring)
        if token is None and isinstance(room, int):  # strangers push nothing
            limit = min(limit, JSON_LIMIT)
    except Refusal as reason:
        refusal = reason
    try:
        await body.fill(request.stream(), limit)
    except Refusal as reason:
        refusal = refusal or reason
    if refusal is not None:
        raise refusal
    return token


def refuse(refusal: Refusal) -> Response:
    """Give the HTTP form of a refusal."""
    return JSONResponse(
        {"error": refusal.message}, status_code=refusal.status, headers=refusal.headers()
    )


def reply_json(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Give a JSON reply."""
    return JSONResponse(value, headers=headers)
