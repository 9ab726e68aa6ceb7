import errno

import pytest
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from hftune.core import RepoRef
from hftune.hub.failure import (
    Errand,
    errand_for,
    lost_contact,
    passes,
    root_of,
    short_cause,
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
        (RuntimeError("Cannot send a request, as the client has been closed."), True),
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


def test_secrets_are_blanked() -> None:
    text = "PUT https://s3.host/k?X-Sig=abc&e=1 with hf_abcdEFGH1234"
    assert short_cause(TimeoutError(text)) == "TimeoutError: PUT https://s3.host/k with hf_***"


def test_cause_is_one_line() -> None:
    assert short_cause(ConnectionError("first\nsecond")) == "ConnectionError: first"
    assert short_cause(TimeoutError()) == "TimeoutError"
