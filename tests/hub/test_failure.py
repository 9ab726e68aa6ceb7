import errno

import pytest
from huggingface_hub.errors import (
    FileMetadataError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from hftune.core import RepoRef
from hftune.errors import HubError, HubPermissionError, OfflineError
from hftune.hub.failure import (
    Errand,
    errand_for,
    lost_contact,
    passes,
    root_of,
    short_cause,
    translate,
    without_secrets,
)

ERRAND = Errand(doing="push", endpoint="http://hub", repo_id="org/name", revision="main")


def wrapped(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def test_place_names_everything() -> None:
    ref = RepoRef(kind="dataset", repo_id="a/b", revision="main", commit="c" * 40)
    place = errand_for(ref, "read", "http://hub", path="x.txt").place
    assert place == f"dataset a/b at {'c' * 40}, file x.txt on http://hub"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow"), True),
        (OSError("Consistency check failed: file should be of size 3"), True),
        (wrapped(LocalEntryNotFoundError("x"), ConnectionError("gone")), True),
        (wrapped(RuntimeError("Error while uploading"), ConnectionError("gone")), True),
        (wrapped(ValueError("Force download failed"), TimeoutError()), True),
        (OfflineModeIsEnabled("off"), False),
        (LocalEntryNotFoundError("no cause"), False),
        (ConnectionError("404 for http://hub/api/models/a/b/xet-write-token/main"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (RuntimeError("odd"), False),
    ],
)
def test_what_passes(error: Exception, expected: bool) -> None:
    assert passes(error) is expected


def test_root_is_under_the_wrappers() -> None:
    inner = ConnectionError("gone")
    assert root_of(wrapped(LocalEntryNotFoundError("x"), wrapped(ValueError("y"), inner))) is inner


def test_offline_mode_is_no_lost_contact() -> None:
    assert not lost_contact(OfflineModeIsEnabled("off"))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OfflineModeIsEnabled("off"), OfflineError, "HF_HUB_OFFLINE"),
        (LocalTokenNotFoundError("none"), HubPermissionError, "hf auth login"),
        (ConnectionRefusedError("no"), OfflineError, "HF_ENDPOINT"),
        (
            ConnectionError("Network error: 404 http://hub/x/xet-write-token/main"),
            HubError,
            "HF_HUB_DISABLE_XET=1",
        ),
        (FileMetadataError("no etag"), HubError, "HF_ENDPOINT"),
        (LocalEntryNotFoundError("nowhere"), HubError, "nowhere"),
        (PermissionError("xet says no"), HubPermissionError, "hf auth login"),
        (OSError("Consistency check failed"), HubError, "same command again"),
        (RuntimeError("CAS error"), HubError, "CAS error"),
    ],
)
def test_translation(error: Exception, kind: type[HubError], words: str) -> None:
    ours = translate(error, ERRAND)
    assert type(ours) is kind
    assert words in str(ours)
    assert "http://hub" in str(ours)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), PermissionError(errno.EACCES, "no"), ValueError("x")]
)
def test_what_is_none_of_the_hubs_business(error: Exception) -> None:
    assert translate(error, ERRAND) is None


def test_secrets_are_blanked() -> None:
    text = "PUT https://s3.host/k?X-Sig=abc&e=1 with hf_abcdEFGH1234 and swordfish"
    assert without_secrets(text, "swordfish") == "PUT https://s3.host/k with hf_*** and hf_***"


def test_cause_is_one_line() -> None:
    assert short_cause(ConnectionError("first\nsecond")) == "ConnectionError: first"
    assert short_cause(TimeoutError()) == "TimeoutError"
