"""Answers that make, rename, set up and remove repositories, their branches and tags."""

from typing import Any

from starlette.responses import Response

from hftune.hub.server import shapes
from hftune.hub.server.call import Call, reply_json
from hftune.hub.server.names import RepoName, check_ref, repo_name
from hftune.hub.server.refusal import Refusal, repo_not_found, revision_not_found
from hftune.hub.server.repo import Note, Repo

_SDKS = ("gradio", "docker", "static")


def create(call: Call) -> Response:
    """Make a repository; an existing one answers 409 with its address."""
    token = call.require_writer()
    wish = call.body.mapping()
    namespace = wish.get("organization") or token.user
    name = repo_name(_text(wish, "type", "model"), str(namespace), _text(wish, "name"))
    call.require_writer(name.namespace)
    private = _visibility(wish) or False
    card = _space_card(name, wish) if name.kind == "space" else None
    made = call.store.create(name, private=private, author=token.user, card=card)
    address = {"url": f"{call.endpoint}/{name.page}", "name": name.repo_id, "id": name.repo_id}
    if made:
        return reply_json(address)
    refusal = Refusal(409, f"You already created this {name.kind} repo: {name.repo_id}")
    response = reply_json({**address, "error": refusal.message}, refusal.headers())
    response.status_code = refusal.status
    return response


def delete(call: Call) -> Response:
    """Remove a repository for good."""
    token = call.require_writer()
    wish = call.body.mapping()
    namespace = str(wish.get("organization") or token.user)
    repo = _owned(call, repo_name(_text(wish, "type", "model"), namespace, _text(wish, "name")))
    call.store.delete(repo)
    return reply_json({})


def move(call: Call) -> Response:
    """Rename a repository; the old name forwards to the new one."""
    call.require_writer()
    wish = call.body.mapping()
    kind = _text(wish, "type", "model")
    repo = _owned(call, _parsed(kind, _text(wish, "fromRepo")))
    target = _parsed(kind, _text(wish, "toRepo"))
    call.require_writer(target.namespace)
    call.store.move(repo, target)
    return reply_json({"url": f"{call.endpoint}/{target.page}"})


def settings(call: Call) -> Response:
    """Change visibility and gating."""
    repo = call.writable_repo()
    wish = call.body.mapping()
    changes: dict[str, Any] = {}
    private = _visibility(wish)
    if private is not None:
        changes["private"] = private
    if "gated" in wish:
        if wish["gated"] not in ("auto", "manual", False):
            raise Refusal(400, "gated must be 'auto', 'manual' or false")
        changes["gated"] = wish["gated"]
    with repo.changing():
        repo.update(**changes)
    return reply_json({"private": repo.settings.private, "gated": repo.settings.gated})


def create_branch(call: Call) -> Response:
    """Make a branch at a revision, by default where main is."""
    repo = call.writable_repo()
    name = check_ref(call.segment("ref"))
    start = _text(call.body.mapping(), "startingPoint", "main")
    with repo.changing():
        commit = repo.resolve(start)
        if repo.ref("heads", name) is not None:
            raise Refusal(409, f"Reference already exists: refs/heads/{name}")
        repo.set_ref("heads", name, commit.id)
    return reply_json({})


def delete_branch(call: Call) -> Response:
    """Remove a branch; main stays."""
    repo = call.writable_repo()
    name = call.segment("ref")
    if name == "main":
        raise Refusal(403, "the branch main cannot be removed")
    with repo.changing():
        repo.remove_ref("heads", name)
    return reply_json({})


def super_squash(call: Call) -> Response:
    """Make a branch's newest state its only commit."""
    repo = call.writable_repo()
    name = call.segment("ref")
    message = _text(call.body.mapping(), "message", f"Super-squash branch '{name}'")
    with repo.changing():
        if repo.ref("heads", name) is None:
            raise revision_not_found(name)
        tree = repo.resolve(f"refs/heads/{name}").tree
        note = Note(title=message, author=call.require_writer().user)
        repo.set_ref("heads", name, repo.write_commit(tree, note, parent=None).id)
    return reply_json({})


def create_tag(call: Call) -> Response:
    """Give a revision a name that does not move."""
    repo = call.writable_repo()
    name = check_ref(_text(call.body.mapping(), "tag"))
    with repo.changing():
        commit = repo.resolve(call.segment("ref"))
        if repo.ref("tags", name) is not None:
            raise Refusal(409, f"Reference already exists: refs/tags/{name}")
        repo.set_ref("tags", name, commit.id)
    return reply_json({})


def delete_tag(call: Call) -> Response:
    """Remove a tag."""
    repo = call.writable_repo()
    with repo.changing():
        repo.remove_ref("tags", call.segment("ref"))
    return reply_json({})


def validate_yaml(call: Call) -> Response:
    """Check the metadata block of a card before it is pushed."""
    wish = call.body.mapping()
    try:
        card = shapes.read_card(_text(wish, "content"))
    except ValueError as error:
        message = str(error)
        response = reply_json({"errors": [{"message": message}], "warnings": []})
        response.status_code = 400
        return response
    empty = {"message": "the card has no metadata block; add license and tags between '---' lines"}
    return reply_json({"errors": [], "warnings": [] if card else [empty]})


def _owned(call: Call, name: RepoName) -> Repo:
    """Give a repository named in the body. Raise Refusal unless the asker may change it."""
    repo = call.store.find(name)
    if repo is None or (repo.settings.private and not call.owns(name.namespace)):
        raise repo_not_found(has_token=True)
    call.require_writer(name.repo_id)
    return repo


def _parsed(kind: str, repo_id: str) -> RepoName:
    namespace, _, name = repo_id.partition("/")
    return repo_name(kind, namespace, name)


def _space_card(name: RepoName, wish: dict[str, Any]) -> str:
    """Give the README.md that a Space begins with; it says what runs it."""
    sdk = _text(wish, "sdk", "")
    if sdk not in _SDKS:
        raise Refusal(400, f"a Space needs an 'sdk': {', '.join(_SDKS)}")
    return f"---\ntitle: {name.name}\nsdk: {sdk}\npinned: false\n---\n"


def _text(wish: dict[str, Any], key: str, default: str | None = None) -> str:
    value = wish.get(key, default)
    if not isinstance(value, str):
        raise Refusal(400, f"'{key}' must be given as text")
    return value


def _visibility(wish: dict[str, Any]) -> bool | None:
    """Read the wish to be private in either spelling, None if there is none."""
    if "visibility" in wish:
        if wish["visibility"] not in ("public", "private"):
            raise Refusal(400, "visibility must be 'public' or 'private'")
        return bool(wish["visibility"] == "private")
    if "private" in wish and wish["private"] is not None:
        return bool(wish["private"])
    return None
