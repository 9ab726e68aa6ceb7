"""What a head took over from its base's, and what became of the classes that the base knew."""

from collections.abc import Iterator

from hftune.core import HeadStart, OldClasses
from hftune.describe.description import Cell, Table, listed

_SHOWN = 20


def head_start_facts(start: HeadStart | None, *, num_classes: int) -> dict[str, Cell]:
    """Say for which classes a head has rows of its base's; nothing where it has none."""
    if start is None:
        return {}
    names = [new if new == old else f"{new} from '{old}'" for new, old in start.kept.items()]
    rest = num_classes - len(names)
    others = f"; {rest} more from the mean of its {start.num_base} rows" if rest else ""
    return {"head starts": f"as the base's for {len(names)}: {listed(names)}{others}"}


def old_class_tables(results: tuple[OldClasses, ...]) -> Iterator[Table]:
    """Give a table for each split in which the base was asked."""
    for found in results:
        images = sum(one.images for one in found.classes.values())
        rows = tuple(
            (name, one.images, one.before, one.after, one.to_new)
            for name, one in found.classes.items()
        )
        yield Table(
            title=f"classes of the base, {found.split}",
            columns=("class", "images", "base", "now", "taken for new classes"),
            rows=(("all of them", images, found.before, found.after, None), *rows),
            shown=_SHOWN,
        )
