"""The card's section on images that are in several splits, or in training more than once."""

from hftune.core import AuditFacts, LeakFacts


def audit_section(audit: AuditFacts) -> str:
    """Give the section: what was compared, and what was found."""
    return "## Images in several splits\n\n" + "\n".join(f"- {line}" for line in audit_lines(audit))


def audit_lines(audit: AuditFacts) -> list[str]:
    """Give what was compared and what was found, a sentence or two each."""
    counted = (
        "Near duplicates, such as resized or newly compressed images, were counted."
        if audit.near
        else "Only identical pixels were looked for; near duplicates were not counted."
    )
    lines = [_leak(leak, near=audit.near) for leak in audit.leaks]
    if any(leak.share > 0 for leak in audit.leaks):
        lines.append("Results on images that training has seen say little about new ones.")
    lines.append(counted)
    if audit.repeated:
        lines.append(
            f"Of {audit.images:,} training images {audit.repeated:,} have the pixels of an earlier"
            f" one, {audit.conflicting:,} of them under another label."
        )
    return lines


def _leak(leak: LeakFacts, *, near: bool) -> str:
    split = "validation" if leak.split == "val" else leak.split
    found = leak.exact + leak.near
    if not found:
        return f"Of {leak.images:,} {split} images none is in training as well."
    verb = "is" if found == 1 else "are"
    detail = f": {leak.exact:,} with the same pixels, {leak.near:,} nearly the same" if near else ""
    return (
        f"Of {leak.images:,} {split} images {found:,} ({leak.share:.1%}) {verb} in training as"
        f" well{detail}."
    )
