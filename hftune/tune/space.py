"""What is searched: settings of a recipe, each with a range or a choice of values, read from text.

optim.lr=log:1e-5..1e-2       a range, drawn evenly over its logarithm
optim.layer_decay=0.6..0.9    a range
freeze.stages=0..3            whole numbers, where the setting takes no others
train.length=4..12 epochs     a range with a unit; whole numbers where both ends are
train.batch_size=16|32|64     a choice
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hftune.errors import Problem, RecipeError
from hftune.recipe.overrides import parse_override, split_override
from hftune.recipe.read import Node, dotted, plain, read_file, read_value

Value: TypeAlias = str | int | float

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(
    rf"(?P<log>log:)?\s*(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})(?P<unit>\s*(?:%|[A-Za-z]+))?"
)
_MEANT_AS_RANGE = re.compile(r"log:|[+-]?\.?\d.*\.\.")
_WHOLE = re.compile(r"[+-]?\d+")
_DIGITS = 4  # significant ones of a drawn number: no result depends on more

_FORM = "write a range as 0.6..0.9, log:1e-5..1e-2 or '4..12 epochs', a choice as 16|32|64"
_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


@dataclass(frozen=True, kw_only=True)
class Range:
    """A setting that takes numbers from `low` to `high`, both included, with `unit` behind them.

    `is_whole` leaves whole numbers alone; `is_log` draws evenly over the logarithm.
    """

    setting: str
    low: float
    high: float
    unit: str
    is_log: bool
    is_whole: bool
    place: str

    def __str__(self) -> str:
        low, high = (self.plain_number(end) for end in (self.low, self.high))
        return f"{'log:' if self.is_log else ''}{low}..{high}{self.unit}"

    @property
    def ends(self) -> tuple[str, str]:
        """The texts of the lowest and the highest value."""
        return self.text(self.low), self.text(self.high)

    def number(self, drawn: float) -> float | int:
        """Give the number that a drawn one stands for: rounded, and inside the range."""
        if self.is_whole:
            return int(drawn)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), self.low), self.high)

    def text(self, drawn: float) -> str:
        """Give a drawn number as the setting's value."""
        return self.plain_number(self.number(drawn)) + self.unit

    def plain_number(self, number: float) -> str:
        """Give a number as short as it reads back the same."""
        return str(int(number)) if self.is_whole else f"{number!r}".removesuffix(".0")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A setting that takes one of several values, each as the text of an override."""

    setting: str
    texts: tuple[str, ...]
    place: str

    def __str__(self) -> str:
        return "|".join(self.texts)


Dimension: TypeAlias = Range | Choice
Space: TypeAlias = tuple[Dimension, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the words after a recipe ask for: fixed overrides, and the settings to search."""

    overrides: tuple[str, ...]
    space: Space


def read_words(words: Sequence[str]) -> Asked:
    """Tell fixed overrides from searched settings; a word may also name a YAML file of both.

    Raises RecipeError with every word that cannot be read, and every setting that is given twice.
    """
    overrides: list[str] = []
    space: list[Dimension] = []
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for text, place in _spread(words, problems):
        try:
            setting, dimension = _read(text, place)
        except RecipeError as error:
            problems.extend(_at(place, error))
            continue
        if setting in places:
            twice = f"given twice; {places[setting]} gives it before"
            problems.append(Problem(setting=setting, place=place, text=twice))
        places[setting] = place
        if dimension is None:
            overrides.append(text)
        else:
            space.append(dimension)
    if problems:
        raise RecipeError("the space", problems)
    return Asked(overrides=tuple(overrides), space=tuple(space))


def _spread(words: Sequence[str], problems: list[Problem]) -> list[tuple[str, str]]:
    """Give every 'setting=value' with its place, those of files among them."""
    found: list[tuple[str, str]] = []
    for word in words:
        if "=" in word or Path(word).suffix not in (".yaml", ".yml"):
            found.append((word, "command line"))
            continue
        try:
            root = read_file(Path(word))
        except RecipeError as error:
            problems.extend(error.problems)
            continue
        assert isinstance(root.value, Mapping)
        found += [(f"{key}={_as_text(node)}", node.place) for key, node in root.value.items()]
    return found


def _as_text(node: Node) -> str:
    """Give a file's value as the command line has it; a list is a choice."""
    if isinstance(node.value, tuple):
        return "|".join(_spelled(plain(item)) for item in node.value)
    return node.value if isinstance(node.value, str) else _spelled(plain(node))


def _spelled(value: object) -> str:
    """Give a value as an override's text that reads back the same."""
    if isinstance(value, str) and "|" not in value and plain(read_value(value, "")) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _read(text: str, place: str) -> tuple[str, Dimension | None]:
    """Give the setting of one word and, where it is searched, how. Raises RecipeError."""
    head, _, value = split_override(text)
    texts = _split(value)
    found = _RANGE.fullmatch(value.strip())
    if len(texts) < 2 and found is None:
        setting = dotted(parse_override(text)[0])
        if _MEANT_AS_RANGE.match(value.strip()):
            raise _problem(setting, f"{value!r} is no range; {_FORM}")
        return setting, None
    setting = dotted(parse_override(f"{head}={texts[0]}")[0])
    if found is None:
        return setting, _choice(setting, texts, place)
    return setting, _range(setting, found, place)


def _choice(setting: str, texts: Sequence[str], place: str) -> Choice:
    if "" in texts or len(set(texts)) < len(texts):
        what = "a value is empty" if "" in texts else "a value is listed twice"
        raise _problem(setting, f"{what} in {'|'.join(texts)}; {_FORM}")
    return Choice(setting=setting, texts=tuple(texts), place=place)


def _range(setting: str, found: re.Match[str], place: str) -> Range:
    low, high, is_log = float(found["low"]), float(found["high"]), found["log"] is not None
    if low >= high:
        raise _problem(setting, f"the lower end of {found[0]} must be below the upper one")
    if is_log and low <= 0:
        raise _problem(setting, f"{found[0]} has no logarithm at its lower end; begin above 0")
    ends = (found["low"], found["high"])
    return Range(
        setting=setting,
        low=low,
        high=high,
        unit=found["unit"] or "",
        is_log=is_log,
        is_whole=all(_WHOLE.fullmatch(end) for end in ends),
        place=place,
    )


def _split(value: str) -> list[str]:
    """Split at every '|' that is in no quotes and no brackets."""
    parts, depth, quote = [""], 0, ""
    for letter in value:
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        else:
            depth += _BRACKETS.get(letter, 0)
        if letter == "|" and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _at(place: str, error: RecipeError) -> list[Problem]:
    return [
        Problem(setting=problem.setting, place=place, text=problem.text)
        for problem in error.problems
    ]


def _problem(setting: str, text: str) -> RecipeError:
    return RecipeError("the space", [Problem(setting=setting, place="", text=text)])
