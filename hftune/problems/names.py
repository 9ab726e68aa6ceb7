"""Class names -> positions in a label space."""

import difflib
from collections.abc import Sequence

from hftune.core import LabelSpace
from hftune.errors import DataError


def positions(names: Sequence[str], labels: LabelSpace) -> list[int]:
    """Give the position of each name. Raises DataError for a name that is no class."""
    index = labels.index
    for name in names:
        if name not in index:
            close = difflib.get_close_matches(name, labels.names, n=1)
            raise DataError(
                f"'{name}' is none of the model's classes",
                found=repr(name),
                allowed=", ".join(labels.names),
                remedy=f"did you mean '{close[0]}'?" if close else None,
            )
    return [index[name] for name in names]
