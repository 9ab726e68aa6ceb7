"""Strategies for recipes of every kind: noise, YAML that is no recipe, good recipes gone wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.shipped import list_shipped
from hftune.recipe.show import to_dict
from tests.drawn import tiny_recipe

# Every setting with its default, and the recipes that come with hftune as they are written.
WHOLE: dict[str, Any] = to_dict(tiny_recipe())
GOOD: list[dict[str, Any]] = [
    WHOLE,
    *(YAML(typ="safe", pure=True).load(found.path) for found in list_shipped()),
]

LETTERS = st.text(st.characters(codec="utf-8"), max_size=12)
ODD_TEXTS = st.sampled_from(
    [
        *(
            "",
            " ",
            "\0",
            "a\0b",
            "\x1b[31m",
            "\u202egnp.exe",
            "\ufeff",
            "e\u0301" * 40,
            "\U0001f9ff",
        ),
        *("x" * 20_000, "%s%n{0}", "../" * 40, "/", "~", "C:\\x", "CON", "//server/share", "a\nb"),
        *(
            "1e999",
            "-1e999",
            ".nan",
            ".inf",
            "0x" + "f" * 300,
            "9" * 5_000,
            "1_000",
            "0o17",
            "12:30",
        ),
    ]
)
UNITS = st.sampled_from(
    [
        *("5%", "-5%", "101%", "1e999%", "3 epochs", "0 epochs", "1e300 epochs", "9e15 steps"),
        *("1.5 steps", "10 parsecs", "\u0663 epochs", "10 min", "1e308 days", "3 h h", "x3", "3x"),
        *("1e9999x", "." + "9" * 5_000 + "x", "9" * 5_000 + " steps", "20 GiB", "%", "epochs"),
    ]
)
SELECTORS = st.sampled_from(
    [
        *("head", "all", "not all", "not not head", "stage.-1", "stage." + "9" * 5_000, "stage.x"),
        *("stages[:2]", "stages[2:1]", "stages[" + "1" * 5_000 + ":]", "layers[::]", "layer.1e3"),
        *("name:", "name:*", "name:[", "name:[!]", "name:" + "*a" * 30, "name:(?:a+)+$", "hed"),
    ]
)
COMPONENTS = st.sampled_from(
    [
        *("adamw", "adamww", "cosine", "focal", "step", "plateau", "json:dumps", ":dumps"),
        *("no.such.module:f", "./absent.py:f", "../..:f", "\0:f", ".:f", ":", "a b:c", "json:no"),
        *(
            "./" + "d/" * 200 + "x.py:f",
            "x" * 5_000 + ":f",
            "x" * 5_000,
            "json.decoder:JSONDecoder",
        ),
    ]
)
NUMBERS = (
    st.integers()
    | st.sampled_from([10**30, -(10**400), 2**63, 2**31, 0, -1, 1e-320, 1.8e308])
    | st.floats()
)
SCALARS = st.none() | st.booleans() | NUMBERS | LETTERS | ODD_TEXTS | UNITS | SELECTORS | COMPONENTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(LETTERS | st.sampled_from(["name", "base", "at"]), inner, max_size=4)
        | st.fixed_dictionaries({"name": COMPONENTS, "p": inner, "every": inner})
    ),
    max_leaves=8,
)


def paths_in(value: Any, path: SettingPath = ()) -> list[SettingPath]:
    """Give the path of every value in a tree, blocks and lists included."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path, *(found for key, child in inner for found in paths_in(child, (*path, key)))]


def at(tree: Any, path: SettingPath) -> Any:
    """Give the value at a path."""
    for part in path:
        tree = tree[part]
    return tree


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A good recipe in which up to four values are replaced, removed, renamed or wrapped."""
    tree = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    for _ in range(draw(st.integers(0, 4))):
        *place, last = draw(st.sampled_from(paths_in(tree)[1:] or [("run",)]))
        block = at(tree, tuple(place))
        change = draw(st.sampled_from(["replace", "replace", "remove", "rename", "wrap"]))
        if change == "replace":
            block[last] = draw(VALUES)
        elif change == "wrap":
            block[last] = [block.get(last)] if isinstance(block, dict) else {"name": block[last]}
        elif change == "rename" and isinstance(block, dict):
            block[draw(LETTERS | ODD_TEXTS)] = block.pop(last, None)
        elif isinstance(block, list) or last in block:
            del block[last]
        if not tree:
            break
    return tree


@st.composite
def spoiled_text(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text in which a piece is cut out, repeated or replaced by signs that mean much in YAML."""
    text = draw(texts)
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(len(text), start + 30)))
    signs = st.text("{}[]:,&*!|>%@`'\"#-?\\\t\n \0<=\u2028", max_size=6)
    return text[:start] + draw(signs) + text[start:stop] * draw(st.integers(0, 2)) + text[stop:]


