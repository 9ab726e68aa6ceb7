"""A dataset repository on the Hub at one commit, or a folder that is laid out like one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hftune import files
from hftune.core import DataFacts, RepoRef
from hftune.data.builder import open_builder, prepare, refuse_outside
from hftune.data.columns import check_columns, kind_of
from hftune.data.hub_files import fetch_files
from hftune.data.part import Found, Part
from hftune.errors import DataError
from hftune.hub.card import read_license
from hftune.hub.client import HubSettings
from hftune.hub.ref import parse_ref

if TYPE_CHECKING:
    from datasets import DatasetBuilder, Features

AUTO = "auto"
_USUAL_NAMES = {"val": ("validation", "val", "valid", "dev"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A data set that lies here, whole; `ref` has its folder, and its commit if it has one."""

    ref: RepoRef
    builder: DatasetBuilder


def hub_dataset(
    *,
    repo: str,
    revision: str | None = None,
    config: str | None = None,
    image: str = "image",
    label: str = "label",
    train: str = "train",
    val: str | None = AUTO,
    test: str | None = AUTO,
) -> Found:
    """A dataset repository: "org/name", "org/name@revision", or a local copy "./folder".

    `train`, `val` and `test` name its splits. auto takes the usual names where there are such
    splits (validation, val, valid or dev; test); null leaves a split out.
    """
    opened = open_repository(parse_ref(repo, kind="dataset", revision=revision), config)
    ref, builder = opened.ref, opened.builder
    assert ref.folder is not None
    chosen = _choose_splits({"train": train, "val": val, "test": test}, builder, repo)
    origin = _origin(ref, builder)
    parts: dict[str, Part] = {}
    for name, split in chosen.items():
        rows = builder.as_dataset(split=split)
        check_columns(rows, (image, label), where=f"{repo}, split '{split}'")
        _check_image_column(rows.features, image, where=repo)
        parts[name] = Part(table=rows, image=image, label=label, name=split, origin=origin)
    facts = DataFacts(
        repo_id=ref.repo_id,
        commit=ref.commit,
        config=builder.config.name,
        license=read_license(ref.folder),
        path=repo if ref.repo_id is None else None,
    )
    return Found(parts=parts, facts=facts)


def open_repository(
    ref: RepoRef, config: str | None, *, settings: HubSettings | None = None
) -> Opened:
    """Bring one configuration here and into the tables of `datasets`.

    Raises HubError and its kin, DataError, DiskError.
    """
    where = ref.repo_id or str(ref.folder)
    if ref.repo_id is not None:
        ref = fetch_files(ref, config, settings=settings).ref
    assert ref.folder is not None
    builder = open_builder(ref.folder, config, where=where)
    if ref.repo_id is not None:
        refuse_outside(builder, ref.folder, where=where)
    prepare(builder, where=where)
    return Opened(ref=ref, builder=builder)


def _choose_splits(
    wanted: Mapping[str, str | None], builder: DatasetBuilder, repo: str
) -> dict[str, str]:
    """Give the repository's split for each of ours. Raises DataError for one that is absent."""
    there = [str(name) for name in builder.info.splits or ()]
    chosen: dict[str, str] = {}
    for name, split in wanted.items():
        if split == AUTO:
            split = next((usual for usual in _USUAL_NAMES[name] if usual in there), None)
        if split is None:
            continue
        if split not in there:
            raise DataError(
                f"the data set has no split '{split}'",
                allowed=", ".join(there),
                where=f"{repo}, configuration '{builder.config.name}'",
                remedy=f"set data.source.{name} to one of these",
            )
        chosen[name] = split
    return chosen


def _check_image_column(features: Features, image: str, *, where: str) -> None:
    from datasets import Image  # an optional dependency, slow to import

    if isinstance(features[image], Image):
        return
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    raise DataError(
        f"the column '{image}' holds no images",
        found=f"{image} ({kind_of(features[image])})",
        allowed=", ".join(images) or "a column of images, of which this data set has none",
        where=where,
        remedy="name the column of images with data.source.image",
    )


def _origin(ref: RepoRef, builder: DatasetBuilder) -> str:
    """Identify the content: repository, commit and configuration, or a folder's files."""
    if ref.repo_id is not None:
        return f"{ref.repo_id}@{ref.commit} {builder.config.name}"
    folder = ref.folder
    assert folder is not None
    content = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return f"folder {files.digest_json(content)} {builder.config.name}"
