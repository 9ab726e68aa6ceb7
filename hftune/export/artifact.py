"""A finished run -> the folder that is published: weights, config, card, recipe, record, probe."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from hftune.core import Artifact
from hftune.errors import PublishError, RunFolderError
from hftune.export.checks import CARD, CONFIG, RECORD, WEIGHTS, check_folder
from hftune.export.config import labels_digest, timm_config
from hftune.export.frozen import copy_receipt
from hftune.export.license import write_license
from hftune.export.probe import PROBE, drawn_images, make_probe, run_images, write_probe
from hftune.export.record import published_run
from hftune.export.samples import SAMPLES, may_share, read_samples, write_jpegs
from hftune.export.story import Pictures, Target, card_facts
from hftune.files import committed_folder, digest_file, digest_json, write_json, write_text
from hftune.hub.card import write_card
from hftune.hub.card_facts import WidgetSample
from hftune.metrics import as_scores
from hftune.model.published import Classifier, load_trained
from hftune.model.weights import read_weights, save_weights
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_public_yaml
from hftune.train.intervals import intervals_of
from hftune.train.pins import pin
from hftune.train.run_facts import RunFacts, read_run

logger = logging.getLogger(__name__)

ARTIFACT = "artifact"
RECIPE = "hftune/recipe.yaml"
CONFUSION = ("confusion.png", "agreement.png")
CURVES = ("learning_curves.png",)
CALIBRATION = ("calibration.png",)
_MOST_SCORES = 5


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The images that go along: those of the widget, and those of the probe."""

    widget: tuple[WidgetSample, ...]
    probe: tuple[Image.Image, ...]


def build_artifact(run: Path, *, repo_id: str | None = None, revision: str = "main") -> Artifact:
    """Build `run/artifact` from the run's best weights, whole or not at all.

    `repo_id` and `revision` are where it will be published, for the card's examples. An artifact
    that stands there is replaced; what a user wrote in its card around our block stays. The same
    run gives the same bytes. Raises RunFolderError, WeightsError, PublishError and DiskError.
    """
    facts = read_run(run)
    recipe = _read_recipe(run)
    trained = load_trained(
        facts.model.base, facts.weights, input_spec=facts.model.input_spec, labels=facts.labels
    )
    intervals = intervals_of(run, facts.results, problem=facts.model.problem)
    final = run / ARTIFACT
    with committed_folder(final) as folder:
        _write_model(folder, facts, trained, run_name=recipe.run)
        write_text(folder / RECIPE, to_public_yaml(pin(recipe, facts.pins)))
        write_json(folder / RECORD, published_run(facts, recipe, intervals))
        copy_receipt(run, folder)
        examples = _write_samples(folder, facts, trained, share=_shares(recipe, facts))
        write_probe(folder / PROBE, make_probe(trained, examples.probe))
        card = card_facts(
            facts,
            recipe,
            target=Target(repo_id=repo_id, revision=revision),
            intervals=intervals,
            samples=examples.widget,
            pictures=Pictures(
                confusion=_copy_picture(run, folder, CONFUSION),
                curves=_copy_picture(run, folder, CURVES),
                calibration=_copy_picture(run, folder, CALIBRATION),
            ),
        )
        write_license(folder, recipe.hub, facts.model.base)
        write_text(folder / CARD, write_card(card, _existing_card(final)))
        _check_built(folder, final)
    artifact = _describe(final)
    logger.info("artifact %s: digest %s", final, artifact.digest[:12])
    return artifact


def open_artifact(folder: Path) -> Artifact:
    """Give the artifact in a folder that `build_artifact` made. Raises PublishError."""
    check_folder(folder)
    return _describe(folder)


def _check_built(folder: Path, final: Path) -> None:
    """Check what was built in `folder`. Raises PublishError, in the words of who would build it."""
    try:
        check_folder(folder)
    except PublishError as error:
        error.where = str(final)
        error.remedy = "this lies in the run itself: correct its data or recipe and train again"
        raise


def _describe(folder: Path) -> Artifact:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Artifact(
        folder=folder,
        weights=folder / WEIGHTS,
        config=folder / CONFIG,
        card=folder / CARD,
        recipe=folder / RECIPE,
        results=folder / RECORD,
        digest=digest_json(
            {path.relative_to(folder).as_posix(): digest_file(path) for path in files}
        ),
    )


def _read_recipe(run: Path) -> Recipe:
    path = run / "recipe.yaml"
    if not path.is_file():
        raise RunFolderError("this run folder has no recipe.yaml", where=str(run))
    return load_recipe(path)


def _write_model(folder: Path, facts: RunFacts, trained: Classifier, *, run_name: str) -> None:
    """Write config.json, and the best weights with digests of the config and the names in them."""
    config = timm_config(
        facts.model,
        num_features=getattr(trained.module, "num_features", 0),
        global_pool=_pool_name(trained.module),
        run=run_name,
    )
    write_json(folder / CONFIG, config)
    metadata = {
        "config_digest": digest_json(config),
        "labels_digest": labels_digest(facts.model.label_names),
        "producer": "hftune",
    }
    save_weights(read_weights(facts.weights), folder / WEIGHTS, metadata=metadata)


def _pool_name(module: nn.Module) -> str:
    """Name how the module pools, from wherever its family keeps it; empty if it has no name."""
    head = getattr(module, "head", None)
    for owner in (head, module):
        pool = getattr(owner, "global_pool", None)
        name = getattr(pool, "pool_type", pool)
        if isinstance(name, str):
            return name
    return ""


def _shares(recipe: Recipe, facts: RunFacts) -> bool:
    """Say whether images of the data may go along."""
    wish = recipe.hub.share_images
    return may_share(facts.data.facts.license) if wish == "licensed" else wish == "always"


def _write_samples(folder: Path, facts: RunFacts, trained: Classifier, *, share: bool) -> Examples:
    """Write the run's sample images where they may be shared; else draw images for the probe.

    The scores are those of the JPEG files as they are published.
    """
    kept = read_samples(facts.folder)
    if not kept or not share:
        reason = "the data's licence, or the recipe, forbids it" if kept else "the run kept none"
        logger.info("no sample images are published: %s", reason)
        return Examples(widget=(), probe=drawn_images(trained.input_spec.channels))
    shown = write_jpegs(folder / SAMPLES, kept)
    images = tuple(sample.image for sample in shown)
    scores = as_scores(
        run_images(trained.module, images, trained.input_spec),
        problem=facts.model.problem,
    )
    widget = tuple(
        WidgetSample(
            path=f"{SAMPLES}/{sample.stem}.jpg",
            title=sample.title,
            scores=_best(facts.model.label_names, row),
        )
        for sample, row in zip(shown, scores, strict=True)
    )
    return Examples(widget=widget, probe=images)


def _best(names: Sequence[str], scores: torch.Tensor) -> dict[str, float]:
    top = scores.topk(min(_MOST_SCORES, len(names)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return {names[position]: score for position, score in pairs}


def _copy_picture(run: Path, folder: Path, names: Sequence[str]) -> str | None:
    """Copy the first of a run's pictures that is there; say where it is now."""
    for name in names:
        source = run / "report" / name
        if source.is_file():
            shutil.copyfile(source, folder / "hftune" / name)
            return f"hftune/{name}"
    return None


def _existing_card(final: Path) -> str | None:
    card = final / CARD
    return card.read_text(encoding="utf-8") if card.is_file() else None
