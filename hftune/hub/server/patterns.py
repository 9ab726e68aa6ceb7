"""Patterns of .gitattributes and .gitignore: which names are large files, which are left out."""

import re

LARGE_ABOVE = 10 * 1000 * 1000  # bytes

_KNOWN = {
    "/**/": "/(?:.*/)?",
    "**/": "(?:.*/)?",
    "/**": "/.*",
    "*": "[^/]*",
    "?": "[^/]",
    "[[:space:]]": r"\s",
}
_TOKENS = re.compile(r"(/\*\*/|\*\*/|/\*\*|\*|\?|\[\[:space:\]\]|\[[^]\[]+\]|\\.)")


def is_large(path: str, *, size: int, sample: bytes, attributes: str) -> bool:
    """Say whether a file goes the large-file way: by its name, by binary content or by its size.

    Empty files never do; the client would not send them so.
    """
    if size == 0:
        return False
    return size > LARGE_ABOVE or _marked(path, attributes) or _is_binary(sample)


def is_ignored(path: str, ignore: str) -> bool:
    """Say whether .gitignore leaves a file or one of the folders above it out; last line wins."""
    parts = path.split("/")
    return any(
        _ignored_here("/".join(parts[:count]), count < len(parts), ignore)
        for count in range(1, len(parts) + 1)
    )


def matches(pattern: str, path: str) -> bool:
    """Match as git does: without a slash at any depth, otherwise from the top."""
    if "/" not in pattern.strip("/") and not pattern.startswith("/"):
        path = path.rpartition("/")[2]
    try:
        return re.fullmatch(_expression(pattern.strip("/")), path) is not None
    except re.error:  # A range that is none, such as [z-a], matches nothing.
        return False


def _marked(path: str, attributes: str) -> bool:
    """Say whether the last line about `path` that names a filter names the large-file one."""
    marked = False
    for line in attributes.splitlines():
        pattern, *words = line.split() or ["#"]
        if pattern.startswith("#") or not matches(pattern, path):
            continue
        for word in words:
            if word in ("-filter", "!filter") or word.startswith("filter="):
                marked = word == "filter=lfs"
    return marked


def _ignored_here(path: str, is_folder: bool, ignore: str) -> bool:
    ignored = False
    for line in ignore.splitlines():
        pattern = line.rstrip()
        if not pattern or pattern.startswith("#"):
            continue
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        if pattern.endswith("/") and not is_folder:
            continue
        if matches(pattern, path):
            ignored = not negated
    return ignored


def _is_binary(sample: bytes) -> bool:
    if b"\0" in sample:
        return True
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a letter.
        return error.start < len(sample) - 3
    return False


def _expression(pattern: str) -> str:
    """Give a git pattern as a regular expression."""
    return "".join(_piece(token) for token in _TOKENS.split(pattern))


def _piece(token: str) -> str:
    if token in _KNOWN:
        return _KNOWN[token]
    if token.startswith("["):
        return token.replace("[!", "[^", 1)
    return re.escape(token.removeprefix("\\"))
