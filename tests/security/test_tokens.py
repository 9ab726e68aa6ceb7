"""Tokens are planted, all is done that needs one, and what is left behind is searched for them."""

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from huggingface_hub import HfApi
from PIL import Image

from hftune.hub.server import RunningHub, Token, running
from tests.hub.faulty import FAULTS, faulty
from tests.hub.scripted import Answer, scripted

USUAL = "hf_PlantedTokenOfTheUsualForm"
ODD = "planted.odd-token/of+another=form"
READER = "hf_PlantedTokenThatOnlyReads"
WRONG = "planted.token-that-nobody-knows"
PASSWORD = "planted-password"
SECRETS = (USUAL, ODD, READER, WRONG, PASSWORD)

RECIPE = """\
run: planted
model: {architecture: test_vit, pretrained: false, image_size: 32}
data: {source: {name: image_folder, path: images}, workers: 1}
optim: {lr: 1e-3}
train: {length: 4 steps, batch_size: 4, precision: fp32}
eval: {every: 2 steps, best: accuracy}
save: {every: 1 steps, push_every: 1 steps}
hub: {push_to: guest/planted}
track: {every: 1 steps}
"""


@dataclass
class Hub:
    """The Hub that knows the planted tokens, and all that it logged."""

    running: RunningHub
    logged: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    guests = [
        Token(user="guest", role="write", secret=USUAL),
        Token(user="guest", role="write", secret=ODD),
        Token(user="guest", role="read", secret=READER),
    ]
    root = tmp_path_factory.mktemp("hub")
    with running(root, guests=guests) as started:
        found = Hub(started)
        keeper = logging.Handler()
        keeper.emit = lambda record: found.logged.append(record.getMessage())  # type: ignore[method-assign]
        loggers = [logging.getLogger(name) for name in ("hftune", "uvicorn")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
            logger.addHandler(keeper)
        yield found
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            logger.removeHandler(keeper)


@dataclass(frozen=True)
class Said:
    code: int
    text: str
    lines: frozenset[str]


def hftune(words: Sequence[str], endpoint: str, folder: Path, **variables: str) -> Said:
    """Run a command as a process; give all that it said and every process's line and title."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        **variables,
    }
    line = [sys.executable, "-m", "hftune", "--debug", *words]
    with subprocess.Popen(
        line,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen: set[str] = set()
        said = []
        for text in process.stdout:
            said.append(text)
            seen |= visible(process.pid)
    return Said(process.returncode, "".join(said), frozenset(seen))


def visible(pid: int) -> set[str]:
    """Give what every user of the machine can see of a process and of those it started."""
    found = set()
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            found.add(" ".join([one.name(), *one.cmdline()]))
    except psutil.NoSuchProcess:
        pass  # it has ended meanwhile
    return found


def holders(*places: Path) -> list[str]:
    """Name the files that hold a secret, as it is or in base64, in their name or content."""
    forms = [form for secret in SECRETS for form in (secret.encode(), shifted(secret))]
    found = []
    for place in places:
        for path in place.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            if any(form in content or form in os.fsencode(path) for form in forms):
                found.append(str(path))
    return found


def shifted(secret: str) -> bytes:
    """Give the part of a secret's base64 that is the same whatever follows it."""
    return base64.b64encode(secret.encode())[:-4]


def check_silence(said: Said, hub: Hub) -> None:
    text = "\n".join([said.text, *said.lines, *hub.logged])
    assert [secret for secret in SECRETS if secret in text] == []
    assert [secret for secret in SECRETS if shifted(secret).decode() in text] == []
    assert "signature=" not in text


def draw_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 4)):
        for row in range(number):
            path = folder / split / ("dark", "light")[row % 2] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


