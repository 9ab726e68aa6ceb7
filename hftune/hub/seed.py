"""Fill a local Hub: upload prepared folders, each as one commit. Never the real Hub."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from hftune.core import RepoRef
from hftune.errors import RequestError
from hftune.hub.client import HubSettings, ask, open_api
from hftune.hub.failure import errand_for
from hftune.hub.server.engine import is_loopback


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A seeded repository at its commit; `is_new` is false if it held the same files before."""

    ref: RepoRef
    is_new: bool


def require_local(endpoint: str) -> None:
    """Raise RequestError unless the endpoint is on this machine."""
    if not is_loopback(urlsplit(endpoint).hostname or ""):
        raise RequestError(
            "only a local Hub can be seeded",
            found=endpoint,
            allowed="an address on this machine, such as http://127.0.0.1:8765",
            where="HF_ENDPOINT",
            remedy="start one with 'hftune hub serve' and set the variables it prints",
        )


def seed_repo(settings: HubSettings, ref: RepoRef) -> Seeded:
    """Make the repository's main branch hold exactly the files of `ref.folder`.

    One commit, or none if it holds them already. Raises RequestError for a Hub that is not local,
    HubError.
    """
    require_local(settings.endpoint)
    if ref.repo_id is None or ref.folder is None:
        raise ValueError("a repository to seed needs a name and a folder")
    repo_id, kind, folder = ref.repo_id, ref.kind, ref.folder
    api = open_api(settings)
    errand = errand_for(ref, "seed the repository", settings.endpoint)
    ask(settings, errand, lambda: api.create_repo(repo_id, repo_type=kind, exist_ok=True))
    head = ask(settings, errand, lambda: api.repo_info(repo_id, repo_type=kind)).sha
    present = ask(
        settings, errand, lambda: api.list_repo_files(repo_id, repo_type=kind, revision=head)
    )
    commit = ask(
        settings,
        errand,
        lambda: api.create_commit(
            repo_id,
            _operations(_files(folder), set(present)),
            commit_message="Seed from the package index",
            repo_type=kind,
            parent_commit=head,
        ),
    )
    return Seeded(
        ref=RepoRef(kind=kind, repo_id=repo_id, commit=commit.oid, folder=folder),
        is_new=commit.oid != head,
    )


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _operations(
    wanted: dict[str, Path], present: set[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Give what turns the present files into the wanted ones; the client drops what is equal."""
    stale = sorted(present - wanted.keys() - {".gitattributes"})
    return [
        *(CommitOperationAdd(name, path) for name, path in wanted.items()),
        *(CommitOperationDelete(name) for name in stale),
    ]
