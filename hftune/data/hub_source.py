"""A dataset repository on the Hub at one commit, or a folder that is laid out like one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from hftune import files
from hftune.core import DataFacts, RepoRef
from hftune.data.part import Found, Part
from hftune.data.table_source import check_columns
from hftune.errors import DataError, HubError, OfflineError, RepoNotFoundError
from hftune.hub.card import read_license
from hftune.hub.client import ask, settings_from_environment
from hftune.hub.failure import errand_for
from hftune.hub.pull import pull, resolve_commit
from hftune.hub.ref import parse_ref

if TYPE_CHECKING:
    from datasets import DatasetBuilder, Features

T = TypeVar("T")
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
    from datasets import load_dataset_builder  # an optional dependency, slow to import

    place = str(ref.folder) if ref.repo_id is None else ref.repo_id

    def load() -> DatasetBuilder:
        builder = load_dataset_builder(place, name=config, revision=ref.commit)
        if ref.commit is None or builder.hash == ref.commit:
            builder.download_and_prepare()
        return builder

    builder = _translated(ref, load)
    if ref.commit is not None and builder.hash != ref.commit:
        # When the Hub does not answer, `datasets` goes on with the newest commit in its cache.
        raise OfflineError(
            "the Hub did not give this data set, and the cache holds another commit of it",
            found=f"commit {builder.hash}",
            allowed=f"commit {ref.commit}",
            where=place,
            remedy="run this once with the Hub in reach, or name the cached commit as revision",
        )
    return builder


def _translated(ref: RepoRef, load: Callable[[], T]) -> T:
    """Run a request of `datasets`, again after failures that pass; its errors become ours."""
    from datasets.exceptions import DatasetsError  # an optional dependency, slow to import

    settings = settings_from_environment()
    place = ref.repo_id or str(ref.folder)
    try:
        if settings.offline or ref.repo_id is None:
            return load()
        return ask(settings, errand_for(ref, "load the data set", settings.endpoint), load)
    except ConnectionError as error:
        raise OfflineError(
            "the data set is not in the cache, and the Hub cannot be reached",
            found=_words(error),
            where=place,
            remedy="run this once with the Hub in reach, in the same cache (HF_HOME)",
        ) from error
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        raise DataError(
            "this repository cannot be read as a data set",
            found=_words(error),
            where=place,
            remedy="correct data.source; the text above is from the datasets library",
        ) from error


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
        found=f"{image}: {features[image]}",
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


def _words(error: BaseException) -> str:
    """Give what a library says about a failure, from its cause where that says more."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}".strip()