@pytest.mark.chaos
def test_a_run_leaves_its_token_nowhere(hub: Hub, tmp_path: Path) -> None:
    """Train, mirror every checkpoint, publish: by a token in the file that a log-in writes."""
    (tmp_path / "home").mkdir()
    token_file = tmp_path / "home/token"
    token_file.write_text(ODD + "\n")
    (tmp_path / "home/.git-credentials").write_text(f"https://guest:{PASSWORD}@host\n")
    draw_images(tmp_path / "images")
    (tmp_path / "planted.yaml").write_text(RECIPE)

    said = hftune(
        ["train", "planted.yaml"],
        hub.running.endpoint,
        tmp_path,
        HOME=str(tmp_path / "home"),
        USER="planted-user",
        LOGNAME="planted-user",
        HOSTNAME="planted-host",
        HF_STORED_TOKENS_PATH=str(token_file),
        WANDB_API_KEY=PASSWORD,
        ACCELERATE_API_KEY=PASSWORD,
        HTTPS_PROXY=f"http://guest:{PASSWORD}@127.0.0.1:9",
    )

    assert said.code == 0, said.text
    check_silence(said, hub)
    assert len(said.lines) > 0
    assert any("PUT /lfs/models/guest/planted/" in line for line in hub.logged)
    for planted in ("planted-user", "planted-host", str(tmp_path)):
        assert planted not in said.text
    branches = HfApi(endpoint=hub.running.endpoint, token=READER).list_repo_refs("guest/planted")
    assert {branch.name for branch in branches.branches} == {"main", "checkpoints"}
    token_file.unlink()
    (tmp_path / "home/.git-credentials").unlink()
    assert holders(tmp_path, hub.running.root) == []
    environment = (tmp_path / "runs/planted/environment.json").read_text()
    assert "planted" not in environment


@pytest.fixture
def model(hub: Hub) -> str:
    api = HfApi(endpoint=hub.running.endpoint, token=USUAL)
    api.create_repo("guest/model", private=True, exist_ok=True)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="guest/model")
    return "guest/model"


@pytest.mark.parametrize("token", [USUAL, ODD])
def test_a_pull_leaves_its_token_nowhere(token: str, model: str, hub: Hub, tmp_path: Path) -> None:
    said = hftune(["pull", model], hub.running.endpoint, tmp_path, HF_TOKEN=token)
    assert said.code == 0, said.text
    check_silence(said, hub)
    assert holders(tmp_path) == []


def test_a_token_that_is_refused_is_not_shown(model: str, hub: Hub, tmp_path: Path) -> None:
    said = hftune(["pull", model], hub.running.endpoint, tmp_path, HF_TOKEN=WRONG)
    assert "Traceback" in said.text
    assert "HubPermissionError" in said.text
    check_silence(said, hub)


@pytest.mark.parametrize("token", [USUAL, ODD])
def test_a_server_that_echoes_the_token_is_not_quoted(token: str, hub: Hub, tmp_path: Path) -> None:
    """As some proxies do in their pages; with --debug the library's own error is shown as well."""
    echo = json.dumps({"error": f"no route for {token}, sent as Bearer {token}"})
    with scripted(Answer(403, echo)) as server:
        said = hftune(["pull", "guest/model"], server.endpoint, tmp_path, HF_TOKEN=token)
    assert "no route for" in said.text
    assert "Traceback" in said.text
    check_silence(said, hub)


def test_a_broken_connection_does_not_show_the_token(model: str, hub: Hub, tmp_path: Path) -> None:
    with faulty(hub.running.endpoint) as proxy:
        proxy.spoil("get small", FAULTS["reset"], times=1)
        said = hftune(["pull", model], proxy.endpoint, tmp_path, HF_TOKEN=ODD)
    assert "trying again" in said.text
    check_silence(said, hub)


def test_an_address_with_a_password_is_refused_without_it(hub: Hub, tmp_path: Path) -> None:
    address = hub.running.endpoint.replace("http://", f"http://guest:{PASSWORD}@")
    said = hftune(["pull", "guest/model"], address, tmp_path)
    assert "may hold no user name or password" in said.text
    check_silence(said, hub)
