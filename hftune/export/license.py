"""The licence of what is published: the recipe's, or carried from the base; never made up."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from hftune.core import BaseFacts
from hftune.errors import HftuneError, PublishError
from hftune.export.terms import compare_terms, terms_of
from hftune.files import digest_file, write_text
from hftune.hub.base_terms import LICENSE
from hftune.hub.card import read_metadata
from hftune.hub.card_facts import LicenseFacts
from hftune.recipe.schema import HubRecipe, Recipe
from hftune.train.json_record import read_mapping
from hftune.train.run_facts import RunFacts

_HUB_PAGE = "https://huggingface.co"
_KEYS = {"id": "license", "name": "license_name", "link": "license_link"}
_SHA256 = "license_sha256"
_OTHER = "other"


def license_facts(facts: RunFacts, recipe: Recipe) -> LicenseFacts:
    """Give the recipe's licence, else the base's, compared with those of the base and the data.

    One of no known name links to its text in the repository, or to where the base has it. Raises
    PublishError where hub.license_file cannot be read.
    """
    base, hub = facts.model.base, recipe.hub
    stated = hub.license or base.license
    notes = list(compare_terms(stated, facts.data.facts.license, of="data"))
    if base.pretrained:
        notes = [*compare_terms(stated, base.license, of="base"), *notes]
    if stated != _OTHER:
        return LicenseFacts(id=stated, notes=tuple(notes))
    has_text = license_text(hub, base) is not None
    return LicenseFacts(
        id=_OTHER,
        name=hub.license_name or _name_of(hub, base),
        link=LICENSE if has_text else _link_of(hub, base),
        notes=tuple(notes),
    )


def license_text(hub: HubRecipe, base: BaseFacts) -> str | None:
    """Give the text to publish: the recipe's file, else the base's own where it is carried.

    None where there is none. Raises PublishError where the file cannot be read.
    """
    if hub.license_file is None:
        return base.license_text if hub.license is None else None
    path = Path(hub.license_file).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishError(
            "the text of the licence cannot be read",
            found=str(error),
            where="hub.license_file",
            remedy="name a text file, from the folder in which hftune is run",
        ) from error


def check_terms(hub: HubRecipe, base: BaseFacts) -> None:
    """Refuse to publish under terms that nobody can read, or that forbid a changed model.

    Both can be mended by who has the right to: in the recipe. Raises PublishError.
    """
    stated = hub.license or base.license
    terms = terms_of(base.license)
    if hub.license is None and base.pretrained and terms is not None and not terms.changed:
        raise PublishError(
            "the base may not be passed on in a changed form, and the licence is carried from it",
            found=f"{base.license}, of {base.hub_id or base.repo_id or 'the base'}",
            where="hub.license",
            remedy="start from another base; or, if its owner allows it, set hub.license",
        )
    is_linked = hub.license is None and base.license_link is not None
    if stated == _OTHER and license_text(hub, base) is None and not is_linked:
        raise PublishError(
            "the licence is called 'other', and its text is nowhere",
            found="no hub.license_file, and no LICENSE or license_link in the base's repository",
            where="hub.license_file",
            remedy="write the text into a file and name it in hub.license_file; or set hub.license",
        )


def write_license(folder: Path, hub: HubRecipe, base: BaseFacts) -> None:
    """Write LICENSE into what is published, where there is a text."""
    text = license_text(hub, base)
    if text is not None:
        write_text(folder / LICENSE, text)


def license_record(facts: LicenseFacts, *, text: str | None) -> dict[str, Any]:
    """Give the licence as run.json holds it: by the keys of a card, the text by its hash."""
    record = {key: getattr(facts, field) for field, key in _KEYS.items()}
    digest = {} if text is None else {_SHA256: sha256(text.encode()).hexdigest()}
    return record | digest | {"notes": list(facts.notes)}


def check_license(card: Path, record: Path) -> Iterator[str]:
    """Find a licence in a card's metadata, or a text, that is not the one of the run's record.

    Where the record states none, the user's own in the card is theirs to give.
    """
    if not (card.is_file() and record.is_file()):
        return
    try:
        shown = read_metadata(card.read_text(encoding="utf-8"))
        kept = read_mapping(record).get("license")
    except (HftuneError, UnicodeDecodeError) as error:
        yield f"the licence cannot be checked: {error}"
        return
    if not isinstance(kept, dict) or kept.get("license") is None:
        return
    for key in _KEYS.values():
        if shown.get(key) != kept.get(key):
            yield (
                f"{card.name} states {key}: {shown.get(key)}, but the run's is {kept.get(key)};"
                " hub.license in the recipe sets another"
            )
    text = card.parent / LICENSE
    if _SHA256 in kept and not (text.is_file() and digest_file(text) == kept[_SHA256]):
        yield f"{LICENSE} is not the text of the run's licence; hub.license_file sets another"


def _name_of(hub: HubRecipe, base: BaseFacts) -> str:
    if hub.license is not None:
        return "custom"
    return base.license_name or f"as {base.hub_id or 'the base'}".lower()


def _link_of(hub: HubRecipe, base: BaseFacts) -> str | None:
    if hub.license is not None:
        return None
    page = None if base.hub_id is None else f"{_HUB_PAGE}/{base.hub_id}"
    return base.license_link or page
