"""The client library's own cache: which repositories were pulled, and how to be rid of one."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import scan_cache_dir

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CachedRepo:
    """A pulled repository: `name` is org/name, or datasets/org/name.

    `used` is when a file of it was opened last, seconds since 1970, as far as the disk notes it.
    """

    name: str
    folder: Path
    num_bytes: int
    used: float
    revisions: tuple[str, ...]


def cached_repos(cache: Path) -> list[CachedRepo]:
    """Give the repositories below `cache`, by name. A folder that holds none gives none."""
    if not cache.is_dir():
        return []
    found = scan_cache_dir(cache)
    for problem in found.warnings:
        logger.warning("not listed: %s", problem)
    repos = [
        CachedRepo(
            name=repo.repo_id if repo.repo_type == "model" else f"{repo.repo_type}s/{repo.repo_id}",
            folder=repo.repo_path,
            num_bytes=repo.size_on_disk,
            used=repo.last_accessed,
            revisions=tuple(sorted(revision.commit_hash for revision in repo.revisions)),
        )
        for repo in found.repos
    ]
    return sorted(repos, key=lambda repo: repo.name)


def remove_repo(cache: Path, repo: CachedRepo) -> bool:
    """Remove a repository with all its revisions from `cache`; say whether it is gone."""
    found = scan_cache_dir(cache)
    # Alone, because a repository that was renamed has the commits of its former name.
    alone = frozenset(one for one in found.repos if one.repo_path == repo.folder)
    replace(found, repos=alone).delete_revisions(*repo.revisions).execute()
    return not repo.folder.exists()
