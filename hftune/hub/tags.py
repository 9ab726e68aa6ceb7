"""A pushed commit -> a tag on it, which does not move."""

from hftune.core import RepoRef
from hftune.errors import PushConflictError, RefError
from hftune.hub.client import HubSettings, ask, open_api, settings_from_environment
from hftune.hub.failure import errand_for
from hftune.hub.ref import check_revision, is_commit


def check_tag(name: str) -> None:
    """Raise RefError unless a tag may be called so."""
    check_revision(name)
    if is_commit(name) or name.startswith("refs/"):
        raise RefError("this cannot be the name of a tag", found=repr(name), allowed="such as v1.0")


def give_tag(ref: RepoRef, name: str, *, settings: HubSettings | None = None) -> None:
    """Give the commit of `ref` the tag `name`; where it has it already, nothing is done.

    Raises PushConflictError where the tag names another commit, and HubError and its kin.
    """
    assert ref.repo_id is not None
    repo_id, settings = ref.repo_id, settings or settings_from_environment()
    check_tag(name)
    api = open_api(settings)
    errand = errand_for(ref, f"give the tag '{name}'", settings.endpoint)
    refs = ask(settings, errand, lambda: api.list_repo_refs(repo_id, repo_type=ref.kind))
    found = {tag.name: tag.target_commit for tag in refs.tags}.get(name)
    if found is None:
        ask(
            settings,
            errand,
            lambda: api.create_tag(
                repo_id, tag=name, revision=ref.commit, repo_type=ref.kind, exist_ok=True
            ),
        )
    elif found != ref.commit:
        raise PushConflictError(
            f"the tag '{name}' names another commit, and a tag does not move",
            found=f"commit {found}",
            allowed=f"commit {ref.commit}, which was pushed and is whole",
            where=errand.place,
            remedy="give the same command with another --tag",
        )
