"""A Hub that fails: a proxy on loopback before the local Hub, which spoils chosen requests."""

import contextlib
import http.client
import http.server
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "whoami",
    "info",
    "create",
    "branch",
    "validate",
    "preupload",
    "batch",
    "put",
    "part",
    "complete",
    "verify",
    "commit",
    "tree",
    "head",
    "get small",
    "get large",
    "other",
]

_ID = r"[^/]+/[^/]+"
_KINDS: list[tuple[str, str, Kind]] = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("GET", rf"/api/\w+/{_ID}/tree/.*", "tree"),
    ("POST", rf"/api/\w+/{_ID}/branch/.*", "branch"),
    ("POST", rf"/api/\w+/{_ID}/preupload/.*", "preupload"),
    ("POST", rf"/api/\w+/{_ID}/commit/.*", "commit"),
    ("GET", rf"/api/\w+/{_ID}(/revision/.*)?", "info"),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "batch"),
    ("POST", rf"/{_ID}\.git/info/lfs/verify", "verify"),
    ("PUT", r"/lfs/.*/parts/\d+", "part"),
    ("POST", r"/lfs/.*/complete", "complete"),
    ("PUT", r"/lfs/.*", "put"),
    ("HEAD", rf"(/datasets)?/{_ID}/resolve/.*", "head"),
    ("GET", rf"(/datasets)?/{_ID}/resolve/.*\.(safetensors|parquet)", "get large"),
    ("GET", rf"(/datasets)?/{_ID}/resolve/.*", "get small"),
]
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})
_PAGE = b"<!doctype html><title>Sign in</title><p>Please sign in to this network.</p>" * 40


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a request is spoilt: a reply in place of the Hub's, or what becomes of the Hub's own.

    `reaches` says whether the Hub does what was asked. `ending` says how the answer is given.
    """

    name: str
    reply: Reply | None = None
    reaches: bool = False
    ending: Literal["whole", "reset", "stall", "cut", "reset in body", "flipped"] = "whole"


def _status(status: int, name: str = "", **headers: str) -> Fault:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    body = b'{"error": "out of order"}'
    reply = Reply(status=status, headers={"Content-Type": "application/json", **given}, body=body)
    return Fault(name=name or str(status), reply=reply)


_HTML = Reply(status=200, headers={"Content-Type": "text/html"}, body=_PAGE)

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        _status(429),
        _status(429, "429, Retry-After: 1", Retry_After="1"),
        _status(429, "429, Retry-After: 3600", Retry_After="3600"),
        _status(429, "429, RateLimit: t=1", RateLimit='"api";r=0;t=1'),
        _status(500),
        _status(502),
        _status(503),
        _status(503, "503, Retry-After: 3600", Retry_After="3600"),
        _status(504),
        Fault(name="reset", ending="reset"),
        Fault(name="stall", ending="stall"),
        Fault(name="page of HTML", reply=_HTML),
        Fault(name="answer cut short", reaches=True, ending="cut"),
        Fault(name="reset in the answer", reaches=True, ending="reset in body"),
        Fault(name="answer lost", reaches=True, ending="reset"),
        Fault(name="answer stalls", reaches=True, ending="stall"),
        Fault(name="byte flipped", reaches=True, ending="flipped"),
    )
}


@dataclass
class FaultyHub:
    """A running proxy: what it spoils, and what it has seen."""

    endpoint: str
    fault: Fault | None = None
    kind: Kind | None = None
    times: int | None = None
    first: int = 1
    seen: list[tuple[Kind, int]] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _released: threading.Event = field(default_factory=threading.Event)

    def spoil(self, kind: Kind, fault: Fault, *, times: int | None = None, first: int = 1) -> None:
        """Spoil requests of `kind` from the `first` on, `times` of them or, with None, all."""
        self.kind, self.fault, self.times, self.first = kind, fault, times, first
        self.seen.clear()

    def heal(self) -> None:
        """Spoil nothing any more; forget what was seen."""
        self.kind = self.fault = None
        self.seen.clear()

    def count(self, kind: Kind) -> int:
        return sum(seen == kind for seen, _ in self.seen)

    def sent(self, *kinds: Kind) -> int:
        """Give the bytes that arrived in bodies of requests of these kinds."""
        return sum(size for seen, size in self.seen if seen in kinds)

    def take(self, kind: Kind, size: int) -> Fault | None:
        """Note one request; give the fault that is due."""
        with self._news:
            self.seen.append((kind, size))
            number = self.count(kind)
            self._news.notify_all()
        due = kind == self.kind and number >= self.first
        if self.times is not None and number >= self.first + self.times:
            due = False
        return self.fault if due else None

    def tell(self) -> None:
        """Wake those who wait: the Hub has done what a spoilt request asked for."""
        with self._news:
            self._news.notify_all()

    def wait_until(self, seen: Callable[[], bool]) -> None:
        """Wait for requests to come in until `seen`; half a minute without is a failure."""
        with self._news:
            assert self._news.wait_for(seen, timeout=30), self.seen

    def wait(self) -> None:
        """Stay silent until the client hangs up, which the end of the test makes sure of."""
        self._released.wait(30)

    def release(self) -> None:
        self._released.set()


def kind_of(method: str, path: str) -> Kind:
    path = path.partition("?")[0]
    for wanted, pattern, kind in _KINDS:
        if method == wanted and re.fullmatch(pattern, path):
            return kind
    return "other"


@contextlib.contextmanager
def faulty(upstream: str) -> Iterator[FaultyHub]:
    """Run a proxy before the Hub at `upstream`; it spoils nothing until it is told to."""
    host = upstream.removeprefix("http://")

    class Handler(_Proxy):
        hub_host = host

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.faulty = FaultyHub(endpoint=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Handler.faulty
    finally:
        Handler.faulty.release()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up first."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body after its head would wait 40 ms
    hub_host: str
    faulty: FaultyHub

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.faulty.take(kind_of(self.command, self.path), len(body))
        if fault is None:
            self._answer(self._ask(body))
            return
        if fault.ending == "flipped" and self.command == "PUT":
            self._answer(self._ask(_flip(body)))
            return
        reply = self._ask(body) if fault.reaches else fault.reply
        self.faulty.tell()
        self._ENDINGS[fault.ending](self, reply)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _ask(self, body: bytes) -> Reply:
        """Pass the request on, with the Host it came with: the Hub's addresses lead back here."""
        connection = http.client.HTTPConnection(self.hub_host, timeout=60)
        try:
            headers = {
                name: self.headers[name] for name in self.headers if name.lower() not in _HOP
            }
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            kept = {name: text for name, text in answer.getheaders() if _travels(name)}
            return Reply(status=answer.status, headers=kept, body=answer.read())
        finally:
            connection.close()

    def _answer(self, reply: Reply | None) -> None:
        assert reply is not None
        self._head(reply)
        with contextlib.suppress(OSError):
            self.wfile.write(b"" if self.command == "HEAD" else reply.body)

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, text in reply.headers.items():
            self.send_header(name, text)
        if "content-length" not in {name.lower() for name in reply.headers}:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()

    def _reset(self, _: Reply | None) -> None:
        """Hang up as a machine does that has forgotten the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stall(self, _: Reply | None) -> None:
        self.close_connection = True
        self.faulty.wait()

    def _cut(self, reply: Reply | None) -> None:
        """Give half of the answer, then hang up; of one without a body, half of its head."""
        assert reply is not None
        self.close_connection = True
        if not reply.body or self.command == "HEAD":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            return
        self._head(reply)
        self.wfile.write(reply.body[: len(reply.body) // 2])
        self.wfile.flush()

    def _reset_in_body(self, reply: Reply | None) -> None:
        self._cut(reply)
        self._reset(reply)

    def _flipped(self, reply: Reply | None) -> None:
        assert reply is not None
        self._answer(Reply(status=reply.status, headers=reply.headers, body=_flip(reply.body)))

    _ENDINGS: Mapping[str, Callable[["_Proxy", Reply | None], None]] = {
        "whole": _answer,
        "reset": _reset,
        "stall": _stall,
        "cut": _cut,
        "reset in body": _reset_in_body,
        "flipped": _flipped,
    }

    def log_message(self, *_: object) -> None: ...


def _travels(header: str) -> bool:
    return header.lower() not in _HOP


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
