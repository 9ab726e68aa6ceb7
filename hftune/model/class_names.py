"""Which classes the rows of a base's head stand for, and which of them new classes are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from timm.data import ImageNetInfo, infer_imagenet_subset

from hftune.model.hub_config import HubConfig

# What timm's names of ImageNet weights hold: resnet50.a1_in1k, vit_tiny_patch16_224.augreg_in21k.
_IMAGENET_TAGS = ("in1k", "in12k", "in21k", "in22k", "imagenet")
# A number is no name: class 3 of one data set is not class 3 of another.
_NUMBERED = re.compile(r"((class|label|category) ?)?\d+")
_GAPS = re.compile(r"[\s_-]+")


def class_names(config: HubConfig) -> tuple[str, ...]:
    """Give the class names of a head in the order of its rows; () where they are not known.

    They are those that the configuration states, or ImageNet's for weights that are ImageNet's by
    name and class count: a class count alone proves nothing. Two classes of one word are told apart
    by their synset.
    """
    if config.label_names:
        return config.label_names
    info = _imagenet(config)
    if info is None:
        return ()
    words = {synset: info.label_name_to_description(synset) for synset in info.label_names()}
    often = Counter(words.values())
    return tuple(f"{w} ({s})" if often[w] > 1 else w for s, w in words.items())


def synsets(config: HubConfig) -> tuple[str, ...]:
    """Give the WordNet ids of a head's rows; () where its classes are not ImageNet's."""
    info = None if config.label_names else _imagenet(config)
    return () if info is None else tuple(info.label_names())


def base_rows(
    base: Sequence[str], names: Sequence[str], *, synsets: Sequence[str] = ()
) -> tuple[int | None, ...]:
    """Give for each class of `names` the row of the head of `base` that stands for it, if one does.

    `base` are the classes of the rows, () where they are not known. The same names, letter by
    letter, are the same classes. Otherwise a class is known by its name, by ImageNet's synset
    (n02123045), or by one of several names with commas between them ("tabby, tabby cat"), on either
    side. Letters' case, spaces, hyphens and underscores make no difference; names that are numbers,
    and those that several rows answer to, say nothing.
    """
    if len(set(base)) == len(base) and set(base) == set(names):
        place = {name: row for row, name in enumerate(base)}
        return tuple(place[name] for name in names)
    known = _answers([*enumerate(base), *enumerate(synsets)])
    parts = _answers([(row, part) for row, name in enumerate(base) for part in name.split(",")])
    return tuple(_row(name, known, parts) for name in names)


def _row(name: str, known: Mapping[str, int], parts: Mapping[str, int]) -> int | None:
    if _folded(name) in known:
        return known[_folded(name)]
    found = {parts[part] for part in map(_folded, name.split(",")) if part in parts}
    return found.pop() if len(found) == 1 else None


def _answers(rows: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Give the row of each name, in the form in which names are compared, if it has but one."""
    owners: dict[str, set[int]] = {}
    for row, name in rows:
        owners.setdefault(_folded(name), set()).add(row)
    return {
        name: min(found)
        for name, found in owners.items()
        if len(found) == 1 and name and not _NUMBERED.fullmatch(name)
    }


def _folded(name: str) -> str:
    return _GAPS.sub(" ", unicodedata.normalize("NFKC", name)).strip().casefold()


def _imagenet(config: HubConfig) -> ImageNetInfo | None:
    tag = (config.tag or config.hub_id or "").rpartition(".")[2].lower()
    if not any(part in tag for part in _IMAGENET_TAGS):
        return None
    subset = infer_imagenet_subset({"num_classes": config.num_classes})
    return None if subset is None else ImageNetInfo(subset)
