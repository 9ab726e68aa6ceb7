"""Answers that change nothing: information, listings, history and the files themselves."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import FileResponse, Response

from hftune.hub.server import shapes
from hftune.hub.server.call import Call, reply_json
from hftune.hub.server.refusal import Refusal, entry_not_found
from hftune.hub.server.repo import Repo
from hftune.hub.server.trees import Commit

TREE_PAGE = 1000
EXPANDED_PAGE = 50
_SORTS = ("lastModified", "createdAt", "downloads", "likes", "trendingScore")


def whoami(call: Call) -> Response:
    """Say whose token this is and what role it has."""
    token = call.require_token()
    access: dict[str, Any] = {
        "displayName": f"{token.user} ({token.role})",
        "role": token.role,
        "everywhere": token.everywhere,  # not the Hub's: our push reads it, others ignore it
    }
    if token.role == "fineGrained":
        access["fineGrained"] = {
            "canReadGatedRepos": False,
            "global": [],
            "scoped": [_scope(name, granted) for name, granted in token.scopes.items()],
        }
    return reply_json(
        {
            "type": "user",
            "id": token.user,
            "name": token.user,
            "fullname": token.user,
            "email": None,
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": access},
        }
    )


def _scope(name: str, granted: Sequence[str]) -> dict[str, Any]:
    kind = "model" if "/" in name else "user"
    return {"entity": {"_id": name, "type": kind, "name": name}, "permissions": list(granted)}


def info(call: Call) -> Response:
    """Tell about a repository at a revision."""
    repo = call.readable_repo()
    commit = repo.resolve(call.segment("revision") or "main")
    facts = shapes.repo_info(repo, commit)
    if call.flag("blobs"):
        facts["siblings"] = shapes.siblings_with_blobs(commit)
    wanted = _wanted(call)
    if wanted:
        facts = {key: value for key, value in facts.items() if key in {"_id", "id", *wanted}}
    return reply_json(facts)


def listing(call: Call) -> Response:
    """List the repositories of a kind that the asker may see, filtered, newest first."""
    found = [
        shapes.repo_info(repo, repo.resolve("main"))
        for repo in call.store.list(call.kind)
        if not repo.settings.private or call.owns(repo.name.namespace)
    ]
    found = [facts for facts in found if _is_wanted(call, facts)]
    order = call.query("sort", "lastModified")
    if order not in _SORTS:
        raise Refusal(400, f"cannot sort by '{order}', only by {', '.join(_SORTS)}")
    found.sort(key=lambda facts: facts.get(order, 0), reverse=True)
    if not call.flag("full"):
        hidden = {"siblings"} if call.flag("cardData") else {"siblings", "cardData"}
        kept = hidden - set(_wanted(call))
        found = [{key: facts[key] for key in facts if key not in kept} for facts in found]
    return _page(call, found, min(call.number("limit", TREE_PAGE), TREE_PAGE))


def tree(call: Call) -> Response:
    """List a folder of a revision, with everything below it if asked."""
    repo = call.readable_repo()
    commit = repo.resolve(call.segment("revision"))
    folder = call.segment("path").strip("/")
    lines = shapes.listing(commit)
    if folder and lines.get(folder, {}).get("type") != "directory":
        raise entry_not_found(folder, commit.id)
    start = f"{folder}/" if folder else ""
    inside = [line for path, line in lines.items() if path.startswith(start)]
    if not call.flag("recursive"):
        inside = [line for line in inside if "/" not in line["path"][len(start) :]]
    if not call.flag("expand"):
        return _page(call, inside, TREE_PAGE)
    page = _page_lines(call, inside, EXPANDED_PAGE)
    expanded = shapes.with_last_commits(page, repo.history(commit))
    return reply_json(expanded, _next_link(call, inside, EXPANDED_PAGE))


def paths_info(call: Call) -> Response:
    """Tell about the files and folders named in a form; absent ones are left out."""
    repo = call.readable_repo()
    commit = repo.resolve(call.segment("revision"))
    form = call.body.form()
    lines = shapes.listing(commit)
    found = [lines[path.strip("/")] for path in form.get("paths", []) if path.strip("/") in lines]
    if form.get("expand", ["false"])[0].lower() == "true":
        found = shapes.with_last_commits(found, repo.history(commit))
    return reply_json(found)


def commits(call: Call) -> Response:
    """Give the history of a revision, newest first."""
    repo = call.readable_repo()
    commit = repo.resolve(call.segment("revision"))
    return _page(call, [shapes.commit_line(one) for one in repo.history(commit)], TREE_PAGE)


def refs(call: Call) -> Response:
    """Give all branches and tags, and the pull requests if asked."""
    repo = call.readable_repo()
    reply = {
        "branches": _ref_lines(repo.refs("heads"), "refs/heads"),
        "converts": [],
        "tags": _ref_lines(repo.refs("tags"), "refs/tags"),
    }
    if call.flag("include_prs"):
        reply["pullRequests"] = _ref_lines(repo.refs("pr"), "refs/pr")
    return reply_json(reply)


def auth_check(call: Call) -> Response:
    """Say whether the asker may read the repository's files."""
    repo = call.readable_repo()
    _require_granted(call, repo, repo.resolve("main"))
    return reply_json({})


