"""What became of the classes that the base told apart already. No torch, no Accelerate."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OldClass:
    """One class of the base: how well it was told `before` the first step and `after` the last.

    With one label per image both are recall, the share of its `images` that are taken for it;
    `to_new` is the share that is now taken for a class that the base did not have. With several
    labels both are F1 at one half, and `to_new` is 0.
    """

    images: int
    before: float
    after: float
    to_new: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OldClasses:
    """The classes of the base in one split, by their names of today.

    `before` and `after` are the share of right answers over all their images together, with several
    labels the mean of F1. `num_new` counts the classes that came in. A class without images is not
    listed.
    """

    split: str
    before: float
    after: float
    num_new: int
    classes: Mapping[str, OldClass]
