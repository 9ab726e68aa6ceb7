"""All repositories of one Hub, under one folder on the disk."""

import contextlib
import fcntl
import json
import shutil
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from hftune import files
from hftune.core import RepoKind
from hftune.errors import AbilityError
from hftune.hub.server.names import KINDS, RepoName, repo_name
from hftune.hub.server.refusal import Refusal
from hftune.hub.server.repo import Repo


class Store:
    """The folder a Hub lives in. One process serves it at a time; threads share one Store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self._changing = threading.Lock()  # Held while repositories come, go or change names.
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Hold the folder for this process, after removing what a killed one left half-written.

        Raises AbilityError if another process serves it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / ".served").open("a") as stream:
            try:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AbilityError(
                    "this folder is already served by another local Hub",
                    where=str(self.root),
                    remedy="stop that one, or choose another folder with --root",
                ) from None
            self._clean()
            yield

    def find(self, name: RepoName) -> Repo | None:
        """Give a repository, or None."""
        folder = self._folder(name)
        if not folder.is_dir():
            return None
        return Repo(folder, name, self._lock(name))

    def list(self, kind: RepoKind) -> list[Repo]:
        """Give all repositories of a kind, by name."""
        found = []
        for folder in sorted(self._kind_folder(kind).glob("*/*")):
            if folder.is_dir() and not folder.name.startswith("."):
                name = RepoName(kind=kind, namespace=folder.parent.name, name=folder.name)
                found.append(Repo(folder, name, self._lock(name)))
        return found

    def create(
        self, name: RepoName, *, private: bool, author: str, card: str | None = None
    ) -> bool:
        """Make a repository with its first commit; give False if it is there already."""
        with self._changing, files.disk_errors(self.root):
            if self._folder(name).is_dir():
                return False
            with files.committed_folder(self._folder(name)) as folder:
                Repo.begin(folder, name, private=private, author=author, card=card)
            self._forward(name, None)
        return True

    def delete(self, repo: Repo) -> None:
        """Remove a repository: first from sight, then from the disk."""
        with self._changing, repo.changing():
            hidden = repo.folder.with_name(f".{repo.name.name}.{uuid.uuid4().hex[:8]}.part")
            repo.folder.rename(hidden)
        shutil.rmtree(hidden)

    def move(self, repo: Repo, target: RepoName) -> None:
        """Give a repository another name; the old one forwards to it. Raise Refusal 409."""
        with self._changing, repo.changing():
            if self._folder(target).exists():
                raise Refusal(409, f"{target.repo_id} already exists")
            self._folder(target).parent.mkdir(parents=True, exist_ok=True)
            repo.folder.rename(self._folder(target))
            self._forward(target, None)
            self._forward(repo.name, target)

    def forwarded(self, name: RepoName) -> RepoName | None:
        """Give the present name of a repository that was moved from `name`, or None."""
        seen = {name.repo_id}
        moves = self._moves()
        present: RepoName | None = None
        while target := moves.get((present or name).page):
            if target in seen:
                return None
            seen.add(target)
            present = repo_name(name.kind, *target.split("/"))
        return present

    def _forward(self, name: RepoName, target: RepoName | None) -> None:
        moves = self._moves()
        if target is not None:
            moves[name.page] = target.repo_id
        elif moves.pop(name.page, None) is None:
            return
        files.write_json(self.root / "moves.json", moves)

    def _moves(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            moves: dict[str, str] = json.loads((self.root / "moves.json").read_text("utf-8"))
            return moves
        return {}

    def _clean(self) -> None:
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir()
        files.remove_leftovers(self.root)
        for kind in KINDS:
            for namespace in self._kind_folder(kind).glob("*"):
                files.remove_leftovers(namespace)
            for repo in self.list(kind):
                repo.discard_uploads()

    def _lock(self, name: RepoName) -> threading.RLock:
        with self._guard:
            return self._locks[name.page]

    def _kind_folder(self, kind: RepoKind) -> Path:
        return self.root / "repos" / f"{kind}s"

    def _folder(self, name: RepoName) -> Path:
        return self._kind_folder(name.kind) / name.namespace / name.name