def auth_check_write(call: Call) -> Response:
    """Say whether the asker may change the repository."""
    call.writable_repo()
    return reply_json({})


def resolve(call: Call) -> Response:
    """Give a file, whole or in ranges; HEAD gives its facts only."""
    repo = call.readable_repo()
    commit = repo.resolve(call.segment("revision"))
    _require_granted(call, repo, commit)
    path = call.segment("path")
    entry = commit.tree.get(path)
    if entry is None:
        raise entry_not_found(path, commit.id)
    headers = {
        "X-Repo-Commit": commit.id,
        "ETag": f'"{entry.etag}"',
        "Cache-Control": "no-cache",
        # A stranger's page must never run as if it were the Hub's own.
        "X-Content-Type-Options": "nosniff",
    }
    if entry.sha256 is not None:
        headers |= {"X-Linked-Etag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size)}
    return FileResponse(
        repo.blobs.path(entry.etag),
        headers=headers,
        media_type="text/plain" if entry.sha256 is None else "application/octet-stream",
        filename=path.rpartition("/")[2],
        content_disposition_type="inline",
    )


def _require_granted(call: Call, repo: Repo, commit: Commit) -> None:
    """Raise Refusal unless the repository is open to the asker; this Hub grants no requests."""
    if repo.settings.gated is False or call.owns(repo.name.namespace):
        return
    status = 401 if call.token is None else 403
    message = f"Access to {repo.name.kind} {repo.name.repo_id} is restricted to its owner"
    raise Refusal(status, message, code="GatedRepo", commit=commit.id)


def _wanted(call: Call) -> list[str]:
    return call.request.query_params.getlist("expand")


def _is_wanted(call: Call, facts: dict[str, Any]) -> bool:
    params = call.request.query_params
    searched = all(text.lower() in facts["id"].lower() for text in params.getlist("search"))
    tagged = set(params.getlist("filter") + params.getlist("pipeline_tag")) <= set(facts["tags"])
    by_author = call.query("author", facts["author"]) == facts["author"]
    gated = str(facts["gated"] is not False).lower()
    return searched and tagged and by_author and call.query("gated", gated).lower() == gated


def _ref_lines(found: dict[str, str], prefix: str) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"{prefix}/{name}", "targetCommit": commit_id}
        for name, commit_id in found.items()
    ]


def _page(call: Call, lines: list[dict[str, Any]], size: int) -> Response:
    return reply_json(_page_lines(call, lines, size), _next_link(call, lines, size))


def _page_lines(call: Call, lines: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    start = _cursor(call)
    return lines[start : start + size]


def _next_link(call: Call, lines: list[dict[str, Any]], size: int) -> dict[str, str]:
    """Give the Link header that leads to the next page, if there is one."""
    following = _cursor(call) + size
    if following >= len(lines):
        return {}
    query = [(key, value) for key, value in call.request.query_params.multi_items()]
    query = [pair for pair in query if pair[0] != "cursor"] + [("cursor", str(following))]
    return {"Link": f'<{call.endpoint}{call.request.url.path}?{urlencode(query)}>; rel="next"'}


def _cursor(call: Call) -> int:
    return call.number("cursor", 0)
