"""Damage to bytes and to JSON, drawn from a seed: the same seed spoils the same way everywhere."""

import copy
import json
import random
from typing import Any

_EDGES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0")


def damaged(content: bytes, seed: int) -> bytes:
    """Give `content` with one to four places flipped, cut, filled, repeated or overwritten.

    Half of the places lie at the start, where formats keep what they say about themselves.
    """
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        content = _damaged_once(content, rng)
    return content


def _damaged_once(content: bytes, rng: random.Random) -> bytes:
    reach = min(len(content), 256) if rng.random() < 0.5 else len(content)
    start = rng.randrange(reach + 1)
    stop = min(len(content), start + rng.choice((1, 2, 4, 8, 64, 1024)))
    before, piece, after = content[:start], content[start:stop], content[stop:]
    kind = rng.choice(("flip", "cut", "end", "insert", "zero", "repeat", "edge"))
    if kind == "end":
        return before
    changed = {
        "flip": bytes(byte ^ (1 << rng.randrange(8)) for byte in piece),
        "cut": b"",
        "insert": rng.randbytes(len(piece)) + piece,
        "zero": bytes(len(piece)),
        "repeat": piece * 3,
        "edge": rng.choice(_EDGES),
    }
    return before + changed[kind] + after


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 10**30, -(2**63), 1e308, 0.5, float("nan"), float("inf")),
    *(
        "",
        "x",
        "\0",
        "\x1b[2J",
        "../../x",
        "/etc/passwd",
        "__import__('os').system('id')",
        "9" * 99,
    ),
    *("x" * 5_000, "\u202e", [], [[]], [None], ["a", 1], {}, {"": {}}, {"name": "os:system"}),
    *([0] * 3, [1e308] * 3, ["x"] * 3, [-1, 0, 3], [3, 224, 224], [3, 10**9, 10**9], [[1, 2], 3]),
)


def damaged_json(value: Any, seed: int) -> Any:
    """Give a JSON value with one to three of its parts replaced, removed, renamed or wrapped."""
    rng = random.Random(seed)
    tree = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 3)):
        places = _places(tree)
        if not places:
            return _odd_value(rng)
        block, key = rng.choice(places)
        kind = rng.choice(("replace", "replace", "replace", "remove", "rename", "wrap"))
        if kind == "remove":
            del block[key]
        elif kind == "rename" and isinstance(block, dict):
            block[rng.choice(("", "x", "name", "\x1b[2J"))] = block.pop(key)
        elif kind == "wrap":
            block[key] = rng.choice(([block[key]], {"x": block[key]}, str(block[key])))
        else:
            block[key] = _odd_value(rng)
    return tree


def _odd_value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Give every block of a tree with every key of it."""
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    own = [(tree, key) for key in keys]
    return own + [place for key in keys for place in _places(tree[key])]
