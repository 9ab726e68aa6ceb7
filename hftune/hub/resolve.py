"""Which commit a revision stands for; without a Hub, the one that was seen last."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace

from hftune.core import RepoRef
from hftune.errors import HubError, OfflineError
from hftune.hub.client import HubSettings, ask, open_api, settings_from_environment
from hftune.hub.failure import errand_for, unable
from hftune.hub.listing import cached_commit, is_listed, remember_commit
from hftune.hub.ref import DEFAULT_REVISION, is_commit

logger = logging.getLogger(__name__)


def resolve_commit(ref: RepoRef, *, settings: HubSettings | None = None) -> RepoRef:
    """Give the reference with the commit its revision stands for now; one request at most.

    A full commit id is taken as it is. One that was never listed here is asked for first: without a
    Hub this one request ends soon, where the client library tries a listing for half a minute.
    Offline, or when the Hub cannot be reached, the commit that the cache last saw for this very
    revision stands in, and the log says so. Raises HubError and its kin.
    """
    if ref.repo_id is None:
        return ref
    if ref.commit is not None:
        return ref
    settings = settings or settings_from_environment()
    if is_commit(ref.revision):
        assert ref.revision is not None
        pinned = replace(ref, commit=ref.revision.lower())
        if not is_listed(pinned, settings.cache):
            _ask_commit(ref, ref.repo_id, settings)
        return pinned
    try:
        pinned = replace(ref, commit=_ask_commit(ref, ref.repo_id, settings))
    except HubError as error:
        commit = cached_commit(ref, settings.cache) if unable(error) else None
        if commit is None:
            raise
        name = ref.revision or DEFAULT_REVISION
        reason = "offline mode" if settings.offline else error.found or error.problem
        logger.warning(
            "%s: using commit %s from the cache, last seen for '%s' (%s)",
            *(ref.repo_id, commit, name, reason),
        )
        return replace(ref, commit=commit)
    remember_commit(pinned, settings.cache)
    return pinned


@contextlib.contextmanager
def naming_the_pull(ref: RepoRef, settings: HubSettings) -> Iterator[None]:
    """Make an OfflineError from inside say which command brings `ref` where there is a network."""
    try:
        yield
    except OfflineError as error:
        flag = "--dataset " if ref.kind == "dataset" else ""
        revision = f"@{ref.revision}" if ref.revision else ""
        here = "unset HF_HUB_OFFLINE" if settings.offline else "check the network and HF_ENDPOINT"
        error.remedy = (
            f"{here}; or, where there is a network, run 'hftune pull {flag}{ref.repo_id}{revision}'"
            ", or 'hftune pull --recipe FILE', and bring the cache (HF_HOME) here"
        )
        raise


def _ask_commit(ref: RepoRef, repo_id: str, settings: HubSettings) -> str:
    api = open_api(settings)
    info = ask(
        settings,
        errand_for(ref, "look up the revision", settings.endpoint),
        lambda: api.repo_info(
            repo_id,
            revision=ref.revision or DEFAULT_REVISION,
            repo_type=ref.kind,
            timeout=settings.timeout,
        ),
    )
    commit: str | None = info.sha
    if not is_commit(commit):
        raise HubError("the Hub named no commit", found=repr(commit), where=repo_id)
    assert commit is not None
    return commit