def bomb(levels: int) -> str:
    """Aliases of aliases: ten to the power of `levels` values in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


CRAFTED = [
    *(
        "",
        "\n",
        "---\n",
        "--- {}\n---\n{}",
        "null",
        "[]",
        "run",
        "? a\n: b",
        "? [a, b]\n: c",
        "...",
    ),
    *("\ufeffrun: x", "run: x\nrun: y", "<<: {run: x}", "%YAML 1.1\n---\nrun: x", "%TAG ! x\n"),
    *("run: !!python/object/apply:os.system ['touch pwned']", "run: !!binary AAAA", "run: !x y"),
    *('run: "\\ud800"', 'run: "\\0"', "run: '\\0'", 'run: "\\x41\\U0001F600"', "run: |\n x\n\ty"),
    *("run: 1" + "0" * 5_000, "run: 0x" + "f" * 20_000, "run: 1e" + "9" * 400, "run: -.inf"),
    *("[" * 100, "[" * 30_000, "{a: " * 3_000, "- " * 3_000, "a:\n" * 3_000, "[" * 90 + "]" * 90),
    *("x" * 200_000, "k: v\n" * 20_000, "run: x\n" + "#" * 3_000_000, bomb(3), bomb(40)),
    *("&a [*a]", "a: &a {b: *a}", "run: *nowhere", "run: >\n" + " x\n" * 2_000, "\t", "run:\tx"),
]

NOISE = st.binary(max_size=200)
YAMLISH = st.text(st.sampled_from(list("abrun:{}[],&*!|>%@`'\"#-? \n\t\\0179.e_~=<")), max_size=120)
TREES: st.SearchStrategy[str] = mutated().map(json.dumps)


def written(text: str) -> bytes:
    """Give a text as a file holds it, lone surrogates as bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


CONTENTS: st.SearchStrategy[bytes] = (
    NOISE
    | YAMLISH.map(written)
    | TREES.map(written)
    | TREES.map(written)
    | spoiled_text(TREES).map(written)
    | spoiled_text(st.sampled_from([found.path.read_text() for found in list_shipped()])).map(
        written
    )
    | VALUES.map(lambda value: written(json.dumps(value)))
)

SETTINGS = st.sampled_from([dotted(path) for path in paths_in(WHOLE)[1:]])
OVERRIDES: st.SearchStrategy[list[str]] = st.lists(
    st.builds("{}={}".format, SETTINGS, SCALARS)
    | st.builds("{}={}".format, SETTINGS, VALUES.map(json.dumps))
    | st.builds("{}[{}]={}".format, SETTINGS, st.integers(0) | st.just("9" * 5_000), SCALARS)
    | st.builds("{}={}".format, LETTERS | ODD_TEXTS, YAMLISH)
    | LETTERS
    | YAMLISH,
    max_size=3,
)

BASES = st.sampled_from(
    [
        *("r.yaml", "./r.yaml", "../r.yaml", "r.yaml/", "loop.yaml", "bases/elpv", "bases/none"),
        *("/dev/null", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/", ".", "..", "", " ", "\0"),
        *("x" * 300, "x/" * 2_000 + "r.yaml", "folder.yaml", "link.yaml", "file:///etc/passwd"),
        *(
            "~/r.yaml",
            "https://example.com/r.yaml",
            "\ud800.yaml",
            "a\nb.yaml",
            "../" * 60 + "dev/tty",
        ),
    ]
)


def lay_out(folder: Path, content: bytes) -> Path:
    """Write the recipe that is read, and beside it what a strange base may name."""
    (folder / "r.yaml").write_bytes(content)
    (folder / "loop.yaml").write_text("base: [loop.yaml, r.yaml]\n")
    (folder / "folder.yaml").mkdir(exist_ok=True)
    if not (folder / "link.yaml").is_symlink():
        (folder / "link.yaml").symlink_to("link.yaml")
    return folder / "r.yaml"


def with_base(base: str | list[str]) -> bytes:
    """Give a recipe that inherits from `base`."""
    return json.dumps({"base": base, **WHOLE}).encode()


Make = Callable[[Path], Path]
