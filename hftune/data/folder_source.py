"""Images in folders named after their classes, with or without a folder per split."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from hftune.core import DataFacts
from hftune.data.folder_table import IMAGE, LABEL, FolderTable
from hftune.data.part import Found, Part
from hftune.errors import DataError
from hftune.files import user_path

logger = logging.getLogger(__name__)

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SUFFIXES = ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp"
SUFFIXES = frozenset(_SUFFIXES.split())


def image_folder(*, path: str) -> Found:
    """Images below `path`: class folders, or a folder per split with class folders in it.

    A class is all images anywhere below its folder. Hidden files are ignored, other files counted.
    The folder is listed here rather than by `datasets`, whose own reader copies what it finds into
    its cache and would take the labels of a folder without a split from its parent's name.
    """
    root = user_path(path)
    if not root.is_dir():
        raise DataError(
            "there is no such folder of images",
            found=path,
            where=f"seen from {Path.cwd()}",
            remedy="correct data.source.path",
        )
    parts = {name: _part(name, folder, root=root) for name, folder in _split_folders(root).items()}
    return Found(parts=parts, facts=DataFacts(path=path))


def _split_folders(root: Path) -> dict[str, Path]:
    """Give the folder of each split; all is 'train' where class folders come first."""
    folders = {folder.name: folder for folder in _folders(root)}
    named = {
        split: [folders[name] for name in names if name in folders]
        for split, names in SPLIT_FOLDERS.items()
    }
    splits = {split: found[0] for split, found in named.items() if found}
    if not splits or not all(_folders(folder) for folder in splits.values()):
        return {"train": root}  # 'train' may well be a class, beside 'car' and 'plane'
    ambiguous = [folder.name for found in named.values() if len(found) > 1 for folder in found]
    others = sorted(folders.keys() - {folder.name for folder in splits.values()})
    if "train" not in splits or ambiguous:
        raise DataError(
            "it is not clear which folder holds which split",
            found=", ".join(sorted(folders)),
            allowed="train, and beside it val and test where you have them",
            where=str(root),
        )
    if others:
        logger.warning("%s: not used, beside the splits: %s", root, ", ".join(others))
    return splits


def _part(name: str, folder: Path, *, root: Path) -> Part:
    classes = [class_folder.name for class_folder in _folders(folder)]
    paths: list[str] = []
    labels: list[int] = []
    others = 0
    for label, class_name in enumerate(classes):
        images, num_others = _images(folder / class_name)
        paths.extend(images)
        labels.extend([label] * len(images))
        others += num_others
    if others:
        logger.warning("%s: not used, as they are no images: %d files", folder, others)
    if not paths:
        raise DataError(
            "there are no images in class folders here",
            found=_inventory(folder, classes),
            allowed=f"{folder}/CLASS/IMAGE, ending in {', '.join(sorted(SUFFIXES))}",
            where=str(folder),
        )
    table = FolderTable(paths=paths, labels=labels, classes=classes)
    return Part(table=table, image=IMAGE, label=LABEL, name=name, root=root.absolute())


def _folders(folder: Path) -> list[Path]:
    """Give the visible folders in a folder, sorted by name."""
    found = [entry for entry in folder.iterdir() if entry.is_dir() and _is_visible(entry.name)]
    return sorted(found, key=lambda entry: entry.name)


def _images(folder: Path) -> tuple[list[str], int]:
    """Give the absolute paths of all images below a folder, sorted, and count the other files."""
    images: list[str] = []
    others = 0
    for place, folders, names in os.walk(folder.absolute(), followlinks=True):
        folders[:] = filter(_is_visible, folders)
        for name in filter(_is_visible, names):
            if Path(name).suffix.lower() in SUFFIXES:
                images.append(os.path.join(place, name))  # noqa: PTH118  # a million times faster
            else:
                others += 1
    return sorted(images), others


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def _inventory(folder: Path, classes: Sequence[str]) -> str:
    if not classes:
        num_files = sum(1 for entry in folder.iterdir() if entry.is_file())
        return f"no folders; files: {num_files}"
    return f"folders without images: {', '.join(classes[:8])}"
