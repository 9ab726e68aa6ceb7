"""A Hub on loopback for the tests of its client side, and small repositories on it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.hub.client import HubSettings
from hftune.hub.server import RunningHub, Token, running

GUEST = Token(user="guest", role="write", secret="hf_guest")
# One that may write to a single repository, and one that may write to its owner's namespace.
NARROW = Token(
    user="guest",
    role="fineGrained",
    secret="hf_narrow",
    scopes={"guest/chosen": ["repo.content.read", "repo.write"], "guest": ["repo.content.read"]},
)
FINE = Token(user="guest", role="fineGrained", secret="hf_fine", scopes={"guest": ["repo.write"]})


@pytest.fixture(scope="session")
def client_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running(tmp_path_factory.mktemp("client-hub"), guests=[GUEST, NARROW, FINE]) as hub:
        yield hub


@pytest.fixture
def settings(client_hub: RunningHub, tmp_path: Path) -> HubSettings:
    """Ask the test Hub as its owner, with an empty cache and no pauses."""
    return HubSettings(
        endpoint=client_hub.endpoint,
        token=client_hub.write_token,
        cache=tmp_path / "cache",
        first_pause=0.0,
        attempts=2,
    )


@pytest.fixture
def offline(settings: HubSettings) -> HubSettings:
    return replace(settings, offline=True)


@pytest.fixture
def unreachable(settings: HubSettings) -> HubSettings:
    """Ask a port of this machine on which nobody listens."""
    return replace(settings, endpoint="http://127.0.0.1:1")


@pytest.fixture
def reader(settings: HubSettings, client_hub: RunningHub) -> HubSettings:
    return replace(settings, token=client_hub.read_token)


@pytest.fixture
def guest(settings: HubSettings) -> HubSettings:
    return replace(settings, token=GUEST.secret)


@pytest.fixture
def nobody(settings: HubSettings) -> HubSettings:
    return replace(settings, token=False)


@pytest.fixture
def api(client_hub: RunningHub) -> HfApi:
    return HfApi(endpoint=client_hub.endpoint, token=client_hub.write_token)


@pytest.fixture
def repo_id(request: pytest.FixtureRequest) -> str:
    """Give every test a repository name of its own."""
    name = request.node.name.replace("[", "-").replace("]", "")
    return f"local/{name[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@pytest.fixture
def make_repo(api: HfApi, repo_id: str) -> Callable[..., str]:
    """Give a function that commits `path=content` to a repository and gives the commit."""

    def make(files: dict[str, bytes], *, private: bool = False, kind: str = "model") -> str:
        api.create_repo(repo_id, private=private, repo_type=kind, exist_ok=True)
        return api.create_commit(
            repo_id,
            [
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
                for path, content in files.items()
            ],
            commit_message="seed",
            repo_type=kind,
        ).oid

    return make


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A small folder as it is published."""
    folder = tmp_path / "artifact"
    (folder / "hftune").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(b"\x00\x01" * 700))
    (folder / "config.json").write_text('{"architecture": "test_resnet"}')
    (folder / "README.md").write_text("---\nlibrary_name: timm\n---\n\n# A model\n")
    (folder / "hftune" / "recipe.yaml").write_text("run: tiny\n")
    return folder


def safetensors(content: bytes, metadata: dict[str, str] | None = None) -> bytes:
    """Give a safetensors file with one tensor of bytes."""
    header = {
        "__metadata__": {"format": "pt", **(metadata or {})},
        "weight": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content
