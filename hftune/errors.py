"""Every error a user can meet, as one small tree.

A message says what was found, what is allowed, where, and what to do next. The exit code of the
command line follows from the class: 1 a defect of ours, 2 the request is wrong, 3 the machine or
the Hub is not able, 75 stopped with a checkpoint kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST_LINE = 1_000
_MOST_PROBLEMS = 40
_WIDEST_SETTING = 60


class HftuneError(Exception):
    """Anything that ends a command with a message instead of a traceback.

    `problem` is one sentence; the other facts are optional and shown on lines of their own.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        found: str | None = None,
        allowed: str | None = None,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.found = found
        self.allowed = allowed
        self.where = where
        self.remedy = remedy
        super().__init__(problem)

    def __str__(self) -> str:
        facts = (
            ("found", self.found),
            ("allowed", self.allowed),
            ("where", self.where),
            ("do", self.remedy),
        )
        lines = [self.problem]
        for label, text in facts:
            if text is not None:
                indented = text.replace("\n", "\n" + " " * 12)
                lines.append(f"  {label + ':':<9} {indented}")
        return readable("\n".join(lines))


def readable(text: str) -> str:
    """Give `text` fit for a terminal: what steers one is spelled out, endless lines are cut.

    Names and values in a message come from files of strangers; tabs and line ends stay.
    """
    return "\n".join(_readable_line(line) for line in text.split("\n"))


def _readable_line(line: str) -> str:
    if len(line) > _LONGEST_LINE:
        line = f"{line[:_LONGEST_LINE]} ... ({len(line)} characters)"
    if line.isprintable():
        return line
    return "".join(
        letter
        if letter.isprintable() or letter == "\t"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in line
    )


class RequestError(HftuneError):
    """What was asked for is wrong; asking again unchanged would fail again."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a recipe: the dotted setting, its place and the sentence about it."""

    setting: str
    place: str
    text: str


class RecipeError(RequestError):
    """A recipe with one or more problems, all of them reported together."""

    def __init__(self, source: str, problems: Sequence[Problem], *, remedy: str | None = None):
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        super().__init__(f"{count} {noun} in {source}", remedy=remedy)
        self.args = (source, self.problems)  # what pickle builds the copy from

    def __str__(self) -> str:
        width = max((len(problem.setting) for problem in self.problems), default=0)
        width = min(width, _WIDEST_SETTING)
        lines = [self.problem, ""]
        for problem in self.problems[:_MOST_PROBLEMS]:
            lines.append(f"  {problem.setting:<{width}}    {problem.place}".rstrip())
            lines.extend("      " + line for line in problem.text.splitlines())
            lines.append("")
        if len(self.problems) > _MOST_PROBLEMS:
            lines.extend([f"  and {len(self.problems) - _MOST_PROBLEMS} more", ""])
        lines.append("Nothing was downloaded or written.")
        if self.remedy is not None:
            lines.append(self.remedy)
        return readable("\n".join(lines))


class ComponentError(RequestError):
    """A name that no table knows, code that cannot be imported, or options it does not take."""


class UnitError(RequestError, ValueError):
    """A text that is no duration, size or share."""


class DataError(RequestError):
    """A data set that cannot be used as it is."""


class LeakError(DataError):
    """Too many images of a validation or test split are in the training split as well."""


class ModelError(RequestError):
    """A backbone that cannot be built as asked."""


class WeightsError(RequestError):
    """A weight file that is missing, damaged, pickled or of another architecture."""


class PlanError(RequestError):
    """A run that cannot be carried out with this recipe, data, model and number of processes."""


class NotFiniteError(RequestError):
    """A loss or a gradient became infinite or no number at all."""


class RunFolderError(RequestError):
    """A run folder that is missing, damaged or of another recipe."""


class RefError(RequestError):
    """A text that names no repository."""


class PublishError(RequestError):
    """An artifact that must not be pushed as it is."""


class AbilityError(HftuneError):
    """The request is right; the machine or the Hub cannot carry it out."""

    exit_code = 3


class DeviceError(AbilityError):
    """The device cannot do what the recipe asks, for instance half precision."""


class MemoryShortError(AbilityError):
    """The device's memory does not hold what the recipe asks for."""


class LostProcessError(AbilityError):
    """Another process of the same run ended or fell silent."""


class DiskError(AbilityError):
    """No space left, or a folder that cannot be written."""


class PortInUseError(AbilityError):
    """Another program listens on the wanted port."""


class MissingPackageError(AbilityError):
    """An optional dependency that this command needs is not installed."""


class HubError(AbilityError):
    """The Hub did not do what was asked."""


class RepoNotFoundError(HubError):
    """No such repository or revision, or it is private and this token may not see it."""


class HubPermissionError(HubError):
    """The token is missing, unknown, or lacks the right."""


class OfflineError(HubError):
    """The Hub cannot be reached and no local copy serves."""


class PushConflictError(HubError):
    """The branch moved between reading its head and the commit."""


class Stopped(HftuneError):
    """A signal or the time budget ended the run; a checkpoint was kept."""

    exit_code = 75


class DefectError(HftuneError, AssertionError):
    """A promise of hftune's own was broken; what was asked for and the machine are right."""

    exit_code = 1
