from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.hub.server import RunningHub, Token, running

GUEST = Token(user="guest", role="write", secret="hf_guest")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running(tmp_path_factory.mktemp("hub"), guests=[GUEST]) as running_hub:
        yield running_hub


@pytest.fixture
def api(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.write_token)


@pytest.fixture
def reader(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.read_token)


@pytest.fixture
def guest(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=GUEST.secret)


@pytest.fixture
def nobody(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
