"""The licence of what is published: the recipe's, or carried from the base; never made up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftune.errors import HftuneError
from hftune.hub.card import read_metadata
from hftune.hub.card_facts import LicenseFacts
from hftune.recipe.schema import Recipe
from hftune.train.json_record import read_mapping
from hftune.train.run_facts import RunFacts

_HUB_PAGE = "https://huggingface.co"
_KEYS = {"id": "license", "name": "license_name", "link": "license_link"}


def license_facts(facts: RunFacts, recipe: Recipe) -> LicenseFacts:
    """Give the recipe's licence, else the base's; one of no known name links to the base."""
    stated = recipe.hub.license or facts.model.base.license
    base = facts.model.base.hub_id
    if stated == "other" and recipe.hub.license is None and base is not None:
        return LicenseFacts(id="other", name=f"as {base}".lower(), link=f"{_HUB_PAGE}/{base}")
    return LicenseFacts(id=stated)


def license_record(facts: LicenseFacts) -> dict[str, Any]:
    """Give the licence as run.json holds it: by the keys of a card's metadata."""
    return {key: getattr(facts, field) for field, key in _KEYS.items()}


def check_license(card: Path, record: Path) -> Iterator[str]:
    """Find a licence in a card's metadata that is not the one of the run's record.

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
