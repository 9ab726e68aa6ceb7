"""Clients that mean harm: odd requests, endless bodies, held connections, names that lead out."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import get_session

from hftune.hub.server import RunningHub, body, connections, running
from hftune.hub.server.call import JSON_LIMIT

HEADER = b'{"key": "header", "value": {"summary": "x"}}\n'
SECRET_FILE = "tokens.json"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running(tmp_path_factory.mktemp("victim")) as hub:
        HfApi(endpoint=hub.endpoint, token=hub.write_token).create_repo("acme/there")
        yield hub


def connect(hub: RunningHub) -> socket.socket:
    host, _, port = hub.endpoint.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def send(hub: RunningHub, line: str, content: bytes = b"", *headers: str) -> tuple[int, str]:
    """Send one request as it stands, by the owner; give the status and the whole answer."""
    head = [
        f"{line} HTTP/1.1",
        "Host: hub",
        "Connection: close",
        f"Authorization: Bearer {hub.write_token}",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    with connect(hub) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + content)
        answer = read_all(connection)
    return int(answer.split()[1]), answer


def read_all(connection: socket.socket) -> str:
    """Read until the server hangs up; longer than half a minute is a failure."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):  # it hung up on what was still being sent
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode("latin-1")


def lines(*values: object) -> bytes:
    return HEADER + b"\n".join(json.dumps(value).encode() for value in values)


def file_line(path: str) -> dict[str, object]:
    return {"key": "file", "value": {"path": path, "encoding": "base64", "content": ""}}


def card(metadata: str) -> bytes:
    return json.dumps({"content": f"---\n{metadata}\n---\n", "repoType": "model"}).encode()


API = "/api/models/acme/there"
COMMIT = f"POST {API}/commit/main"
BATCH = "POST /acme/there.git/info/lfs/objects/batch"


REQUESTS = [
    ("GET /api/models/a%00b/c", b""),
    ("GET /api/models/a%0d%0aSet-Cookie:x/c", b""),
    (f"GET {API}/revision/%00", b""),
    (f"GET {API}/revision/{'x' * 3000}", b""),
    (f"GET {API}/revision/refs%2Fpr%2F{'9' * 5000}", b""),
    (f"GET {API}/revision/refs%2Fheads%2F..%2F..%2Fsettings.json", b""),
    (f"GET {API}/discussions/..%2Fsettings", b""),
    ("GET /api/models?limit=" + "9" * 5000, b""),
    ("GET /api/models?cursor=-1", b""),
    ("GET /acme/there/resolve/main/%00", b""),
    (f"GET /acme/there/resolve/main/{'%2e%2e%2f' * 5}{SECRET_FILE}", b""),
    ("GET /acme/there/resolve/..%2f..%2fmain/settings.json", b""),
    ("GET /acme/..%2f..%2f..%2fx/resolve/main/a", b""),
    ("GET /acme/there/resolve/main//etc/passwd", b""),
    ("GET //etc/passwd", b""),
    ("POST /api/repos/create", b"[" * 100_000),
    ("POST /api/repos/create", b'{"a":' * 100_000),
    ("POST /api/repos/create", b'{"type": "model", "name": "\\ud800"}'),
    ("POST /api/repos/create", b'{"type": "model", "name": "x", "organization": ".."}'),
    ("POST /api/repos/create", b'{"name": ' + b"9" * 5000 + b"}"),
    ("POST /api/repos/create", b"\xff\xfe{\x00}\x00"),
    (
        "POST /api/repos/move",
        b'{"type": "model", "fromRepo": "acme/there", "toRepo": "../x/y"}',
    ),
    (COMMIT, lines(file_line("\ud800"))),
    (COMMIT, b'{"key": "header", "value": {"summary": "\\udc00"}}'),
    (COMMIT, lines({"key": "lfsFile", "value": {"path": "w", "oid": "../" * 21 + "a"}})),
    (COMMIT, HEADER + b"[" * 100_000),
    (f"POST {API}/preupload/main", b'{"files": [{"path": "a", "size": Infinity}]}'),
    (f"POST {API}/branch/%2e%2e%2fx", b"{}"),
    (f"POST {API}/tag/main", b'{"tag": "a\\r\\nX: y"}'),
    (f"POST {API}/paths-info/main", b"a&" * 200_000),
    (BATCH, b'{"operation": "upload", "objects": [], "transfers": 5}'),
    (BATCH, b'{"operation": "upload", "objects": [{"oid": "../../x", "size": 1}]}'),
    (f"PUT /lfs/models/acme/there/..%2f{SECRET_FILE}?size=1", b"x"),
    ("PUT /lfs/models/acme/there/x?size=one&expires=soon&signature=%ff", b"x"),
    ("POST /api/validate-yaml", card("a: &a [*a]")),
    ("POST /api/validate-yaml", card("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]")),
    ("POST /api/validate-yaml", card("[" * 5000)),
    ("POST /api/validate-yaml", card("a: " + "x" * 600_000)),
    ("POST /api/validate-yaml", card("!!python/object/apply:os.system [ls]")),
]


