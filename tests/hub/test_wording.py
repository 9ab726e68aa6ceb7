import errno

import pytest
from huggingface_hub.errors import (
    FileMetadataError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from hftune.errors import HubError, HubPermissionError, OfflineError
from hftune.hub.failure import Errand
from hftune.hub.wording import translate

ERRAND = Errand(
    doing="push",
    endpoint="http://hub",
    repo_id="org/name",
    revision="main",
    safe="nothing was committed",
)


def wrapped(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


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


def test_what_continues_and_why_it_may() -> None:
    ours = translate(ConnectionRefusedError("no"), ERRAND)
    assert ours is not None
    assert str(ours.remedy).endswith("then run the same command again; nothing was committed")


def test_odd_answer_in_the_midst_of_an_upload() -> None:
    error = wrapped(RuntimeError("Error while uploading 'x'"), ValueError("Invalid etag"))
    ours = translate(error, ERRAND)
    assert ours is not None
    assert "the answer is not one a Hub gives" in ours.problem
    assert ours.found == "ValueError: Invalid etag"
