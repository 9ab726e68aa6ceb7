"""A folder that is laid out like a data set repository, through the `datasets` library."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hftune import files
from hftune.data.folder_source import SUFFIXES
from hftune.data.table_source import words_of
from hftune.errors import DataError

if TYPE_CHECKING:
    from datasets import DatasetBuilder


def open_builder(folder: Path, config: str | None, *, where: str) -> DatasetBuilder:
    """Find out how the folder is to be read; its data files are named, not opened.

    `where` stands for the folder in messages. Raises DataError.
    """
    from datasets import load_dataset_builder  # an optional dependency, slow to import

    with _data_errors(folder, where):
        try:
            return load_dataset_builder(str(folder), name=config)
        except ValueError:
            _check_config(folder, config, where)
            raise


def prepare(builder: DatasetBuilder, *, where: str) -> None:
    """Write the builder's tables into the cache of `datasets`, where they are not there yet.

    Raises DataError for content that cannot be read, DiskError where the cache has no room.
    """
    place = Path(builder.cache_dir)
    # Tables and archives are written there once more; of single images only the paths.
    if not place.is_dir():
        paths = [Path(path) for path in data_files(builder)]
        needed = sum(
            path.stat().st_size
            for path in paths
            if path.suffix.lower() not in SUFFIXES and path.is_file()
        )
        files.check_room(place, needed=needed, purpose="the tables of this data set")
    with _data_errors(Path(builder.base_path), where):
        builder.download_and_prepare()


def data_files(builder: DatasetBuilder) -> list[str]:
    """Give the paths of all files that the builder will read."""
    found = builder.config.data_files or {}
    return [path for of_split in found.values() for path in of_split]


def refuse_outside(builder: DatasetBuilder, folder: Path, *, where: str) -> None:
    """Raise DataError where a repository's own text names data files outside of its folder."""
    homes = (folder.absolute(), folder.resolve())
    places = [path.rpartition("::")[2] for path in data_files(builder)]
    outside = [
        place
        for place in places
        if not any(Path(os.path.normpath(place)).is_relative_to(home) for home in homes)
    ]
    if outside:
        raise DataError(
            "this repository names data files that lie elsewhere",
            found=", ".join(outside[:4]),
            allowed="files of the repository itself",
            where=where,
            remedy="choose another configuration with data.source.config, or another repository",
        )


@contextlib.contextmanager
def _data_errors(folder: Path, where: str) -> Iterator[None]:
    """Turn what `datasets` raises about a folder's content into DataError; a full disk stays."""
    from datasets import config as settings  # an optional dependency, slow to import
    from datasets.exceptions import DatasetsError

    place = Path(settings.HF_DATASETS_CACHE)
    try:
        yield
    except (DatasetsError, ValueError, OSError, ImportError) as error:  # a reader not installed
        cause: BaseException | None = error
        while cause is not None:
            full = files.as_disk_error(cause, place) if isinstance(cause, OSError) else None
            if full is not None:
                raise full from error
            cause = cause.__cause__
        raise DataError(
            "this repository cannot be read as a data set",
            found=words_of(error).replace(str(folder), where),
            where=where,
            remedy="correct data.source; 'found' is what the datasets library says",
        ) from error


def _check_config(folder: Path, config: str | None, where: str) -> None:
    """Raise DataError where a repository with several configurations does not have this one."""
    from datasets import get_dataset_config_names  # an optional dependency, slow to import

    names = get_dataset_config_names(str(folder))
    if config not in names:
        raise DataError(
            "the data set has several configurations, and none is named"
            if config is None
            else f"the data set has no configuration '{config}'",
            allowed=", ".join(sorted(names)),
            where=where,
            remedy="name one of these with data.source.config",
        )
