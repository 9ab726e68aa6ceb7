"""The recipes that come with hftune: list them, find one by name, copy one with its bases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftune.errors import RequestError
from hftune.files import is_file, write_bytes
from hftune.recipe.wording import did_you_mean

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class ShippedRecipe:
    """A recipe in the package: its name, its file and the first line of its comment."""

    name: str
    path: Path
    title: str


def shipped_folder() -> Path:
    """Give the folder of the shipped recipes: inside a wheel, or beside the package in a checkout.

    Raises RequestError when the installation has neither.
    """
    for folder in (_PACKAGE / "_recipes", _PACKAGE.parent / "recipes"):
        if (folder / "examples").is_dir():
            return folder
    raise RequestError(
        "this installation has no recipes",
        where=str(_PACKAGE),
        remedy="install hftune again, or give the path of a recipe file",
    )


def list_shipped() -> list[ShippedRecipe]:
    """Give every complete recipe that comes with hftune, by name."""
    paths = sorted((shipped_folder() / "examples").glob("*.yaml"), key=lambda path: path.stem)
    return [ShippedRecipe(name=path.stem, path=path, title=_title(path)) for path in paths]


def find_shipped(name: str) -> Path | None:
    """Give the file of a shipped recipe ('elpv-lite0') or base ('bases/elpv'), or None."""
    folder, _, stem = name.rpartition("/")
    if folder not in ("", "bases", "examples") or not stem:
        return None
    path = shipped_folder() / (folder or "examples") / f"{stem}.yaml"
    return path if is_file(path) else None


def shipped_path(name: str) -> Path:
    """Give the file of a shipped recipe. Raises RequestError when there is none of that name."""
    path = find_shipped(name)
    if path is None:
        names = [recipe.name for recipe in list_shipped()]
        raise RequestError(
            f"no recipe called '{name}' comes with hftune{did_you_mean(name, names)}",
            allowed=", ".join(names),
            remedy="hftune recipe ls",
        )
    return path


def copy_shipped(files: Sequence[Path], folder: Path) -> list[Path]:
    """Write shipped `files` below `folder`, keeping how they lie to each other; give the copies.

    A file that is there already with the same content is left alone; with other content nothing
    at all is written and RequestError lists it.
    """
    root = shipped_folder()
    copies = {path: folder / path.relative_to(root) for path in files}
    taken = [copy for path, copy in copies.items() if copy.exists() and not _is_same(path, copy)]
    if taken:
        raise RequestError(
            "these files exist with other content",
            found="\n".join(str(copy) for copy in taken),
            remedy="give another folder, or move them away first",
        )
    for path, copy in copies.items():
        if not copy.exists():
            write_bytes(copy, path.read_bytes())
    return list(copies.values())


def _is_same(path: Path, copy: Path) -> bool:
    return copy.is_file() and copy.read_bytes() == path.read_bytes()


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""
