"""The name, link and text of a licence that has no id on the Hub, from the folder of a model."""

from dataclasses import dataclass
from pathlib import Path

from hftune.hub.card import read_metadata

LICENSE = "LICENSE"
_NAMES = (LICENSE, "LICENSE.txt", "LICENSE.md")
# The longest of the known licences has a third of this.
_MOST_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class OtherTerms:
    """What a card calls `license: other`; None where the folder does not have it."""

    name: str | None = None
    link: str | None = None
    text: str | None = None


def read_other_terms(folder: Path) -> OtherTerms:
    """Read name and link from the card, and the text from a LICENSE file. Raises PublishError."""
    card = folder / "README.md"
    values = read_metadata(card.read_text(encoding="utf-8-sig")) if card.is_file() else {}
    name, link = values.get("license_name"), values.get("license_link")
    return OtherTerms(
        name=name if isinstance(name, str) else None,
        link=link if isinstance(link, str) and link.startswith("https://") else None,
        text=_text(folder),
    )


def _text(folder: Path) -> str | None:
    found = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if found is None or found.stat().st_size > _MOST_BYTES:
        return None
    return found.read_text(encoding="utf-8", errors="replace").strip() + "\n"
