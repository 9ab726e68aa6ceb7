"""The card's words on the classes that the base told apart already."""

from collections.abc import Sequence

from hftune.core import HeadStart, LabelSpace, OldClasses
from hftune.hub.card_table import cell, folded
from hftune.hub.card_text import split_title

_SHOWN = 8


def head_line(start: HeadStart, labels: LabelSpace) -> str:
    """Say in a line how a head began that took over rows of the base's."""
    names = [new if new == old else f"{new} from '{old}'" for new, old in start.kept.items()]
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    rest = labels.size - len(names)
    others = f"; the other {rest} began as the mean of its rows" if rest else ""
    return f"the base's rows for {len(names)} of {labels.size} classes ({shown}){others}"


def old_classes_section(found: Sequence[OldClasses], labels: LabelSpace) -> str:
    """Give the section for the last split in which the base was asked; '' where it was not."""
    if not found:
        return ""
    last = found[-1]
    images = sum(one.images for one in last.classes.values())
    rows = [["all", f"{images:,}", f"{last.before:.4f}", f"{last.after:.4f}", ""]]
    rows += [
        [
            cell(name),
            f"{one.images:,}",
            f"{one.before:.4f}",
            f"{one.after:.4f}",
            f"{one.to_new:.4f}",
        ]
        for name, one in last.classes.items()
    ]
    header = ["Class", "Images", "Base", "This model", "Taken for a new class"]
    if labels.multi or not last.num_new:
        header, rows = header[:-1], [row[:-1] for row in rows]
    measure = "F1 of each class" if labels.multi else "Share of its images that is told right"
    came = f", to which {last.num_new} came" if last.num_new else ""
    return "\n\n".join(
        [
            "## Classes of the base",
            f"The base told these {len(last.classes)} classes apart already{came}. {measure}, by "
            f"the base and by this model, {split_title(last.split)} split:",
            folded(header, rows, "all classes"),
        ]
    )
