"""README.md of a published model: metadata for the Hub, text for people, and the user's own words.

A push writes only the block between the markers and the metadata keys it knows; what the user wrote
around the block, and other keys, stay.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CardData, ModelCardData
from huggingface_hub import EvalResult as CardResult
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hftune.core import DataFacts, EvalResult
from hftune.errors import PublishError
from hftune.hub.card_body import human_part
from hftune.hub.card_facts import CardFacts, LicenseFacts, WidgetSample
from hftune.hub.card_text import metric_id, metric_name, split_title

__all__ = [
    "CardFacts",
    "LicenseFacts",
    "WidgetSample",
    "keep_user_text",
    "read_license",
    "read_metadata",
    "write_card",
]

logger = logging.getLogger(__name__)

BEGIN = "<!-- hftune: begin. Written anew at every push; text before and after it is kept. -->"
END = "<!-- hftune: end -->"
TAGS = ("image-classification", "timm", "transformers", "hftune")

# Metadata that differs from an earlier push only where somebody changed it.
_SETTLED = (
    *("library_name", "pipeline_tag", "license", "license_name", "license_link"),
    *("base_model", "base_model_relation", "datasets"),
)

_BEGIN = re.compile(r"<!-- hftune: begin\b")
# As the Hub itself finds the metadata of a README.
_FRONT = re.compile(r"\ufeff?\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_MOST_DEPTH = 32
_LOCAL_DATA = "imagefolder"


def write_card(facts: CardFacts, existing: str | None) -> str:
    """Give the whole README.md; text and keys of `existing` that are not ours are kept.

    Raises PublishError when the metadata of `existing` cannot be read.
    """
    block = f"{BEGIN}\n\n{human_part(facts)}\n\n{END}\n"
    card = _join(_to_dict(_metadata(facts)), block)
    return card if existing is None else keep_user_text(card, existing)


def keep_user_text(card: str, existing: str) -> str:
    """Give `card` with what a user added in `existing`: text around our block, keys, tags.

    Where `existing` has no whole block of ours, all of its text follows the block. Of a key that
    both have ours is written, which is logged for those that no training changes. Raises
    PublishError when the metadata of one of them cannot be read.
    """
    ours, our_body = _split(card)
    theirs, their_body = _split(existing)
    for key in _SETTLED:
        if key in ours and theirs.get(key, ours[key]) != ours[key]:
            logger.warning("the card says %s: %s, written is %s", key, theirs[key], ours[key])
    theirs = _without_outdated(theirs, ours)
    tags = [*_as_list(ours.get("tags")), *_as_list(theirs.get("tags"))]
    merged = ours | {key: value for key, value in theirs.items() if key not in ours}
    if tags:
        merged["tags"] = list(dict.fromkeys(tags))
    place = _block_in(our_body)
    if place is None:  # a card that hftune did not write speaks for itself
        return card
    block, old = our_body[place], _block_in(their_body)
    if old is not None:
        body = f"{their_body[: old.start]}{block}{their_body[old.stop :]}"
    elif their_body.strip():
        body = f"{block}\n\n{their_body.strip()}\n"
    else:
        body = our_body
    return _join(merged, body)


def _without_outdated(theirs: dict[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what an earlier push wrote and this one has nothing in place of."""
    drop = {"license_name", "license_link"} if "license" in ours else set()
    kept = {key: value for key, value in theirs.items() if key not in drop}
    widget = kept.get("widget")
    if isinstance(widget, list):
        kept["widget"] = [item for item in widget if not _is_sample(item)]
        if not kept["widget"]:
            del kept["widget"]
    return kept


def _is_sample(item: object) -> bool:
    return isinstance(item, dict) and str(item.get("src")).startswith("samples/")


def read_metadata(text: str) -> dict[str, Any]:
    """Give the metadata of a README's text, {} if it has none. Raises PublishError."""
    return _split(text)[0]


