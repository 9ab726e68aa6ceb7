import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import close_session

from hftune.core import RepoRef
from hftune.errors import (
    HubError,
    HubPermissionError,
    OfflineError,
    PushConflictError,
    RequestError,
)
from hftune.hub.client import HubSettings, ask, open_api, spread
from hftune.hub.failure import Errand
from hftune.hub.resolve import resolve_commit
from hftune.hub.rights import check_rights
from tests.hub.scripted import COMMIT, Answer, Scripted, scripted

SECRET = "hf_" + "Zz9" * 10


@pytest.fixture
def impatient(tmp_path: Path) -> Callable[[Scripted], HubSettings]:
    def make(script: Scripted) -> HubSettings:
        return HubSettings(
            endpoint=script.endpoint,
            token=SECRET,
            cache=tmp_path,
            first_pause=0.0,
            attempts=3,
            timeout=5.0,
        )

    return make


REF = RepoRef(repo_id="org/name", revision="main")
Impatient = Callable[[Scripted], HubSettings]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_failure_that_passes_is_asked_again(status: int, impatient: Impatient) -> None:
    with scripted(Answer(status), Answer(status), Answer()) as script:
        assert resolve_commit(REF, settings=impatient(script)).commit == COMMIT
        assert script.requests == 3


def test_connection_that_breaks_is_asked_again(impatient: Impatient) -> None:
    with scripted(Answer(hangs_up=True), Answer()) as script:
        assert resolve_commit(REF, settings=impatient(script)).commit == COMMIT


def test_attempts_are_bounded(impatient: Impatient) -> None:
    with scripted(Answer(503)) as script:
        with pytest.raises(HubError, match="could not look up the revision") as caught:
            resolve_commit(REF, settings=impatient(script))
        assert script.requests == 3
    assert "HTTP 503" in str(caught.value)
    assert script.endpoint in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 413])
def test_refusal_is_not_asked_again(status: int, impatient: Impatient) -> None:
    with scripted(Answer(status)) as script:
        with pytest.raises(HubError):
            resolve_commit(REF, settings=impatient(script))
        assert script.requests == 1


def test_long_wait_is_reported_not_slept(impatient: Impatient) -> None:
    began = time.monotonic()
    with scripted(Answer(429, headers={"Retry-After": "3600"})) as script:
        with pytest.raises(HubError) as caught:
            resolve_commit(REF, settings=impatient(script))
        assert script.requests == 1
    assert "60 h" not in str(caught.value)
    assert "1 h 00 min" in str(caught.value)
    assert time.monotonic() - began < 5


def test_short_wait_of_the_server_is_kept(impatient: Impatient) -> None:
    limit = {"RateLimit": '"api";r=0;t=1', "Retry-After": "3600"}
    began = time.monotonic()
    with scripted(Answer(429, headers=limit), Answer()) as script:
        assert resolve_commit(REF, settings=impatient(script)).commit == COMMIT
    assert time.monotonic() - began >= 1


def test_pauses_double_up_to_a_bound(
    impatient: Impatient, caplog: pytest.LogCaptureFixture
) -> None:
    with scripted(Answer(503)) as script:
        settings = replace(impatient(script), attempts=5, first_pause=0.004, longest_pause=0.01)
        with pytest.raises(HubError):
            resolve_commit(REF, settings=settings)
    pauses = [record.args[2] for record in caplog.records if record.name == "hftune.hub.client"]
    assert pauses == [spread(pause) for pause in (0.004, 0.008, 0.01, 0.01)]
    assert all(0.004 <= pause <= 0.0125 for pause in pauses)


def test_silent_server_is_given_up(impatient: Impatient) -> None:
    """Whose token it is, the library asks without any time limit of its own."""
    close_session()
    with scripted(Answer(silent_seconds=3)) as script:
        settings = replace(impatient(script), timeout=0.2, attempts=1)
        began = time.monotonic()
        with pytest.raises(OfflineError, match="cannot be reached"):
            check_rights("org/name", settings)
        assert time.monotonic() - began < 2


