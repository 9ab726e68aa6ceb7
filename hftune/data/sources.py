"""Data by name: the table SOURCES, and from a recipe's data to splits under one label space.

A data source is a function (*, options) -> Found: a part for "train" and, where there are any, for
"val" and "test". What is not given is carved from the training part here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hftune.components import bind
from hftune.core import AuditFacts, BadImage, LabelSpace, ProblemName, Split, Splits
from hftune.data.audit import Audited, audit
from hftune.data.columns import check_columns
from hftune.data.folder_source import image_folder
from hftune.data.hub_source import hub_dataset
from hftune.data.labels import (
    RowLabels,
    check_number,
    count_classes,
    encode,
    missing_classes,
    missing_error,
    order_names,
    read_labels,
)
from hftune.data.numbers import (
    RowNumbers,
    check_spread,
    encode_numbers,
    read_numbers,
    spread_of,
    warn_of_unit,
)
from hftune.data.order import Positions
from hftune.data.own_source import as_found
from hftune.data.part import Found, Part
from hftune.data.rows import PartRows, Targets, digest_rows
from hftune.data.scan import Scan, bad_images_error, describe, scanned, warn_of_frames
from hftune.data.splits import Strata, hold_out, quantile_bins, stratify
from hftune.data.table_source import table
from hftune.errors import DataError, MissingPackageError
from hftune.recipe.schema import DataRecipe
from hftune.units import parse_span

logger = logging.getLogger(__name__)

# Hold-outs follow the target by tenths.
_MOST_BINS = 10

SOURCES: Mapping[str, Callable[..., Found]] = {
    "hub_dataset": hub_dataset,
    "image_folder": image_folder,
    "table": table,
}


@dataclass(frozen=True, kw_only=True)
class _Readable:
    """A part's rows whose images can be read, with their class names or numbers."""

    part: Part
    scan: Scan
    positions: Positions
    labels: RowLabels | RowNumbers

    def at(self, rows: Positions) -> _Readable:
        return replace(self, positions=self.positions[rows], labels=self.labels.at(rows))

    def key(self, row: int) -> str:
        """Name one row for a message."""
        return self.part.key(int(self.positions[row]))


def open_splits(data: DataRecipe, *, problem: ProblemName) -> Splits:
    """Open a recipe's data: train, val and perhaps test, checked, under one label space.

    The first opening decodes every image once. Side effect: fills caches. Raises DataError for data
    that cannot be used, LeakError where training has too much of another split, HubError and its
    kin where the Hub cannot give it.
    """
    found = find_data(data)
    readable = {
        name: _drop_unreadable(part, _read(part, problem), data)
        for name, part in found.parts.items()
    }
    left_out = [bad for name, one in readable.items() for bad in _left_out(name, one)]
    space = _label_space(readable["train"].labels, problem, where=data.source.name)
    rules = _carve_absent(readable, data)
    audited = _audit(readable, data)
    targets = {name: _encode(one.labels, space) for name, one in readable.items()}
    labels = _with_facts(space, targets["train"])
    splits = {
        name: _split(name, one, targets[name], labels, data) for name, one in readable.items()
    }
    return Splits(
        train=splits["train"],
        val=splits["val"],
        test=splits.get("test"),
        labels=labels,
        facts=replace(found.facts, split_rule="; ".join(rules), audit=audited),
        left_out=tuple(left_out),
    )


def find_data(data: DataRecipe) -> Found:
    """Run a recipe's data source. Raises MissingPackageError without the `datasets` library."""
    source = bind(data.source, SOURCES, family="data source")
    try:
        found = as_found(source(), source=data.source.name)
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise MissingPackageError(
            "reading data needs a package that is not installed",
            found="no package 'datasets'",
            remedy="pip install datasets",
        ) from error
    if "train" not in found.parts:
        raise DataError("the data source gives no training images", where=data.source.name)
    return found


def _read(part: Part, problem: ProblemName) -> RowLabels | RowNumbers:
    """Read the label column as the problem needs it."""
    return read_numbers(part) if problem == "regression" else read_labels(part, problem)


def _label_space(labels: RowLabels | RowNumbers, problem: ProblemName, *, where: str) -> LabelSpace:
    """Give what all training rows say is to be told apart, or to be given as a number."""
    if isinstance(labels, RowNumbers):
        check_spread(labels)
        return LabelSpace(names=(labels.column,), numeric=True)
    names = order_names(labels)
    check_number(names, problem, where=where)
    return LabelSpace(names=names, multi=problem == "multi_label")


def _encode(labels: RowLabels | RowNumbers, space: LabelSpace) -> Targets:
    return encode_numbers(labels) if isinstance(labels, RowNumbers) else encode(labels, space)


