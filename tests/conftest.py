"""Shared factories: a local Hub, its clients' environment, tiny images. No network but loopback."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# The client libraries read these once, at import, so they are set before anything is imported.
_SCRATCH = tempfile.mkdtemp(prefix="hftune-tests-")
for _name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
    os.environ.pop(_name, None)
os.environ["HF_HOME"] = _SCRATCH + "/hf"
os.environ["HFTUNE_CACHE"] = _SCRATCH + "/hftune"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["NO_PROXY"] = "127.0.0.1,localhost"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"

import pytest  # noqa: E402  # after the environment

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if host is not None and host not in _LOOPBACK:
        raise OSError(f"tests reach this machine only, not {host}")
    _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Close every socket that would leave this machine."""
    socket.socket.connect = _loopback_only  # type: ignore[method-assign]
    yield
    socket.socket.connect = _connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def local_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A Hub on loopback for the whole session; tests use repositories of their own names."""
    from hftune.hub.server import running

    with running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session", autouse=True)
def _scratch() -> Iterator[None]:
    """Remove the caches of this session."""
    import shutil

    yield
    shutil.rmtree(Path(_SCRATCH), ignore_errors=True)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of finished run folders: `make_run("name", labels=("a", "b"))`."""
    from tests.finished import write_finished_run

    def make(name: str = "tiny-run", **changes: object) -> Path:
        return write_finished_run(tmp_path / "runs" / name, **changes)  # type: ignore[arg-type]

    return make


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="also run the tests marked chaos")
    parser.addoption("--container", action="store_true", help="also build and run the image")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they are asked for; a part of each is in every run."""
    if config.getoption("--chaos"):
        return
    left_out = [item for item in items if item.get_closest_marker("chaos") is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.get_closest_marker("chaos") is None]
