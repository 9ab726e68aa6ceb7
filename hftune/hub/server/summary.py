"""What lies in a local Hub's folder, read from the disk; the Hub may run meanwhile."""

from dataclasses import asdict, dataclass
from pathlib import Path

from hftune.errors import RequestError
from hftune.hub.server.names import KINDS
from hftune.hub.server.store import Store


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One repository: the head of its main branch, with number and bytes of the files there."""

    repo_id: str
    kind: str
    visibility: str
    revision: str
    num_files: int
    num_bytes: int

    def as_dict(self) -> dict[str, str | int]:
        """Give the facts by name."""
        return asdict(self)


def summarise(root: Path) -> list[Summary]:
    """List all repositories, models first. Raises RequestError if `root` holds no Hub."""
    if not (root / "tokens.json").is_file():
        raise RequestError(
            "there is no local Hub in this folder",
            where=str(root),
            remedy="give another --root, or start one here with 'hftune hub serve'",
        )
    found = []
    for kind in KINDS:
        for repo in Store(root).list(kind):
            head = repo.resolve("main")
            found.append(
                Summary(
                    repo_id=repo.name.repo_id,
                    kind=kind,
                    visibility="private" if repo.settings.private else "public",
                    revision=head.id,
                    num_files=len(head.tree),
                    num_bytes=sum(entry.size for entry in head.tree.values()),
                )
            )
    return found