@pytest.mark.parametrize(("line", "content"), REQUESTS, ids=range(len(REQUESTS)))
def test_odd_requests_are_refused_in_words(victim: RunningHub, line: str, content: bytes) -> None:
    status, answer = send(victim, line, content)
    assert 400 <= status < 500
    assert "error" in answer
    assert "\r\nSet-Cookie" not in answer
    assert str(victim.root) not in answer
    assert victim.read_token not in answer


@pytest.mark.parametrize("value", ["Bearer", "Bearer \xff", "Basic eDp5", "bearer  ", "x" * 5000])
def test_odd_authorizations_are_refused(victim: RunningHub, value: str) -> None:
    with connect(victim) as connection:
        head = (
            f"GET /api/whoami-v2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: {value}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode("latin-1"))
        assert read_all(connection).startswith("HTTP/1.1 401 ")


def test_a_head_without_end_is_cut_off(victim: RunningHub) -> None:
    with connect(victim) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000)
        assert read_all(connection)[9:12] in ("400", "")
    assert send(victim, "GET /")[0] == 200


def test_a_request_inside_another_is_not_carried_out(victim: RunningHub) -> None:
    """Two lengths, of which a proxy might believe the other one."""
    inner = f"DELETE /api/repos/delete HTTP/1.1\r\nAuthorization: Bearer {victim.write_token}\r\n"
    content = b"0\r\n\r\n" + inner.encode()
    for headers in (["Content-Length: 4"], ["Transfer-Encoding: chunked, identity"]):
        status, answer = send(victim, "POST /api/repos/create", content, *headers)
        assert status == 400
        assert answer.count("HTTP/1.1 ") == 1


def test_strangers_may_send_little(victim: RunningHub) -> None:
    """Who has no token cannot have a whole commit kept on the disk."""
    reply = get_session().post(
        f"{victim.endpoint}{API}/commit/main", content=b"x" * (JSON_LIMIT + 1)
    )
    assert reply.status_code == 413
    assert list((victim.root / "incoming").iterdir()) == []


def test_a_line_of_a_commit_is_bounded(victim: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hftune.hub.server.pushing.LINE_LIMIT", 1000)
    status, answer = send(victim, COMMIT, lines(file_line("a" * 1000)))
    assert status == 413
    assert "may have 1000 bytes" in answer


def test_chunks_count_as_a_length_does(victim: RunningHub) -> None:
    piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
    with connect(victim) as connection:
        head = "POST /api/repos/create HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(JSON_LIMIT // (1 << 20) + 1):
            connection.sendall(piece)
        connection.sendall(b"0\r\n\r\n")
        assert read_all(connection).startswith("HTTP/1.1 413 ")


def test_a_body_that_stops_coming_is_given_up(
    victim: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SILENT_SECONDS", 0.1)
    with connect(victim) as connection:
        head = "POST /api/repos/create HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert read_all(connection).startswith("HTTP/1.1 408 ")


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHos"])
def test_a_head_that_stops_coming_is_given_up(
    victim: RunningHub, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    with connect(victim) as connection:
        connection.sendall(start)
        assert read_all(connection) == ""
    with connect(victim) as connection:  # the same after a request that was answered
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + start)
        assert read_all(connection).count("HTTP/1.1 ") == 1


def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 4)
    with running(tmp_path) as hub:
        held = [connect(hub) for _ in range(4)]
        assert send(hub, "GET /")[0] == 503
        for connection in held:
            connection.close()
        assert get_session().get(f"{hub.endpoint}/").status_code == 200


def test_the_disk_is_not_described(tmp_path: Path) -> None:
    """A store that cannot be written is said to the client, where it lies is not."""
    with running(tmp_path / "store") as hub:
        (hub.root / "repos").mkdir(exist_ok=True)
        (hub.root / "repos/models").write_text("in the way")
        status, answer = send(hub, "POST /api/repos/create", b'{"type": "model", "name": "x"}')
    assert status == 507
    assert "cannot be written" in answer
    assert str(tmp_path) not in answer
