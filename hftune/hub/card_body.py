"""The part of a model card that people read: sections in a fixed order, from plain facts."""

from pathlib import Path

from hftune.hub.card_audit import audit_section
from hftune.hub.card_facts import CardFacts
from hftune.hub.card_frozen import frozen_section
from hftune.hub.card_head import old_classes_section
from hftune.hub.card_number import number_limit, number_section, number_sentence
from hftune.hub.card_table import cell, folded, table
from hftune.hub.card_text import class_section, headline, results_section, split_title
from hftune.hub.card_usage import usage_section

# Digits of a commit that people can tell it by; the recipe has all of them.
_SHORT = 12


def human_part(facts: CardFacts) -> str:
    """Give the text between the markers, without them."""
    sections = (
        f"# {cell(facts.run)}",
        _sentence(facts),
        headline(facts),
        _labels(facts),
        results_section(facts),
        class_section(facts),
        old_classes_section(facts.old_classes, facts.labels),
        _calibration(facts),
        usage_section(facts),
        _training(facts),
        frozen_section(facts),
        _data(facts),
        audit_section(facts.data.audit) if facts.data.audit else "",
        _limits(facts),
        _lineage(facts),
        _versions(facts),
    )
    return "\n\n".join(section for section in sections if section)


def _sentence(facts: CardFacts) -> str:
    if facts.summary is not None:
        return facts.summary
    base = facts.base.hub_id or facts.base.repo_id
    start = "trained from scratch"
    if facts.base.pretrained:
        start = f"fine-tuned from `{base}`" if base else "fine-tuned from a local backbone"
    if facts.labels.numeric:
        return number_sentence(facts.labels, model=f"`{facts.base.architecture}`, {start}")
    several = "any number of" if facts.labels.multi else "one of"
    return (
        f"An image classifier (`{facts.base.architecture}`, {start}) that gives each image"
        f" {several} {facts.labels.size:,} classes."
    )


def _labels(facts: CardFacts) -> str:
    labels = facts.labels
    if labels.numeric:
        return number_section(labels)
    header = ["Position", "Class"]
    if labels.counts:
        header.append("Training images")
    if facts.label_descriptions:
        header.append("Description")
    rows = []
    for position, name in enumerate(labels.names):
        row = [str(position), cell(name)]
        if labels.counts:
            row.append(f"{labels.counts[position]:,}")
        if facts.label_descriptions:
            row.append(cell(facts.label_descriptions.get(name, "")))
        rows.append(row)
    return "## Classes\n\n" + folded(header, rows, "all classes")


def _calibration(facts: CardFacts) -> str:
    if not facts.calibration:
        return ""
    drawn = facts.calibration_picture
    picture = f"\n\n![Share of right answers against their score]({drawn})" if drawn else ""
    return f"## Calibration\n\n{facts.calibration}{picture}"


def _training(facts: CardFacts) -> str:
    spec = facts.input_spec
    rows = [[cell(name), cell(text)] for name, text in facts.training.items()]
    rows.append(
        [
            "Input",
            f"{spec.width} x {spec.height} pixels, {spec.channels} channels; resized"
            f" ({spec.interpolation}), of which the middle {100 * spec.crop_fraction:.3g}% is kept",
        ]
    )
    recipe = "The whole recipe, with every commit that it took, is in `hftune/recipe.yaml`." + (
        f" Train it again: `hftune reproduce {facts.place}`." if facts.repo_id else ""
    )
    curves = f"\n\n![Learning curves]({facts.curves})" if facts.curves else ""
    return "## Training\n\n" + table(["Setting", "Value"], rows) + f"{curves}\n\n{recipe}"


def _data(facts: CardFacts) -> str:
    data = facts.data
    rows = []
    if data.repo_id is not None:
        rows.append(["Data set", f"`{data.repo_id}`"])
    elif data.path is not None:
        rows.append(["Data set", f"local images, `{Path(data.path).name}`"])
    else:
        rows.append(["Data set", "local images"])
    optional = (
        ("Configuration", data.config),
        ("Revision", None if data.commit is None else data.commit[:_SHORT]),
        ("Split rule", data.split_rule or None),
        ("Licence", data.license),
    )
    rows += [[name, cell(text)] for name, text in optional if text is not None]
    counts = (f"{count:,} {split_title(name)}" for name, count in facts.counts.items())
    rows.append(["Images", ", ".join(counts)])
    return "## Data\n\n" + table(["Fact", "Value"], rows)


def _limits(facts: CardFacts) -> str:
    lines = list(facts.limits)
    if facts.labels.numeric:
        lines.append(number_limit(facts.labels))
    elif not facts.labels.multi:
        lines.append("Every image gets one of the classes above, also one that shows none of them.")
    if facts.results:
        images = sum(result.num_examples for result in facts.results)
        lines.append(
            f"The results come from {images:,} images of the data named above and say little about"
            " images from elsewhere."
        )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _lineage(facts: CardFacts) -> str:
    stated, base = facts.license, facts.base
    if stated.id is None:
        lines = ["- Licence: not stated by the author."]
    else:
        name = stated.name or stated.id
        lines = [f"- Licence: {f'[{name}]({stated.link})' if stated.link else name}"]
    if base.pretrained:
        name = base.hub_id or base.repo_id or "a local backbone"
        commit = f" at commit `{base.commit[:_SHORT]}`" if base.commit else ""
        lines.append(f"- Base: `{name}`{commit}, licence {base.license or 'not stated'}")
    else:
        lines.append(f"- Base: none; `{base.architecture}` with random weights")
    if facts.teacher is not None:
        lines.append(f"- Teacher: {facts.teacher.words}")
    lines.append(f"- Data: licence {facts.data.license or 'not stated'}")
    lines += [f"- {cell(note)}" for note in facts.license.notes]
    if facts.license.notes:
        lines.append("\nLicences were compared by their names only; this is no legal advice.")
    return "## Licence and lineage\n\n" + "\n".join(lines)


def _versions(facts: CardFacts) -> str:
    if not facts.versions:
        return ""
    return "## Versions\n\n" + ", ".join(f"{cell(k)} {cell(v)}" for k, v in facts.versions.items())
