"""A server that answers what it is told to, one answer after the other."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from huggingface_hub import close_session

COMMIT = "c" * 40
INFO = json.dumps({"id": "org/name", "sha": COMMIT, "private": False, "siblings": []})


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = INFO
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    silent_seconds: float = 0.0


@dataclass
class Scripted:
    """A server that gives its answers in order, the last one for ever."""

    endpoint: str
    answers: list[Answer]
    requests: int = 0


@contextlib.contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = script.answers[min(script.requests, len(script.answers) - 1)]
            script.requests += 1
            time.sleep(answer.silent_seconds)
            if answer.hangs_up:
                self.close_connection = True
                return
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script = Scripted(endpoint=f"http://127.0.0.1:{server.server_port}", answers=list(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        close_session()
