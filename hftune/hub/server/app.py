"""The HTTP routes the client library calls, and the functions that answer them."""

from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hftune.core import RepoKind
from hftune.hub.server import lfs, pulls, pushing, reading, repos
from hftune.hub.server.auth import Keyring
from hftune.hub.server.call import JSON_LIMIT, Answer, Call, Room, endpoint, reply_json
from hftune.hub.server.names import KINDS
from hftune.hub.server.refusal import Refusal
from hftune.hub.server.store import Store

_ID = "{namespace}/{name}"
_OBJECT = "/lfs/{kind}/" + _ID + "/{oid}"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

# method, path after /api/{models,datasets,spaces}, answer
_API: list[tuple[str, str, Answer]] = [
    ("GET", "", reading.listing),
    ("GET", f"/{_ID}", reading.info),
    ("GET", f"/{_ID}/revision/{{revision}}", reading.info),
    ("GET", f"/{_ID}/tree/{{revision}}", reading.tree),
    ("GET", f"/{_ID}/tree/{{revision}}/{{path:path}}", reading.tree),
    ("POST", f"/{_ID}/paths-info/{{revision}}", reading.paths_info),
    ("GET", f"/{_ID}/commits/{{revision}}", reading.commits),
    ("GET", f"/{_ID}/refs", reading.refs),
    ("GET", f"/{_ID}/auth-check", reading.auth_check),
    ("GET", f"/{_ID}/auth-check/write", reading.auth_check_write),
    ("PUT", f"/{_ID}/settings", repos.settings),
    ("POST", f"/{_ID}/branch/{{ref}}", repos.create_branch),
    ("DELETE", f"/{_ID}/branch/{{ref}}", repos.delete_branch),
    ("POST", f"/{_ID}/super-squash/{{ref}}", repos.super_squash),
    ("POST", f"/{_ID}/tag/{{ref}}", repos.create_tag),
    ("DELETE", f"/{_ID}/tag/{{ref}}", repos.delete_tag),
    ("POST", f"/{_ID}/preupload/{{revision}}", pushing.preupload),
    ("GET", f"/{_ID}/discussions", pulls.listing),
    ("POST", f"/{_ID}/discussions", pulls.create),
    ("GET", f"/{_ID}/discussions/{{number}}", pulls.details),
    ("POST", f"/{_ID}/discussions/{{number}}/merge", pulls.merge),
]


def build_app(store: Store, keyring: Keyring) -> ASGIApp:
    """Give the whole Hub as one ASGI application."""
    app = Starlette(routes=list(_routes()))
    app.state.store = store
    app.state.keyring = keyring
    return EncodedPaths(app)


class EncodedPaths:
    """Match routes on the path as it was sent.

    Revisions travel as one segment with encoded slashes; decoded first, they would fall apart.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its raw path."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self.app(scope, receive, send)


def _routes() -> Iterator[Route]:
    yield _route("GET", "/", _greet)
    yield _route("GET", "/api/whoami-v2", reading.whoami)
    yield _route("POST", "/api/validate-yaml", repos.validate_yaml)
    yield _route("POST", "/api/repos/create", repos.create)
    yield _route("DELETE", "/api/repos/delete", repos.delete)
    yield _route("POST", "/api/repos/move", repos.move)
    for kind in KINDS:
        for method, path, answer in _API:
            yield _route(method, f"/api/{kind}s{path}", answer, kind=kind)
        yield _route(
            "POST",
            f"/api/{kind}s/{_ID}/commit/{{revision}}",
            pushing.commit,
            kind=kind,
            room=pushing.COMMIT_LIMIT,
        )
    yield _route("PUT", _OBJECT, lfs.receive, room=lfs.signed_size)
    yield _route("PUT", f"{_OBJECT}/parts/{{number}}", lfs.receive_part, room=lfs.signed_size)
    yield _route("POST", f"{_OBJECT}/complete", lfs.complete, room=lfs.signed)
    # The models' pages last: the others' prefix would pass for a model's namespace.
    pages: list[tuple[str, RepoKind]] = [
        ("/datasets", "dataset"), ("/spaces", "space"), ("", "model"),
    ]  # fmt: skip
    for prefix, kind in pages:
        large = f"{prefix}/{_ID}.git/info/lfs"
        yield _route("POST", f"{large}/objects/batch", lfs.batch, kind=kind)
        yield _route("POST", f"{large}/verify", lfs.verify, kind=kind)
        yield _route(
            "GET", f"{prefix}/{_ID}/resolve/{{revision}}/{{path:path}}", reading.resolve, kind=kind
        )
    yield Route("/{path:path}", endpoint(_unknown), methods=_METHODS)


def _route(
    method: str,
    path: str,
    answer: Answer,
    *,
    kind: RepoKind = "model",
    room: Room = JSON_LIMIT,
) -> Route:
    return Route(path, endpoint(answer, kind=kind, room=room), methods=[method])


def _greet(call: Call) -> Response:
    return reply_json({"name": "hftune local Hub", "endpoint": call.endpoint})


def _unknown(call: Call) -> Response:
    wish = f"{call.request.method} {call.request.url.path}"
    raise Refusal(404, f"the local Hub does not serve {wish}")
