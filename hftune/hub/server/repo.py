"""One repository on the disk: its settings, branches, tags, commits and contents."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote, unquote

from hftune import files
from hftune.hub.server.blobs import Blobs
from hftune.hub.server.names import RepoName, is_commit_id, is_number, is_ref
from hftune.hub.server.refusal import repo_not_found, revision_not_found
from hftune.hub.server.trees import Commit, Entry, Tree, git_id, now

RefKind = Literal["heads", "tags", "pr"]
Gate = Literal["auto", "manual", False]

_ARCHIVES = ("7z", "bz2", "gz", "lz4", "rar", "tar", "tgz", "xz", "zip", "zst")
_TABLES = ("arrow", "avro", "h5", "npy", "npz", "parquet")
_WEIGHTS = (
    *("bin", "ckpt", "ftz", "gguf", "joblib", "model", "msgpack", "onnx", "ot", "pb", "pickle"),
    *("pkl", "pt", "pth", "safetensors", "tflite", "wasm"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a repository's owner may set, and when it was made."""

    private: bool
    gated: Gate = False
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a commit says about itself."""

    title: str
    message: str = ""
    author: str


class Repo:
    """A repository's folder. Reading needs no lock; every change is made inside `changing`."""

    def __init__(self, folder: Path, name: RepoName, lock: threading.RLock) -> None:
        self.folder = folder
        self.name = name
        self.blobs = Blobs(folder / "blobs")
        self._lock = lock

    @classmethod
    def begin(
        cls, folder: Path, name: RepoName, *, private: bool, author: str, card: str | None = None
    ) -> None:
        """Fill an empty folder with a new repository and its first commit; `card` is its README."""
        repo = cls(folder, name, threading.RLock())
        repo.write_settings(Settings(private=private, created_at=now()))
        texts = {".gitattributes": default_attributes()} | ({"README.md": card} if card else {})
        tree = {
            path: Entry(oid=repo.blobs.add(text.encode()), size=len(text.encode()))
            for path, text in texts.items()
        }
        note = Note(title="initial commit", author=author)
        first = repo.write_commit(tree, note, parent=None)
        repo.set_ref("heads", "main", first.id)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the repository against other changes. Raise Refusal if it was deleted meanwhile."""
        with self._lock:
            if not (self.folder / "settings.json").is_file():
                raise repo_not_found(has_token=True)
            yield

    @property
    def settings(self) -> Settings:
        """Read the settings."""
        return Settings(**_read_json(self.folder / "settings.json"))

    def write_settings(self, settings: Settings) -> None:
        """Replace the settings."""
        files.write_json(self.folder / "settings.json", asdict(settings))

    def refs(self, kind: RefKind) -> dict[str, str]:
        """Give the commit ids of all branches, tags or pull requests by name, in order."""
        folder = self.folder / "refs" / kind
        names = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
        return {unquote(name): (folder / name).read_text("ascii").strip() for name in names}

    def ref(self, kind: RefKind, name: str) -> str | None:
        """Give the commit a branch, tag or pull request points to, or None."""
        if not (is_number(name) if kind == "pr" else is_ref(name)):
            return None
        with contextlib.suppress(FileNotFoundError):
            return self._ref_path(kind, name).read_text("ascii").strip()
        return None

    def set_ref(self, kind: RefKind, name: str, commit_id: str) -> None:
        """Point a branch, tag or pull request to a commit."""
        files.write_text(self._ref_path(kind, name), commit_id + "\n")

    def remove_ref(self, kind: RefKind, name: str) -> None:
        """Remove a branch or tag. Raise Refusal 404 if it is absent."""
        if self.ref(kind, name) is None:
            raise revision_not_found(name)
        self._ref_path(kind, name).unlink()

    def branch_ref(self, revision: str) -> tuple[RefKind, str]:
        """Give kind and name of the ref a commit to `revision` would move. Raise Refusal 404."""
        kind: RefKind = "heads"
        name = revision.removeprefix("refs/heads/")
        if revision.startswith("refs/pr/"):
            kind, name = "pr", revision.removeprefix("refs/pr/")
        if self.ref(kind, name) is None:
            raise revision_not_found(revision)
        return kind, name

    def resolve(self, revision: str) -> Commit:
        """Give the commit a branch, tag, pull request or full id names. Raise Refusal 404."""
        commit_id: str | None
        if is_commit_id(revision):
            commit_id = revision
        elif revision.startswith("refs/"):
            kind, _, name = revision.removeprefix("refs/").partition("/")
            if kind not in ("heads", "tags", "pr"):
                raise revision_not_found(revision)
            commit_id = self.ref(cast("RefKind", kind), name)
        else:
            commit_id = self.ref("heads", revision) or self.ref("tags", revision)
        if commit_id is None:
            raise revision_not_found(revision)
        try:
            return self.commit(commit_id)
        except FileNotFoundError:
            raise revision_not_found(revision) from None

    def commit(self, commit_id: str) -> Commit:
        """Read a commit. Raises FileNotFoundError."""
        value = _read_json(self._commit_path(commit_id))
        tree = {path: Entry(**entry) for path, entry in value.pop("tree").items()}
        return Commit(id=commit_id, tree=tree, **value)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """Give a commit and all before it, newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.commit(commit.parent)
            yield commit

    def write_commit(self, tree: Tree, note: Note, *, parent: str | None) -> Commit:
        """Keep a commit; nothing points to it yet."""
        value = {
            "parent": parent,
            "title": note.title,
            "message": note.message,
            "author": note.author,
            "date": now(),
            "tree": {path: asdict(tree[path]) for path in sorted(tree)},
        }
        text = json.dumps(value, ensure_ascii=False)
        commit_id = git_id("commit", text.encode())
        files.write_text(self._commit_path(commit_id), text)
        return self.commit(commit_id)

    def update(self, **changes: Any) -> None:
        """Change some settings and keep the others."""
        self.write_settings(replace(self.settings, **changes))

    def discard_uploads(self) -> None:
        """Remove what unfinished uploads left; call only when none is under way."""
        shutil.rmtree(self.folder / "uploads", ignore_errors=True)

    def _commit_path(self, commit_id: str) -> Path:
        return self.folder / "commits" / f"{commit_id}.json"

    def _ref_path(self, kind: RefKind, name: str) -> Path:
        # One file per ref: an encoded slash keeps 'a' and 'a/b' apart on the disk.
        return self.folder / "refs" / kind / quote(name, safe="")


def default_attributes() -> str:
    """Give the .gitattributes a new repository starts with: which names are large files."""
    suffixes = sorted([*_ARCHIVES, *_TABLES, *_WEIGHTS])
    return "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in suffixes)


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return value
