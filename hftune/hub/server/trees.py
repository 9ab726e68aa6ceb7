"""What a commit holds, and the git ids of files, large-file pointers and folders."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a tree. `oid` is its git blob id; a large file's is that of its pointer."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def etag(self) -> str:
        """The id of the content itself, which names it in clients' caches and on our disk."""
        return self.sha256 or self.oid

    @property
    def pointer_size(self) -> int:
        """Bytes of a large file's pointer."""
        return len(pointer(self.sha256 or "", self.size))


Tree = Mapping[str, Entry]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One state of a repository with its whole tree; `date` is ISO 8601 in UTC."""

    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    tree: Tree


def blob_id(content: bytes) -> str:
    """Give the git id of a file's content, 40 hex digits."""
    return git_id("blob", content)


def git_id(kind: str, content: bytes) -> str:
    """Give the id git gives to an object of this kind."""
    header = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """Give the small file that stands for a large one in git."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


def large_entry(sha256: str, size: int) -> Entry:
    """Give the entry of a large file."""
    return Entry(oid=blob_id(pointer(sha256, size)), size=size, sha256=sha256)


def folder_ids(tree: Tree) -> dict[str, str]:
    """Give the git tree id of every folder, by path; the root is under the empty path."""
    inside: dict[str, list[tuple[str, str, str]]] = {"": []}
    for path, entry in tree.items():
        folder, _, name = path.rpartition("/")
        inside.setdefault(folder, []).append((name, "100644", entry.oid))
        for above in parents(path):
            inside.setdefault(above, [])
    ids: dict[str, str] = {}
    # Deepest first: a folder's id is part of the folder above it.
    for folder in sorted(
        inside, key=lambda path: (path.count("/") + 1) if path else 0, reverse=True
    ):
        # Git sorts a folder as if its name ended in a slash.
        lines = sorted(inside[folder], key=lambda line: line[0] + "/" * (line[1] == "40000"))
        content = [f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, mode, oid in lines]
        ids[folder] = git_id("tree", b"".join(content))
        if folder:
            above, _, name = folder.rpartition("/")
            inside[above].append((name, "40000", ids[folder]))
    return ids


def parents(path: str) -> list[str]:
    """Give the folders above a path, nearest first, without the root."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def now() -> str:
    """Give the present as the Hub writes dates: milliseconds and a Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