def test_connection_refused(impatient: Impatient) -> None:
    with scripted(Answer()) as script:
        settings = impatient(script)
    with pytest.raises(OfflineError) as caught:
        resolve_commit(REF, settings=settings)
    assert "HF_ENDPOINT" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (401, "GatedRepo", HubPermissionError, "gated"),
        (403, None, HubPermissionError, "lacks the right"),
        (401, None, HubPermissionError, "does not accept this token"),
        (412, None, PushConflictError, "moved on"),
        (400, None, HubError, "could not"),
    ],
)
def test_refusals_in_our_words(
    status: int, code: str | None, kind: type[HubError], words: str, impatient: Impatient
) -> None:
    headers = {"X-Error-Message": f"no, {SECRET}"} | ({"X-Error-Code": code} if code else {})
    with (
        scripted(Answer(status, headers=headers)) as script,
        pytest.raises(kind, match=words) as caught,
    ):
        resolve_commit(REF, settings=impatient(script))
    assert SECRET not in str(caught.value)
    assert "org/name at main" in str(caught.value)


@pytest.mark.parametrize("body", ["<html>login</html>", '{"id": "org/name"}'])
def test_server_that_is_no_hub(body: str, impatient: Impatient) -> None:
    with scripted(Answer(body=body)) as script, pytest.raises(HubError):
        resolve_commit(REF, settings=impatient(script))


def test_defect_inside_a_request_is_not_dressed_up(impatient: Impatient) -> None:
    def request() -> None:
        raise ValueError("ours")

    with scripted(Answer()) as script, pytest.raises(ValueError, match="ours"):
        ask(impatient(script), Errand(doing="x", endpoint=script.endpoint), request)


def test_offline_sends_nothing(impatient: Impatient) -> None:
    with scripted(Answer()) as script:
        settings = replace(impatient(script), offline=True)
        with pytest.raises(OfflineError, match="offline mode"):
            check_rights("org/name", settings)
        assert script.requests == 0


@pytest.mark.parametrize("endpoint", ["localhost:8080", "", "ftp://host", "http://"])
def test_endpoint_that_is_no_address(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no address"):
        HubSettings(endpoint=endpoint, cache=tmp_path)


@pytest.mark.parametrize(
    "endpoint", ["http://me:s3cret@host", "https://s3cret@host/", "ftp://s3cret@h"]
)
def test_endpoint_may_hold_no_password(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="address") as caught:
        HubSettings(endpoint=endpoint, cache=tmp_path)
    assert "s3cret" not in str(caught.value)
    assert "://***@h" in str(caught.value)


ODD = "odd-s3cret.of/no+form="


@pytest.mark.parametrize("place", ["settings", "variable", "file"])
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_token_that_a_server_echoes_is_not_shown(
    place: str, status: int, impatient: Impatient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(ODD + "\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    if place == "variable":
        monkeypatch.setenv("HF_TOKEN", ODD)
    with scripted(Answer(status, json.dumps({"error": f"<{ODD}> is no good"}))) as script:
        settings = replace(impatient(script), token=ODD if place == "settings" else None)
        with pytest.raises(HubError) as caught:
            resolve_commit(REF, settings=settings)
    assert "<***> is no good" in str(caught.value)
    assert ODD not in str(caught.value)


@pytest.mark.parametrize(
    "token", ["s3cret\nof two lines", "s3cret\x01", "s3cr\u00e9t", "my s3cret"]
)
def test_what_no_request_can_carry_is_no_token(token: str, tmp_path: Path) -> None:
    settings = HubSettings(endpoint="http://127.0.0.1:1", cache=tmp_path, token=token)
    with pytest.raises(HubPermissionError, match="is none") as caught:
        resolve_commit(REF, settings=settings)
    assert token not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_token_file_that_cannot_be_read(
    content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.mkdir() if content is None else path.write_bytes(content)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(path))
    settings = HubSettings(endpoint="http://127.0.0.1:1", cache=tmp_path)
    with pytest.raises(HubPermissionError, match="cannot be read") as caught:
        resolve_commit(REF, settings=settings)
    assert str(path) in str(caught.value)


def test_settings_hide_the_token_and_strip_the_slash(tmp_path: Path) -> None:
    settings = HubSettings(endpoint="http://host/", cache=tmp_path, token=SECRET)
    assert settings.endpoint == "http://host"
    assert SECRET not in repr(settings)
    assert open_api(settings).endpoint == "http://host"


def test_settings_come_from_the_environment_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, hftune.hub.push, hftune.hub.card\n"
        "from hftune.hub.client import settings_from_environment as s\n"
        "print(s().endpoint, s().offline, s().cache, 'torch' in sys.modules)"
    )
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["http://127.0.0.1:9", "True", str(tmp_path), "False"]
