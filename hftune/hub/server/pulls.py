"""Pull requests: a proposed commit under refs/pr/N, its description, and its merge."""

import json
from pathlib import Path
from typing import Any

from starlette.responses import Response

from hftune import files
from hftune.hub.server.call import Call, reply_json
from hftune.hub.server.refusal import Refusal
from hftune.hub.server.repo import Note, Repo
from hftune.hub.server.trees import Tree, now


def open_pull(repo: Repo, note: Note, *, base: str, start: str, head: str) -> int:
    """Keep a pull request that leads from commit `start` to `head`; give its number.

    Call inside `repo.changing()`.
    """
    number = 1 + max((int(name) for name in repo.refs("pr")), default=0)
    pull = {
        "num": number,
        "title": note.title,
        "description": note.message,
        "author": note.author,
        "createdAt": now(),
        "status": "open",
        "base": base,
        "start": start,
        "merged": None,
    }
    files.write_json(_path(repo, number), pull)
    repo.set_ref("pr", str(number), head)
    return number


def author_of(repo: Repo, number: str) -> str:
    """Give the name of the user who opened a pull request. Raise Refusal if there is none."""
    return str(_read(repo, number)["author"])


def create(call: Call) -> Response:
    """Open a pull request without changes yet; commits to its ref follow."""
    repo = call.readable_repo()
    token = call.require_writer()
    wish = call.body.mapping()
    if wish.get("pullRequest") is not True:
        raise Refusal(400, "the local Hub keeps pull requests, but no other discussions")
    title = str(wish.get("title") or "")
    note = Note(title=title, message=str(wish.get("description") or ""), author=token.user)
    with repo.changing():
        head = repo.resolve("main").id
        number = open_pull(repo, note, base="main", start=head, head=head)
    url = f"{call.endpoint}/{repo.name.page}/discussions/{number}"
    return reply_json({"num": number, "url": url})


def listing(call: Call) -> Response:
    """List the pull requests, newest first."""
    repo = call.readable_repo()
    found = [_facts(repo, _read(repo, name)) for name in repo.refs("pr")]
    status, author = call.query("status"), call.query("author")
    found = [pull for pull in found if status in ("", "all", pull["status"])]
    found = [pull for pull in found if author in ("", pull["author"]["name"])]
    found.sort(key=lambda pull: int(pull["num"]), reverse=True)
    return reply_json({"discussions": found, "count": len(found), "start": 0})


def details(call: Call) -> Response:
    """Tell about one pull request."""
    repo = call.readable_repo()
    pull = _read(repo, call.segment("number"))
    changes = {"base": f"refs/heads/{pull['base']}"}
    if pull["merged"]:
        changes["mergeCommitId"] = pull["merged"]
    conflicts = _merged_tree(repo, pull)[1] if pull["status"] == "open" else []
    facts = _facts(repo, pull)
    return reply_json(
        {**facts, "changes": changes, "filesWithConflicts": conflicts, "events": [], "diff": ""}
    )


def merge(call: Call) -> Response:
    """Carry a pull request's changes over to its base as one commit. Refuse conflicts with 409."""
    repo = call.writable_repo()
    author = call.require_writer().user
    with repo.changing():
        pull = _read(repo, call.segment("number"))
        if pull["status"] != "open":
            raise Refusal(409, f"pull request {pull['num']} is {pull['status']}")
        tree, conflicts = _merged_tree(repo, pull)
        if conflicts:
            raise Refusal(409, f"both sides changed {', '.join(conflicts)}")
        note = Note(title=f"{pull['title']} (#{pull['num']})", author=author)
        base = repo.resolve(f"refs/heads/{pull['base']}")
        made = repo.write_commit(tree, note, parent=base.id)
        repo.set_ref("heads", pull["base"], made.id)
        files.write_json(_path(repo, pull["num"]), {**pull, "status": "merged", "merged": made.id})
    event = {
        "id": made.id,
        "type": "status-change",
        "createdAt": made.date,
        "author": {"name": author},
        "data": {"status": "merged"},
    }
    return reply_json({"newStatus": event})


def _merged_tree(repo: Repo, pull: dict[str, Any]) -> tuple[Tree, list[str]]:
    """Give the base's tree with the pull request's changes, and the files both sides changed."""
    start = repo.commit(pull["start"]).tree
    theirs = repo.resolve(f"refs/pr/{pull['num']}").tree
    ours = dict(repo.resolve(f"refs/heads/{pull['base']}").tree)
    conflicts = []
    for path in sorted(start.keys() | theirs.keys()):
        if theirs.get(path) == start.get(path) or theirs.get(path) == ours.get(path):
            continue
        if ours.get(path) != start.get(path):
            conflicts.append(path)
        elif path in theirs:
            ours[path] = theirs[path]
        else:
            del ours[path]
    return ours, conflicts


def _facts(repo: Repo, pull: dict[str, Any]) -> dict[str, Any]:
    return {
        "num": pull["num"],
        "title": pull["title"],
        "author": {"name": pull["author"]},
        "createdAt": pull["createdAt"],
        "status": pull["status"],
        "isPullRequest": True,
        "repo": {"name": repo.name.repo_id, "type": repo.name.kind},
    }


def _read(repo: Repo, number: str) -> dict[str, Any]:
    if repo.ref("pr", number) is None:
        raise Refusal(404, f"there is no pull request {number}")
    pull: dict[str, Any] = json.loads(_path(repo, int(number)).read_text("utf-8"))
    return pull


def _path(repo: Repo, number: int) -> Path:
    return repo.folder / "pulls" / f"{number}.json"
