"""A dataset repository on the Hub at one commit, or a folder that is laid out like one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hftune import files
from hftune.core import DataFacts, RepoRef
from hftune.data.columns import check_columns, kind_of
from hftune.data.part import Found, Part
from hftune.data.table_source import words_of
from hftune.errors import DataError, HubError, OfflineError, RepoNotFoundError
from hftune.hub.card import read_license
from hftune.hub.client import ask, settings_from_environment
from hftune.hub.failure import errand_for, passes
from hftune.hub.pull import pull, resolve_commit
from hftune.hub.ref import parse_ref

if TYPE_CHECKING:
    from datasets import DatasetBuilder, Features

logger = logging.getLogger(__name__)

AUTO = "auto"
_USUAL_NAMES = {"val": ("validation", "val", "valid", "dev"), "test": ("test",)}


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
    ref = resolve_commit(parse_ref(repo, kind="dataset", revision=revision))
    builder = _prepared(ref, config)
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
        license=_license(ref),
        path=None if ref.folder is None else repo,
    )
    return Found(parts=parts, facts=facts)


def _prepared(ref: RepoRef, config: str | None) -> DatasetBuilder:
    """Bring one configuration into the cache of `datasets`, at the reference's commit."""
    if ref.repo_id is None:
        return _load(str(ref.folder), config, None)
    repo_id, settings = ref.repo_id, settings_from_environment()
    if not settings.offline:
        errand = errand_for(ref, "load the data set", settings.endpoint)
        try:
            builder = ask(settings, errand, lambda: _load(repo_id, config, ref.commit))
        except OfflineError as error:
            logger.warning("%s: looking for it in the cache", error.problem)
        else:
            # When the Hub does not answer, `datasets` goes on with any commit in its cache.
            if builder.hash == ref.commit:
                return builder
    return _cached(ref, config)


def _load(place: str, config: str | None, commit: str | None) -> DatasetBuilder:
    """Download and convert one configuration. Raises DataError for what is no data set."""
    from datasets import load_dataset_builder  # an optional dependency, slow to import
    from datasets.exceptions import DatasetsError

    try:
        builder = load_dataset_builder(place, name=config, revision=commit)
        if commit is None or builder.hash == commit:
            builder.download_and_prepare()
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        if passes(error):
            raise  # for whoever asks again
        if isinstance(error, ValueError):
            _check_config(place, config, commit)
        raise DataError(
            "this repository cannot be read as a data set",
            found=words_of(error),
            where=place,
            remedy="correct data.source; 'found' is what the datasets library says",
        ) from error
    return builder


def _check_config(place: str, config: str | None, commit: str | None) -> None:
    """Raise DataError where a repository with several configurations does not have this one."""
    from datasets import get_dataset_config_names  # an optional dependency, slow to import

    names = get_dataset_config_names(place, revision=commit)
    if config not in names:
        raise DataError(
            "the data set has several configurations, and none is named"
            if config is None
            else f"the data set has no configuration '{config}'",
            allowed=", ".join(sorted(names)),
            where=place,
            remedy="name one of these with data.source.config",
        )


def _cached(ref: RepoRef, config: str | None) -> DatasetBuilder:
    """Give what an earlier run left in the cache of `datasets`, of this very commit.

    Asked by name, the library itself would take the newest commit it has. Raises OfflineError.
    """
    from datasets import config as settings  # an optional dependency, slow to import
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    namespace, _, name = str(ref.repo_id).partition("/")
    home = Path(settings.HF_DATASETS_CACHE) / f"{namespace}___{camelcase_to_snakecase(name)}"
    found = sorted(home.glob(f"{config or '*'}/*/{ref.commit}"))
    if len(found) == 1:
        config_name, version, commit = found[0].parts[-3:]
        return Cache(
            repo_id=ref.repo_id,
            dataset_name=name,
            config_name=config_name,
            version=version,
            hash=commit,
        )
    if found:
        raise DataError(
            "the cache holds several configurations of this data set",
            allowed=", ".join(folder.parts[-3] for folder in found),
            where=str(ref.repo_id),
            remedy="name one with data.source.config",
        )
    raise OfflineError(
        "this commit of the data set is not in the cache, and the Hub cannot be asked",
        found=f"commit {ref.commit}" + (f", configuration '{config}'" if config else ""),
        where=f"{ref.repo_id}, {home}",
        remedy="run this once with the Hub in reach and the same cache (HF_HOME)",
    )


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
    if ref.folder is None:
        return f"{ref.repo_id}@{ref.commit} {builder.config.name}"
    folder = ref.folder
    content = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return f"folder {files.digest_json(content)} {builder.config.name}"


def _license(ref: RepoRef) -> str | None:
    """Give the licence that the repository's card states; None where it states none."""
    if ref.folder is not None:
        return read_license(ref.folder)
    try:
        card = pull(ref, files=["README.md"])
    except RepoNotFoundError:
        return None  # no card
    except HubError as error:
        logger.warning("the licence of %s is not known: %s", ref.repo_id, error.problem)
        return None
    return None if card.folder is None else read_license(card.folder)
