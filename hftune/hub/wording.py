"""What a failed request to the Hub is called: our errors, each with what continues."""

import json

from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hftune.errors import (
    HftuneError,
    HubError,
    HubPermissionError,
    OfflineError,
    PushConflictError,
    RepoNotFoundError,
)
from hftune.hub.failure import (
    HTTP_ERROR,
    Errand,
    asked_pause,
    closed_xet_road,
    lost_contact,
    root_of,
    short_cause,
)
from hftune.units import format_duration

LOGIN = "log in with 'hf auth login', or set HF_TOKEN"


def offline(errand: Errand) -> OfflineError:
    """Give the error for something that needs the Hub while offline mode is on.

    What a pull would have brought says so itself, by `naming_the_pull`.
    """
    return OfflineError(
        f"offline mode is on, so hftune could not {errand.doing}",
        where=errand.place,
        remedy="unset HF_HUB_OFFLINE where there is a network; to train without one, publish later:"
        " hub.push_to=null, then 'hftune push RUN ORG/NAME'",
    )


def translate(error: BaseException, errand: Errand) -> HftuneError | None:
    """Give a client error in our words; None for one that is none of the Hub's business."""
    root = root_of(error)
    found = short_cause(error)
    if isinstance(root, OfflineModeIsEnabled):
        return offline(errand)
    if isinstance(root, LocalTokenNotFoundError):
        return HubPermissionError(
            f"could not {errand.doing}: there is no token", where=errand.place, remedy=LOGIN
        )
    if isinstance(root, HfHubHTTPError):
        return _missing(root, errand, found) or _refused(root, errand, found)
    if isinstance(root, ValueError) and root is not error:
        return odd_answer(errand, found)  # found by the library in the midst of an upload
    return _unanswered(root, errand, found)


def odd_answer(errand: Errand, found: str) -> HubError:
    """Give the error for an answer that makes no sense, such as a page in place of JSON."""
    return HubError(
        f"could not {errand.doing}: the answer is not one a Hub gives",
        found=found,
        where=errand.place,
        remedy=f"check that HF_ENDPOINT is the address of a Hub, then {errand.again}",
    )


def _missing(error: HfHubHTTPError, errand: Errand, found: str) -> HubError | None:
    """Translate answers about a repository, a revision or a file."""
    place = errand.place
    if isinstance(error, GatedRepoError):
        return HubPermissionError(
            f"{errand.repo_id} is gated, and access was not granted",
            found=found,
            where=place,
            remedy=f"accept the conditions at {errand.endpoint}/{errand.repo_id}, then {LOGIN}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return RepoNotFoundError(
            "no such repository, or it is private and this token may not see it",
            found=found,
            where=place,
            remedy=f"check the name; for a private repository {LOGIN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return RepoNotFoundError(
            "the repository has no such revision",
            found=found,
            where=place,
            remedy="give a branch, a tag or a full commit id; leave it out for main",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return RepoNotFoundError("the repository has no such file", found=found, where=place)
    if isinstance(error, DisabledRepoError):
        return HubPermissionError("the Hub has closed this repository", found=found, where=place)
    return None


def _refused(error: HfHubHTTPError, errand: Errand, found: str) -> HubError:
    """Translate the other answers by their status."""
    status = error.response.status_code
    could_not = f"could not {errand.doing}"
    if status == 401:
        return HubPermissionError(
            f"{could_not}: the Hub does not accept this token",
            found=found,
            where=errand.place,
            remedy=f"the token is wrong or has expired; {LOGIN} with a new one",
        )
    if status == 403:
        return HubPermissionError(
            f"{could_not}: this token lacks the right",
            found=found,
            where=errand.place,
            remedy="use a token with write access to this namespace",
        )
    if status == 412:
        return PushConflictError(
            f"{could_not}: the branch has moved on",
            found=found,
            where=errand.place,
            remedy=f"look at the new commit, then {errand.again}",
        )
    return HubError(
        could_not, found=found, where=errand.place, remedy=_advice(error, status, errand)
    )


def _advice(error: HfHubHTTPError, status: int, errand: Errand) -> str:
    asked = asked_pause(error)
    wait = f"wait {'a while' if asked is None else format_duration(asked)}"
    if status == 429:
        return f"too many requests: {wait}, or {LOGIN}, which raises the limit; then {errand.again}"
    if status == 409:
        return f"something else is changing this repository; {errand.again}"
    if status >= 500 or status == 408:
        return f"the Hub is out of order for the moment; {wait}, then {errand.again}"
    return errand.again


def _unanswered(error: BaseException, errand: Errand, found: str) -> HubError | None:
    """Translate failures without an answer, or with one that is not a Hub's."""
    could_not, place = f"could not {errand.doing}", errand.place
    if closed_xet_road(error):
        return HubError(
            f"{could_not}: this Hub does not take files through hf_xet",
            found=found,
            where=place,
            remedy=f"set HF_HUB_DISABLE_XET=1 in the environment, then {errand.again}",
        )
    if lost_contact(error):
        return OfflineError(
            f"{could_not}: the Hub cannot be reached",
            found=found,
            where=place,
            remedy=f"check the network, HF_ENDPOINT and proxies, then {errand.again}",
        )
    if isinstance(error, HTTP_ERROR | FileMetadataError | json.JSONDecodeError):
        return odd_answer(errand, found)
    if isinstance(error, EntryNotFoundError):
        return HubError(could_not, found=found, where=place, remedy=errand.again)
    if isinstance(error, PermissionError) and error.errno is None:
        return HubPermissionError(could_not, found=found, where=place, remedy=LOGIN)
    cut_short = isinstance(error, OSError) and error.errno is None
    if cut_short or isinstance(error, RuntimeError):
        return HubError(could_not, found=found, where=place, remedy=errand.again)
    return None
