"""The help of every setting: the comment above its field in schema.py, and what is allowed."""

import ast
import inspect
from functools import cache
from typing import Any

from annotated_types import DocInfo

from hftune.recipe import schema
from hftune.recipe.types import field_hints, limits, members


@cache
def field_help() -> dict[tuple[str, str], str]:
    """Give the comment above each field of schema.py, by (class name, field name)."""
    source = inspect.getsource(schema)
    lines = source.splitlines()
    return {
        (block.name, statement.target.id): _comment_above(lines, statement.lineno - 1)
        for block in ast.parse(source).body
        if isinstance(block, ast.ClassDef)
        for statement in block.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def setting_help(block: type, field: str) -> str:
    """Give a field's comment, with the form of its text where the type alone does not say it."""
    text = field_help().get((block.__name__, field), "")
    form = _form(field_hints(block)[field])
    return f"{text} Give {form}." if form else text


def _form(hint: Any) -> str:
    """Give what the checked texts among the alternatives must look like."""
    found = [limit for member in members(hint) for limit in limits(member)]
    docs = [limit.documentation for limit in found if isinstance(limit, DocInfo)]
    return " or ".join(text for text in docs if text != "some text")


def _comment_above(lines: list[str], index: int) -> str:
    words: list[str] = []
    while index > 0 and lines[index - 1].strip().startswith("#"):
        index -= 1
        words.insert(0, lines[index].strip().removeprefix("#").strip())
    return " ".join(words)
