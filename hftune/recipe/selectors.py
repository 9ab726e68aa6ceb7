"""The grammar of selectors: the texts that name parts of a model, read without the model."""

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from hftune.errors import ModelError

WORDS = ("all", "backbone", "head", "norm", "bias", "embed")
FORMS = (
    f"{', '.join(WORDS)}, stage.N, stages[A:B], layer.N, layers[A:B], name:PATTERN, "
    "each also after 'not '"
)

_NEGATION = "not "
_ONE = re.compile(r"(?P<kind>stage|layer)\.(?P<number>-?\d{1,9})")
_SOME = re.compile(r"(?P<kind>stage|layer)s\[(?P<start>(?:-?\d{1,9})?):(?P<stop>(?:-?\d{1,9})?)\]")
_ALMOST_ONE = re.compile(r"(?P<kind>[A-Za-z]+)[.\[_ ]?(?P<number>-?\d+)\]?")
_ALMOST_SOME = re.compile(r"(?P<kind>[A-Za-z]+)[.\[_ ]?(?P<start>-?\d*):(?P<stop>-?\d*)\]?")


@dataclass(frozen=True, kw_only=True)
class Selector:
    """One selector, taken apart. `part` is a word, a pattern, a position or a range of them."""

    text: str
    negated: bool
    kind: Literal["word", "name", "stage", "layer"]
    part: str | int | slice


def parse_selector(text: str) -> Selector:
    """Read 'head', 'stage.-1', 'layers[:3]', 'name:blocks.*', 'not norm'.

    Raises ModelError for what is no selector, with a close one, and for a range without content.
    """
    negated = text.startswith(_NEGATION)
    body = text.removeprefix(_NEGATION).strip()
    kind: Literal["word", "name", "stage", "layer"] = "word"
    part: str | int | slice = body
    if body.startswith("name:"):
        kind, part = "name", body.removeprefix("name:").strip()
    elif match := _ONE.fullmatch(body):
        kind, part = _kind(match), int(match["number"])
    elif match := _SOME.fullmatch(body):
        kind, part = _kind(match), _range(match)
    if part == "" or (kind == "word" and body not in WORDS):
        raise ModelError(f"'{body}' is no selector", allowed=FORMS, remedy=_suggestion(body))
    return Selector(text=body, negated=negated, kind=kind, part=part)


def _kind(match: re.Match[str]) -> Literal["stage", "layer"]:
    return "stage" if match["kind"] == "stage" else "layer"


def _range(match: re.Match[str]) -> slice:
    start, stop = (int(text) if text else None for text in (match["start"], match["stop"]))
    first = start or 0
    if stop == 0 or (stop is not None and (first < 0) == (stop < 0) and first >= stop):
        raise ModelError(
            f"'{match[0]}' ends before it begins",
            allowed="a range as in Python, such as stages[1:3] for the stages 1 and 2",
        )
    return slice(start, stop)


def _suggestion(text: str) -> str | None:
    """Give a question with close selectors, or None for an empty text."""
    close = difflib.get_close_matches(text.lower(), WORDS, n=1)
    if match := _ALMOST_SOME.fullmatch(text):
        close = [f"{kind}s[{match['start']}:{match['stop']}]" for kind in _close_kinds(match)]
    elif match := _ALMOST_ONE.fullmatch(text):
        close = [f"{kind}.{match['number']}" for kind in _close_kinds(match)]
    if text and (not close or re.search(r"[\d.*]", text)) and not re.search(r"[\[\]:]", text):
        close = [*close, f"name:{text}"]
    return f"did you mean {' or '.join(repr(word) for word in close)}?" if close else None


def _close_kinds(match: re.Match[str]) -> list[str]:
    return difflib.get_close_matches(match["kind"].lower(), ("stage", "layer"), n=1)
