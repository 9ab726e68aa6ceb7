"""Start and stop a local Hub: in a thread of this process, or until a signal arrives."""

import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.errors import AbilityError, MissingPackageError, PortInUseError
from hftune.hub.server.auth import Keyring, Token, open_keyring
from hftune.hub.server.store import Store

if TYPE_CHECKING:
    import uvicorn

_GRACE_SECONDS = 5
_UNREAD_MILLISECONDS = 120_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunningHub:
    """A Hub that answers: its address, its folder, and the tokens of its first user."""

    endpoint: str
    root: Path
    user: str
    write_token: str = field(repr=False)
    read_token: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables a client process needs before it imports the client library."""
        here = "127.0.0.1,localhost"
        beside = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
        no_proxy = f"{beside},{here}" if beside else here
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.write_token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }


@contextlib.contextmanager
def running(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    user: str = "local",
    guests: Sequence[Token] = (),
) -> Iterator[RunningHub]:
    """Run a Hub over `root` in a thread while the context is open; port 0 takes a free one.

    The tokens of `user` are made at the first start and kept in `root`; those of `guests` hold for
    this run. Raises MissingPackageError, PortInUseError, and AbilityError if another process
    serves the folder.
    """
    store = Store(root)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        if not is_loopback(listener.getsockname()[0]):
            logger.warning("the Hub listens beyond this machine; tokens travel in the clear")
        stack.enter_context(store.served())
        keyring = open_keyring(root, user=user, guests=guests)
        stack.enter_context(_serving(_server(store, keyring), listener))
        write, read = keyring.tokens[:2]
        yield RunningHub(
            endpoint=address_of(listener),
            root=root,
            user=write.user,
            write_token=write.secret,
            read_token=read.secret,
        )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host, given by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    user: str = "local",
    ready: Callable[[RunningHub], None],
) -> None:
    """Run a Hub over `root` until SIGINT or SIGTERM; call `ready` once it answers.

    Side effect: holds the two signals meanwhile, so call it from the main thread.
    """
    with (
        stop_signals() as stopped,
        running(root, host=host, port=port, user=user) as hub,
    ):
        ready(hub)
        stopped.wait()


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set while the context is open.

    Side effect: holds the two signals meanwhile, so call it from the main thread.
    """
    stopped = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _server(store: Store, keyring: Keyring) -> "uvicorn.Server":
    """Give the web server for the routes; access logs are off, as addresses hold signatures."""
    try:
        import uvicorn  # Optional dependencies: starlette, uvicorn.

        from hftune.hub.server import connections
        from hftune.hub.server.app import build_app
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the local Hub needs the package '{error.name}', which is not installed",
            remedy="pip install 'hftune[hub-server]'",
        ) from None
    config = uvicorn.Config(
        build_app(store, keyring),
        log_config=None,
        access_log=False,
        lifespan="off",
        http=connections.BoundedProtocol,
        ws="none",
        limit_concurrency=connections.MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def _serving(server: "uvicorn.Server", listener: socket.socket) -> Iterator[None]:
    """Run the server in a thread; the socket listens already, so no client is ever refused."""
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="hftune-hub", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def listen(host: str, port: int) -> socket.socket:
    """Give a socket that listens; port 0 takes a free one. Raises PortInUseError, AbilityError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
        # Accepted connections inherit it; without it, each answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # Inherited as well: who asks for a file and does not read it is hung up on.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MILLISECONDS)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} on {host} is in use",
                remedy="stop the other program, or choose another port with --port (0: any free)",
            ) from None
        raise AbilityError(
            f"cannot listen on {host}:{port}",
            found=error.strerror,
            remedy="choose another --host or --port",
        ) from None


def address_of(listener: socket.socket) -> str:
    """Give the address a client on this machine uses."""
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
