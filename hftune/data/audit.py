"""The leak audit: images of val and test that training has too, and images that training repeats.

Near duplicates are searched once per machine: the answer is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hftune import files
from hftune.cache_folders import cache_root
from hftune.core import AuditFacts, LeakFacts
from hftune.data.duplicates import (
    MOST_BITS,
    MOST_COLOUR_DIFFERENCE,
    MOST_DIFFERENCE,
    MOST_RELATIVE_DIFFERENCE,
    earlier_exact_twins,
    exact_twins,
    near_twins,
)
from hftune.data.fingerprints import Fingerprints
from hftune.data.order import Positions
from hftune.errors import LeakError
from hftune.recipe.schema import AuditRecipe
from hftune.units import parse_span

logger = logging.getLogger(__name__)

_SHOWN = 5
_THRESHOLDS = (MOST_BITS, MOST_DIFFERENCE, MOST_RELATIVE_DIFFERENCE, MOST_COLOUR_DIFFERENCE)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The images of one split: fingerprints, what each is called, and its label."""

    name: str
    prints: Fingerprints
    key: Callable[[int], str]
    labels: Sequence[Hashable]


@dataclass(frozen=True, kw_only=True)
class _Leak:
    """The training image that each image of a split is the same as, or looks like; else -1."""

    split: Audited
    exact: Positions
    near: Positions

    @property
    def facts(self) -> LeakFacts:
        exact, near = int((self.exact >= 0).sum()), int((self.near >= 0).sum())
        return LeakFacts(
            split=self.split.name, images=len(self.split.prints), exact=exact, near=near
        )


def audit(splits: Mapping[str, Audited], rule: AuditRecipe) -> AuditFacts:
    """Compare the images of all splits with those of "train"; log what is found.

    Raises LeakError where training has more of another split than the rule allows.
    """
    train = splits["train"]
    leaks = [_leak(one, train, rule) for name, one in splits.items() if name != "train"]
    most = parse_span(rule.most).value / 100
    over = [leak for leak in leaks if leak.facts.share > most]
    if over and rule.leaks == "stop":
        raise _leak_error(over, train, rule)
    for leak in leaks:
        if leak.facts.share > 0:
            level = logging.WARNING if leak.facts.share > most else logging.INFO
            logger.log(level, "%s", _describe(leak, train))
    repeated = earlier_exact_twins(train.prints)
    conflicting = _conflicts(train, repeated)
    _report_repeated(train, repeated, conflicting)
    return AuditFacts(
        near=rule.near,
        images=len(train.prints),
        repeated=int((repeated >= 0).sum()),
        conflicting=len(conflicting),
        leaks=tuple(leak.facts for leak in leaks),
    )


def _leak(split: Audited, train: Audited, rule: AuditRecipe) -> _Leak:
    exact = exact_twins(split.prints, train.prints)
    near = np.full(len(exact), -1, dtype=np.int64)
    if rule.near:
        near = _remembered_near_twins(split.prints, train.prints, exact)
    return _Leak(split=split, exact=exact, near=near)


def _remembered_near_twins(of: Fingerprints, among: Fingerprints, exact: Positions) -> Positions:
    """Search near twins, or take them from the cache. One process searches, the others wait."""
    record = cache_root() / "audit" / f"{_digest(of, among)}.json"
    with files.disk_errors(record), files.locked(record.with_suffix(".lock")):
        if record.exists():
            return np.array(json.loads(record.read_text(encoding="utf-8")), dtype=np.int64)
        found = near_twins(of, among, exact)
        files.write_json(record, found.tolist())
    return found


def _digest(of: Fingerprints, among: Fingerprints) -> str:
    total = hashlib.sha256(json.dumps([len(of), len(among), *_THRESHOLDS]).encode())
    for prints in (of, among):
        for values in (prints.digests, prints.hashes, prints.copies, prints.colours):
            total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


def _conflicts(train: Audited, repeated: Positions) -> list[int]:
    """Give the rows that repeat an earlier image under another label."""
    return [
        row
        for row, twin in enumerate(repeated.tolist())
        if twin >= 0 and train.labels[row] != train.labels[twin]
    ]


def _report_repeated(train: Audited, repeated: Positions, conflicting: Sequence[int]) -> None:
    rows = conflicting or [int(row) for row in np.flatnonzero(repeated >= 0)]
    if not rows:
        return
    pairs = [f"{train.key(row)} = {train.key(int(repeated[row]))}" for row in rows[:_SHOWN]]
    logger.warning(
        "%d of the %d training images have the pixels of an earlier one, %d of them under another"
        " label:\n%s",
        *(int((repeated >= 0).sum()), len(train.prints), len(conflicting), "\n".join(pairs)),
    )


def _leak_error(over: Sequence[_Leak], train: Audited, rule: AuditRecipe) -> LeakError:
    names = " and ".join(f"'{leak.split.name}'" for leak in over)
    counted = "near duplicates counted" if rule.near else "near duplicates not counted"
    return LeakError(
        f"too many images of {names} are in training as well",
        found="\n".join(_describe(leak, train) for leak in over),
        allowed=f"at most {rule.most} of a split (data.audit.most), {counted}",
        remedy="take them out of one of the two; to go on all the same: data.audit.leaks=warn",
    )


def _describe(leak: _Leak, train: Audited) -> str:
    """Say how many images there are, and name the first."""
    facts = leak.facts
    lines = [
        f"{facts.exact + facts.near} of the {facts.images} images of '{facts.split}'"
        f" ({facts.share:.1%}) are in training as well: {facts.exact} with the same pixels,"
        f" {facts.near} nearly the same"
    ]
    twins = np.maximum(leak.exact, leak.near)
    rows = np.flatnonzero(twins >= 0)
    for row in rows[:_SHOWN]:
        sign = "=" if leak.exact[row] >= 0 else "~"
        lines.append(f"{leak.split.key(int(row))} {sign} {train.key(int(twins[row]))}")
    if len(rows) > _SHOWN:
        lines.append(f"and {len(rows) - _SHOWN} more")
    return "\n".join(lines)
