"""The names a Hub accepts: repositories, branches and tags, paths of files."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from hftune.core import RepoKind
from hftune.hub.server.refusal import Refusal

KINDS: tuple[RepoKind, ...] = ("model", "dataset", "space")

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+=-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PULL = re.compile(r"[1-9][0-9]{0,8}")
# First path segments of this server's own routes.
_TAKEN = frozenset({"api", "datasets", "models", "spaces", "lfs", "v1"})
_MAX_PATH = 1024
_MAX_REF_FILE = 200


@dataclass(frozen=True, kw_only=True)
class RepoName:
    """Kind, namespace and name of one repository, all checked."""

    kind: RepoKind
    namespace: str
    name: str

    @property
    def repo_id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def plural(self) -> str:
        """The kind as paths of the API spell it."""
        return f"{self.kind}s"

    @property
    def page(self) -> str:
        """The path of the repository outside the API, such as `datasets/ns/name`."""
        return self.repo_id if self.kind == "model" else f"{self.plural}/{self.repo_id}"


def repo_name(kind: str, namespace: str, name: str) -> RepoName:
    """Check the three parts. Raise Refusal 400 for what no repository may be called."""
    known = {text: text for text in KINDS}
    if kind not in known:
        raise Refusal(400, f"repository type '{kind}' is not served, only {', '.join(KINDS)}")
    for part in (namespace, name):
        if not _PART.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise Refusal(400, f"'{part}' cannot be part of a repository's name")
    if namespace.lower() in _TAKEN:
        raise Refusal(400, f"the namespace '{namespace}' is kept for the Hub itself")
    return RepoName(kind=known[kind], namespace=namespace, name=name)


def is_commit_id(text: str) -> bool:
    """Say whether `text` is a full commit id."""
    return _COMMIT.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Say whether `text` could number a pull request."""
    return _PULL.fullmatch(text) is not None


def is_ref(name: str) -> bool:
    """Say whether a branch or tag may be called so, and could be told from a commit id."""
    parts = name.split("/")
    return (
        _REF.fullmatch(name) is not None
        and ".." not in name
        and not name.startswith("refs/")
        and not is_commit_id(name)
        and len(quote(name, safe="")) <= _MAX_REF_FILE
        and all(part and part[0] != "." and not part.endswith((".", ".lock")) for part in parts)
    )


def check_ref(name: str) -> str:
    """Give a new branch's or tag's name back. Raise Refusal 400 for one that is not allowed."""
    if not is_ref(name):
        raise Refusal(400, f"'{name}' cannot be the name of a branch or tag")
    return name


def check_path(path: str) -> str:
    """Give a file's path back. Raise Refusal 400 for one that could leave its folder."""
    parts = path.split("/")
    wrong = (
        len(path.encode()) > _MAX_PATH
        or "\\" in path
        or re.match(r"[A-Za-z]:", path)
        or any(ord(letter) < 32 or ord(letter) == 127 for letter in path)
        or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    )
    if wrong:
        raise Refusal(400, f"'{path}' cannot be the path of a file in a repository")
    return path