def read_license(folder: Path) -> str | None:
    """Give the licence that a model's folder states: in its card, else in timm's config."""
    card = folder / "README.md"
    if card.is_file():
        stated = _as_list(read_metadata(card.read_text(encoding="utf-8-sig")).get("license"))
        if stated:
            return ", ".join(stated)
    config = folder / "config.json"
    if not config.is_file():
        return None
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        return None  # a config that cannot be read is reported by whoever builds the model
    block = value.get("pretrained_cfg", value) if isinstance(value, dict) else {}
    stated_there = block.get("license") if isinstance(block, dict) else None
    return stated_there if isinstance(stated_there, str) and stated_there else None


def _metadata(facts: CardFacts) -> ModelCardData:
    base = (facts.base.hub_id or facts.base.repo_id) if facts.base.pretrained else None
    results = [row for result in facts.results for row in _card_results(facts, result)]
    ids = dict.fromkeys(metric_id(name) for result in facts.results for name in result.values)
    return ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=list(dict.fromkeys([*TAGS, *facts.tags])),
        license=facts.license.id,
        license_name=facts.license.name,
        license_link=facts.license.link,
        base_model=base,
        base_model_relation=None if base is None else "finetune",
        datasets=None if facts.data.repo_id is None else [facts.data.repo_id],
        metrics=list(ids) or None,
        model_name=_short_name(facts),
        eval_results=results or None,
        widget=[_widget(sample) for sample in facts.samples] or None,
    )


def _card_results(facts: CardFacts, result: EvalResult) -> list[CardResult]:
    """Give one line of the model index per metric of a split."""
    data = facts.data
    task = "regression" if facts.labels.numeric else "classification"
    return [
        CardResult(
            task_type=f"image-{task}",
            task_name=f"Image {task.capitalize()}",
            dataset_type=data.repo_id or _LOCAL_DATA,
            dataset_name=_data_name(data),
            dataset_config=data.config,
            dataset_split=split_title(result.split),
            dataset_revision=data.commit,
            metric_type=metric_id(name),
            metric_name=metric_name(name),
            metric_value=round(value, 6),
        )
        for name, value in result.values.items()
    ]


def _widget(sample: WidgetSample) -> dict[str, Any]:
    scores = [{"label": label, "score": round(s, 4)} for label, s in sample.scores.items()]
    return {"src": sample.path, "example_title": sample.title, "output": scores}


def _data_name(data: DataFacts) -> str:
    if data.repo_id is not None:
        return data.repo_id.rpartition("/")[2]
    return Path(data.path).name if data.path else "local images"


def _short_name(facts: CardFacts) -> str:
    return facts.run if facts.repo_id is None else facts.repo_id.rpartition("/")[2]


def _block_in(text: str) -> slice | None:
    """Find our block in a card's text, markers included."""
    begin = _BEGIN.search(text)
    end = -1 if begin is None else text.find(END, begin.end())
    return None if begin is None or end < 0 else slice(begin.start(), end + len(END))


def _split(text: str) -> tuple[dict[str, Any], str]:
    """Give metadata and body of a README. YAML 1.2: `language: no` is text."""
    front = _FRONT.match(text)
    if front is None:
        return {}, text
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = _MOST_DEPTH
    try:
        values = yaml.load(front[1]) or {}
    except (YAMLError, ValueError) as error:  # ValueError: a date or a number that cannot be
        raise _bad_metadata(str(error)) from error
    if not isinstance(values, dict) or any(not isinstance(key, str) for key in values):
        raise _bad_metadata("something else than settings by name")
    return values, text[front.end() :].lstrip("\r\n")


def _bad_metadata(found: str) -> PublishError:
    return PublishError(
        "the metadata at the top of this README.md cannot be read",
        found=found,
        remedy="correct the block between the two '---' lines",
    )


def _join(metadata: Mapping[str, Any], body: str) -> str:
    """Put metadata and body together as the Hub reads them."""
    try:
        block = CardData(**metadata).to_yaml(original_order=list(metadata))
    except (TypeError, ValueError) as error:  # a key or a number that cannot be written
        raise _bad_metadata(str(error)) from error
    return f"---\n{block}\n---\n\n{body}"


def _to_dict(data: CardData) -> dict[str, Any]:
    values: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]  # not typed there
    return values


def _as_list(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []
