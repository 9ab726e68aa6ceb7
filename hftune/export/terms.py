"""What well-known licences ask for, by their ids on the Hub, and what follows for a model.

Only names are compared. What is not in the table is unknown, and said to be.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CREATIVE = re.compile(r"cc-by(?P<nc>-nc)?(?P<kind>-sa|-nd)?(-\d\.\d)?")
_OPEN = re.compile(
    r"apache-2\.0|mit|bsd(-\w+-clause)?|isc|zlib|unlicense|wtfpl|cc0-1\.0|pddl|odc-by|ecl-2\.0"
    r"|cdla-permissive-[12]\.0|artistic-2\.0|bsl-1\.0|afl-3\.0|ms-pl|ncsa|postgresql"
)
_SAME = re.compile(
    r"a?gpl(-\d\.\d)?|lgpl(-\d\.\d)?|odbl|cdla-sharing-1\.0|mpl-2\.0|epl-[12]\.0|eupl-1\.[12]|gfdl"
    r"|osl-3\.0"
)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Whether commercial use and a changed form are allowed, and other licences ruled out."""

    commercial: bool
    changed: bool
    same_licence: bool


def terms_of(license_id: str | None) -> Terms | None:
    """Give what a licence of this id asks for; None where that is not known."""
    name = (license_id or "").lower()
    creative = _CREATIVE.fullmatch(name)
    if creative is not None:
        return Terms(
            commercial=creative["nc"] is None,
            changed=creative["kind"] != "-nd",
            same_licence=creative["kind"] == "-sa",
        )
    if _OPEN.fullmatch(name):
        return Terms(commercial=True, changed=True, same_licence=False)
    if _SAME.fullmatch(name):
        return Terms(commercial=True, changed=True, same_licence=True)
    return None


def compare_terms(chosen: str | None, origin: str | None, *, of: str) -> Iterator[str]:
    """Say what the licence of an origin ("base", "data") asks for that `chosen` does not say."""
    ours, theirs = terms_of(chosen), terms_of(origin)
    if origin is None:
        yield f"The {of} states no licence, so what may be done with the model is not known."
        return
    if chosen is not None and chosen.lower() == origin.lower():
        return
    if theirs is None:
        yield f"The terms of the {of} ({origin}) are not known to hftune: read them."
        return
    if not theirs.commercial and (ours is None or ours.commercial):
        yield f"The {of} may not be used commercially ({origin}); {_silent(chosen)}."
    if not theirs.changed:
        yield f"The {of} may not be passed on in a changed form ({origin}); {_silent(chosen)}."
    if theirs.same_licence:
        yield (
            f"What is made from the {of} is to have the same licence ({origin}); the model's is"
            f" {chosen or 'not stated'}."
        )


def _silent(chosen: str | None) -> str:
    if chosen is None:
        return "the model states no licence"
    return f"the model's own licence ({chosen}) does not say so"