def _with_facts(space: LabelSpace, train: Targets) -> LabelSpace:
    """Add what the training targets are like."""
    if space.numeric:
        spread = spread_of(train)
        warn_of_unit(space.names[0], spread)
        return replace(space, spread=spread, num_examples=len(train))
    return replace(space, counts=count_classes(train, space.size), num_examples=len(train))


def _drop_unreadable(part: Part, labels: RowLabels | RowNumbers, data: DataRecipe) -> _Readable:
    """Leave out, or stop at, images that cannot be read, as the recipe says."""
    scan = scanned(part)
    warn_of_frames(part, scan)
    bad = scan.unreadable
    if bad and data.on_bad_image == "stop":
        raise bad_images_error(part, bad)
    if bad:
        logger.warning(
            "left out %d of the %d images of '%s', which cannot be read:\n%s",
            *(len(bad), len(part), part.name, describe(part, bad)),
        )
    positions = np.array([p for p in range(len(part)) if p not in bad], dtype=np.int64)
    return _Readable(part=part, scan=scan, positions=positions, labels=labels.at(positions))


def _left_out(name: str, readable: _Readable) -> Iterator[BadImage]:
    part = readable.part
    for position, reason in sorted(readable.scan.unreadable.items()):
        yield BadImage(split=name, row=position, name=part.key(position), reason=reason)


def _carve_absent(readable: dict[str, _Readable], data: DataRecipe) -> list[str]:
    """Take the splits that the source does not have out of the training rows, and say how.

    Side effect: changes `readable`. Raises DataError where nothing is left to validate on.
    """
    rules: list[str] = []
    for stream, (name, text) in enumerate((("test", data.test), ("val", data.val))):
        share = parse_span(text).value / 100
        if name in readable:
            rules.append(f"{name}: the source's own '{readable[name].part.name}'")
        elif share > 0:
            train = readable["train"]
            strata = _strata(train, data, share=share)
            held = hold_out(strata, share, seed=data.split_seed, stream=stream)
            rest = np.setdiff1d(np.arange(len(train.positions)), held)
            readable["train"], readable[name] = train.at(rest), train.at(held)
            target = "target" if isinstance(train.labels, RowNumbers) else "label"
            by = ", ".join((target, *data.stratify))
            rules.append(
                f"{name}: {len(held)} of {len(train.positions)} training images ({text}),"
                f" stratified by {by}, seed {data.split_seed}"
            )
    if "val" not in readable:
        raise DataError(
            "there are no images to validate on",
            found="a source without a validation split, and data.val=0%",
            remedy="keep some of the training images for it: data.val=10%",
        )
    return rules


def _audit(readable: Mapping[str, _Readable], data: DataRecipe) -> AuditFacts | None:
    """Compare the images of the splits as the recipe says; None where it says not to."""
    if data.audit.leaks == "off":
        return None
    splits = {
        name: Audited(
            name=name,
            prints=one.scan.fingerprints.at(one.positions),
            key=one.key,
            labels=_plain_labels(one.labels),
        )
        for name, one in readable.items()
    }
    return audit(splits, data.audit)


def _plain_labels(labels: RowLabels | RowNumbers) -> list[Hashable]:
    """Give the label of each row as a value that equals another where the labels do."""
    if isinstance(labels, RowNumbers):
        return list(labels.values.tolist())
    return [frozenset(names) for names in labels.names]


def _strata(train: _Readable, data: DataRecipe, *, share: float) -> Strata:
    """Give the strata of the training rows; numbers by their bin, one for each row held out."""
    table = train.part.table.with_format(None)
    check_columns(table, data.stratify, where="data.stratify")
    columns = []
    for name in data.stratify:
        values = table[name][:]
        columns.append([str(values[row]) for row in train.positions])
    if isinstance(train.labels, RowNumbers):
        num_bins = min(_MOST_BINS, max(1, round(share * len(train.positions))))
        return stratify(quantile_bins(train.labels.values, num_bins).tolist(), columns)
    is_single = all(len(names) == 1 for names in train.labels.names)
    classes = [names[0] if is_single else tuple(sorted(names)) for names in train.labels.names]
    return stratify(classes, columns)


def _split(
    name: str, readable: _Readable, targets: Targets, labels: LabelSpace, data: DataRecipe
) -> Split:
    """Give one split. Raises DataError, or warns, where a class has no example in it."""
    missing = () if labels.numeric else missing_classes(targets, labels)
    if missing:
        error = missing_error(name, missing, labels)
        if data.missing_classes == "stop":
            raise error
        logger.warning("%s: %s", error.problem, error.found)
    rows = PartRows(readable.part, readable.positions, targets)
    return Split(name=name, rows=rows, labels=labels, digest=digest_rows(rows, labels))
