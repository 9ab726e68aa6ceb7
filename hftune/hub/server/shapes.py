"""The JSON forms in which the Hub tells about repositories, trees and commits."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hftune.hub.server.repo import Repo
from hftune.hub.server.trees import Commit, Entry, folder_ids

Json = dict[str, Any]

_MOST_METADATA = 512 * 1024
_MOST_DEPTH = 32


def repo_info(repo: Repo, commit: Commit) -> Json:
    """Give everything a client may ask about a repository at a commit."""
    settings = repo.settings
    card = card_data(repo, commit)
    info: Json = {
        "_id": repo.name.page,
        "id": repo.name.repo_id,
        "author": repo.name.namespace,
        "sha": commit.id,
        "private": settings.private,
        "gated": settings.gated,
        "disabled": False,
        "createdAt": settings.created_at,
        "lastModified": commit.date,
        "downloads": 0,
        "likes": 0,
        "tags": tags(card),
        "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
        "usedStorage": sum(entry.size for entry in commit.tree.values()),
    }
    if card:
        info["cardData"] = card
    if repo.name.kind == "model":
        info["modelId"] = repo.name.repo_id
        info |= {key: card[key] for key in ("pipeline_tag", "library_name") if key in card}
        if "model-index" in card:
            info["model-index"] = card["model-index"]
    if repo.name.kind == "space":
        info |= {key: card[key] for key in ("sdk", "models", "datasets") if key in card}
    return info


def siblings_with_blobs(commit: Commit) -> list[Json]:
    """Give the file list with sizes and ids."""
    return [
        {"rfilename": path, "size": entry.size, "blobId": entry.oid, **_large(entry, "sha256")}
        for path, entry in sorted(commit.tree.items())
    ]


def tags(card: Mapping[str, Any]) -> list[str]:
    """Give the tags by which a listing can be filtered."""
    found = [card[key] for key in ("library_name", "pipeline_tag") if key in card]
    found += _texts(card.get("tags"))
    for key in ("license", "base_model", "datasets", "language", "task_categories"):
        prefix = "dataset" if key == "datasets" else key
        found += [f"{prefix}:{text}" for text in _texts(card.get(key))]
    return list(dict.fromkeys(text for text in found if isinstance(text, str)))


def card_data(repo: Repo, commit: Commit) -> Json:
    """Give the metadata of README.md; empty when there is none that can be read."""
    entry = commit.tree.get("README.md")
    if entry is None or entry.sha256 is not None:
        return {}
    text = repo.blobs.path(entry.oid).read_text("utf-8", errors="replace")
    try:
        return read_card(text)
    except ValueError:
        return {}


def read_card(text: str) -> Json:
    """Read the YAML block at the head of a card. Raise ValueError with what is wrong in it."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    ends = [number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"]
    if not ends:
        return {}
    block = "\n".join(lines[1 : ends[0]])
    if len(block) > _MOST_METADATA:
        raise ValueError(f"the metadata block has more than {_MOST_METADATA} characters")
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = _MOST_DEPTH
    try:
        value = yaml.load(io.StringIO(block))
    except YAMLError as error:
        raise ValueError(f"the metadata block is no valid YAML: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("the metadata block must be a mapping of keys to values")
    return _plain(value, set())  # type: ignore[no-any-return]  # a mapping stays a mapping


def listing(commit: Commit) -> dict[str, Json]:
    """Give files and folders of a commit by path, in order."""
    found = {
        path: {"type": "directory", "oid": oid, "size": 0, "path": path}
        for path, oid in folder_ids(commit.tree).items()
        if path
    }
    found |= {path: file_line(path, entry) for path, entry in commit.tree.items()}
    return dict(sorted(found.items()))


def file_line(path: str, entry: Entry) -> Json:
    """Give a file as the tree shows it."""
    return {
        "type": "file",
        "oid": entry.oid,
        "size": entry.size,
        "path": path,
        **_large(entry, "oid"),
    }


def with_last_commits(lines: Iterable[Json], history: Iterator[Commit]) -> list[Json]:
    """Add to each line the newest commit that changed it."""
    waiting = {line["path"]: dict(line) for line in lines}
    done = dict.fromkeys(waiting)
    newer: Commit | None = None
    for commit in history:
        if not waiting:
            break
        present = {path: line["oid"] for path, line in listing(commit).items()}
        if newer is not None:
            for path in [path for path in waiting if present.get(path) != waiting[path]["oid"]]:
                done[path] = _expanded(waiting.pop(path), newer)
        newer = commit
    assert newer is not None
    for path, line in waiting.items():
        done[path] = _expanded(line, newer)
    return [line for line in done.values() if line is not None]


def commit_line(commit: Commit) -> Json:
    """Give a commit as the history shows it."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": commit.date,
    }


def _expanded(line: Json, commit: Commit) -> Json:
    line["lastCommit"] = {"id": commit.id, "title": commit.title, "date": commit.date}
    if line["type"] == "file":
        unscanned = {"status": "unscanned"}
        line["securityFileStatus"] = {
            "status": "unscanned",
            "avScan": unscanned,
            "pickleImportScan": unscanned,
        }
    return line


def _large(entry: Entry, id_key: str) -> Json:
    if entry.sha256 is None:
        return {}
    facts = {id_key: entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return {"lfs": facts}


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _plain(value: Any, seen: set[int]) -> Any:
    """Make a YAML value fit for JSON: dates and other scalars become text.

    Raise ValueError for an alias of a mapping or list; written out, a few could fill the memory.
    """
    if isinstance(value, dict | list):
        if id(value) in seen:
            raise ValueError("aliases are not read here; write the value out")
        seen.add(id(value))
    if isinstance(value, dict):
        return {str(key): _plain(item, seen) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, seen) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)
