"""Answers to a push: how each file is to be sent, and the commit itself."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from hftune.hub.server import pulls
from hftune.hub.server.body import MIB, json_object
from hftune.hub.server.call import Call, reply_json
from hftune.hub.server.names import check_path
from hftune.hub.server.patterns import is_ignored, is_large
from hftune.hub.server.refusal import Refusal, entry_not_found
from hftune.hub.server.repo import Note, Repo
from hftune.hub.server.trees import Commit, Entry, Tree, large_entry, parents

COMMIT_LIMIT = 1024 * MIB
LINE_LIMIT = 64 * MIB


@dataclass(kw_only=True)
class Wish:
    """What a commit asks for, read from its lines."""

    title: str = ""
    message: str = ""
    parent: str | None = None
    files: dict[str, Entry] = field(default_factory=dict)
    deleted_files: list[str] = field(default_factory=list)
    deleted_folders: list[str] = field(default_factory=list)


def preupload(call: Call) -> Response:
    """Say for each file which way it goes, what the repository holds under its name now."""
    repo = call.readable_repo()
    _require_pusher(call, repo)
    tree = repo.resolve(call.segment("revision")).tree
    wish = call.body.mapping()
    files = wish.get("files")
    if not isinstance(files, list):
        raise Refusal(400, "'files' must be a list")
    attributes = _small_text(repo, tree.get(".gitattributes"))
    ignore = wish.get("gitIgnore") or _small_text(repo, tree.get(".gitignore"))
    return reply_json({"files": [_way(file, tree, attributes, str(ignore)) for file in files]})


def commit(call: Call) -> Response:
    """Add one commit to a branch, or open a pull request with it."""
    repo = call.readable_repo()
    author = _require_pusher(call, repo)
    wish = read_wish(call, repo)
    note = Note(title=wish.title, message=wish.message, author=author)
    page = f"{call.endpoint}/{repo.name.page}"
    proposed = call.flag("create_pr")
    with repo.changing():
        kind, name = repo.branch_ref(call.segment("revision"))
        if proposed and kind != "heads":
            raise Refusal(400, "a pull request starts from a branch")
        head = repo.resolve(f"refs/{kind}/{name}")
        # A pull request may start at an older commit; a branch only grows from its head.
        start = _parent_among(wish.parent, repo.history(head) if proposed else [head])
        made = repo.write_commit(changed_tree(start, wish), note, parent=start.id)
        reply: dict[str, Any] = {"success": True, "commitOid": made.id}
        reply["commitUrl"] = f"{page}/commit/{made.id}"
        if proposed:
            number = pulls.open_pull(repo, note, base=name, start=start.id, head=made.id)
            reply["pullRequestUrl"] = f"{page}/discussions/{number}"
        else:
            repo.set_ref(kind, name, made.id)
    return reply_json(reply)


def _parent_among(parent: str | None, commits: Iterable[Commit]) -> Commit:
    """Give the commit to build on: the first, or the one the client names by its first digits.

    Raise Refusal 412 if it is not among `commits`: the branch is not where the client believes.
    """
    if parent is not None and not re.fullmatch(r"[0-9a-f]{5,40}", parent):
        raise Refusal(400, "parentCommit must be 5 to 40 hexadecimal digits")
    for commit in commits:
        if commit.id.startswith(parent or ""):
            return commit
    raise Refusal(412, "A commit has happened since. Please refresh and try again.")


def read_wish(call: Call, repo: Repo) -> Wish:
    """Read the lines of a commit; contents of small files are kept in the repository at once."""
    wish = Wish()
    for line in call.body.lines(LINE_LIMIT):
        if line.strip():
            fact = json_object(line)
            _add(wish, fact.get("key"), fact.get("value"), repo)
    if not wish.title:
        raise Refusal(400, "a commit needs a header line with a summary")
    return wish


def changed_tree(head: Commit, wish: Wish) -> Tree:
    """Give the head's tree with the wish carried out, deletions first.

    Raise Refusal if something to delete is absent, or a file stands where a folder must be.
    """
    tree = dict(head.tree)
    for path in wish.deleted_files:
        if tree.pop(path, None) is None:
            raise entry_not_found(path, head.id)
    for folder in wish.deleted_folders:
        inside = [path for path in tree if path.startswith(f"{folder.strip('/')}/")]
        if not inside:
            raise entry_not_found(folder, head.id)
        for path in inside:
            del tree[path]
    tree |= wish.files
    for path in wish.files:
        blocked = [folder for folder in parents(path) if folder in tree]
        if blocked or any(other.startswith(f"{path}/") for other in tree):
            raise Refusal(400, f"'{path}' cannot be both a file and a folder")
    return tree


def _add(wish: Wish, key: object, value: Any, repo: Repo) -> None:
    if not isinstance(value, dict):
        raise Refusal(400, "each line of a commit has a 'key' and an object as 'value'")
    try:
        if key == "header":
            wish.title = str(value["summary"])
            wish.message = str(value.get("description") or "")
            parent = value.get("parentCommit")
            wish.parent = None if parent is None else str(parent)
        elif key == "file":
            wish.files[check_path(str(value["path"]))] = _small_file(value, repo)
        elif key == "lfsFile":
            wish.files[check_path(str(value["path"]))] = _large_file(value, repo)
        elif key == "deletedFile":
            wish.deleted_files.append(str(value["path"]))
        elif key == "deletedFolder":
            wish.deleted_folders.append(str(value["path"]))
        else:
            raise Refusal(400, f"a commit has no lines of the kind '{key}'")
    except KeyError as missing:
        raise Refusal(400, f"a '{key}' line needs {missing}") from None


def _small_file(value: dict[str, Any], repo: Repo) -> Entry:
    if value.get("encoding") != "base64":
        raise Refusal(400, "the content of a file must be sent in base64")
    try:
        content = base64.b64decode(value["content"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refusal(400, f"the content of '{value['path']}' is not base64") from None
    return Entry(oid=repo.blobs.add(content), size=len(content))


def _large_file(value: dict[str, Any], repo: Repo) -> Entry:
    """Give the entry of a large file that has arrived already; a copy comes without its size."""
    sha256 = str(value["oid"])
    if value.get("algo", "sha256") != "sha256" or len(sha256) != 64:
        raise Refusal(400, "a large file is named by its sha256")
    if not repo.blobs.has(sha256):
        raise Refusal(400, f"the content of '{value['path']}' was not uploaded: {sha256}")
    size = repo.blobs.path(sha256).stat().st_size
    if value.get("size", size) != size:
        raise Refusal(400, f"'{value['path']}' has {size} bytes, not {value['size']}")
    return large_entry(sha256, size)


def _way(file: Any, tree: Tree, attributes: str, ignore: str) -> dict[str, Any]:
    try:
        path, size = check_path(str(file["path"])), int(file["size"])
        sample = base64.b64decode(file.get("sample") or "")
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Refusal(400, "each file needs a path, a size and a sample in base64") from None
    large = is_large(path, size=size, sample=sample, attributes=attributes)
    way: dict[str, Any] = {
        "path": path,
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": bool(ignore) and is_ignored(path, ignore),
    }
    if path in tree:
        way["oid"] = tree[path].etag
    return way


def _small_text(repo: Repo, entry: Entry | None) -> str:
    if entry is None or entry.sha256 is not None:
        return ""
    return repo.blobs.path(entry.oid).read_text("utf-8", errors="replace")


def _require_pusher(call: Call, repo: Repo) -> str:
    """Give the user's name. Raise Refusal unless the push is allowed.

    Anyone may propose, and add to a pull request of their own.
    """
    user = call.require_writer().user
    kind, name = repo.branch_ref(call.segment("revision"))
    if not call.flag("create_pr") and not (kind == "pr" and pulls.author_of(repo, name) == user):
        call.require_writer(repo.name.repo_id)
    return user
