"""Start and stop the server: in a thread of this process, or until a signal arrives."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hftune.errors import AbilityError, MissingPackageError
from hftune.hub.server.engine import address_of, is_loopback, listen, stop_signals
from hftune.predict import Predictor
from hftune.serve.limits import Limits

if TYPE_CHECKING:
    import uvicorn

_GRACE_SECONDS = 10
_POLL_SECONDS = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunningModel:
    """A model that answers at an address."""

    endpoint: str


@contextlib.contextmanager
def running(
    predictor: Predictor,
    *,
    title: str,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[RunningModel]:
    """Answer requests in a thread while the context is open; port 0 takes a free one.

    What is in the making as it closes is finished, for ten seconds at most. Raises
    MissingPackageError, PortInUseError and AbilityError.
    """
    with listen(host, port) as listener:
        if not is_loopback(listener.getsockname()[0]):
            logger.warning("the model answers beyond this machine, to everybody who asks")
        server = _server(predictor, limits or Limits(), title=title)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="hftune-serve", daemon=True
        )
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise AbilityError("the server did not start")
                time.sleep(_POLL_SECONDS)
            yield RunningModel(endpoint=address_of(listener))
        finally:
            server.should_exit = True
            thread.join()


def serve(
    predictor: Predictor,
    *,
    title: str,
    limits: Limits,
    host: str,
    port: int,
    ready: Callable[[RunningModel], None],
) -> None:
    """Answer requests until SIGINT or SIGTERM; call `ready` once it does.

    Side effect: holds the two signals meanwhile, so call it from the main thread.
    """
    with (
        stop_signals() as stopped,
        running(predictor, title=title, limits=limits, host=host, port=port) as model,
    ):
        ready(model)
        stopped.wait()


def _server(predictor: Predictor, limits: Limits, *, title: str) -> "uvicorn.Server":
    try:
        import uvicorn  # Optional dependencies: starlette, uvicorn.

        from hftune.hub.server import connections
        from hftune.serve.app import Model
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"serving needs the package '{error.name}', which is not installed",
            remedy="pip install 'hftune[serve]'",
        ) from None
    config = uvicorn.Config(
        Model(predictor, limits, title=title).app(),
        log_config=None,
        access_log=False,
        lifespan="on",
        http=connections.BoundedProtocol,
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return uvicorn.Server(config)
