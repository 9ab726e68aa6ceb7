"""A run, an artifact or a repository -> files that run without hftune: ONNX and torch.export."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hftune.core import InputSpec, Split
from hftune.data.image_input import eval_transform
from hftune.data.sources import open_splits
from hftune.errors import RequestError
from hftune.export.artifact import ARTIFACT
from hftune.export.graph import FILES, Form, Graph, Trial, write_graph
from hftune.export.probe import PROBE, drawn_images, read_probe, run_pixels, to_model_pixels
from hftune.files import disk_errors
from hftune.judge import check_problem, is_run, match_classes, open_thing, own_recipe
from hftune.model.published import Classifier
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe

EXPORTED = "exported"

# Training images from which the ranges of 8-bit numbers are taken, and images that try the result.
_CALIBRATION, _TRIAL = 64, 256
_AT_ONCE = 32


def convert(
    thing: str,
    forms: Sequence[Form],
    *,
    to: Path | None = None,
    data: str | None = None,
    trust_code: bool = False,
) -> tuple[Graph, ...]:
    """Write a model in `forms`, each tried against the model before it is kept.

    A run's files go into its folder `exported`, those of anything else into `./exported`, unless
    `to` names another. What is tried are the probe's images. For 'onnx-int8' it is validation
    images, of the model's own data or those of the recipe `data`; code that the recipe of an
    artifact or a repository names is refused without `trust_code`.

    Raises PublishError where a file gives something else than the model; those before it are kept.
    """
    classifier, own = open_thing(thing)
    calibration = None
    trials: dict[Form, Trial] = {}
    if "onnx-int8" in forms:
        if data is None and not own.is_file():
            raise RequestError(
                "8-bit numbers need images to take their ranges from, and this model does not say"
                " which it learned from",
                where=thing,
                remedy="name a recipe with such data: --data RECIPE",
            )
        recipe = own_recipe(own, trust_code=trust_code) if data is None else load_recipe(data)
        classifier, calibration, trials["onnx-int8"] = _measured(classifier, recipe)
    usual = _usual_trial(thing, own, classifier)
    folder = to or (Path(thing) / EXPORTED if is_run(Path(thing)) else Path(EXPORTED))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return tuple(
        write_graph(
            classifier, form, folder / FILES[form], trials.get(form, usual), calibration=calibration
        )
        for form in forms
    )


def _measured(classifier: Classifier, recipe: Recipe) -> tuple[Classifier, Tensor, Trial]:
    """Give training images to take ranges from, and a trial on validation images."""
    check_problem(classifier, recipe.problem)
    splits = open_splits(recipe.data, problem=recipe.problem)
    matched = match_classes(classifier, splits.labels)
    spec = matched.input_spec
    seen = _pixels(splits.val, spec, most=_TRIAL)
    return matched, _pixels(splits.train, spec, most=_CALIBRATION), _trial(matched, seen)


def _pixels(split: Split, spec: InputSpec, *, most: int) -> Tensor:
    """Give images from all over a split, uint8 [N, C, H, W]. Raises DataError."""
    rows = np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).astype(int))
    transform = eval_transform(spec)
    return torch.stack([transform(split.rows.image(int(row))) for row in rows])


def _usual_trial(thing: str, own: Path, classifier: Classifier) -> Trial:
    """Give a trial on the images of the published probe, on drawn ones where there is none."""
    published = Path(thing) / ARTIFACT if is_run(Path(thing)) else own.parent.parent
    images = (
        read_probe(published / PROBE).images
        if (published / PROBE).is_file()
        else drawn_images(classifier.input_spec.channels)
    )
    return _trial(classifier, to_model_pixels(images, classifier.input_spec))


def _trial(classifier: Classifier, pixels: Tensor) -> Trial:
    spec = classifier.input_spec
    parts = torch.split(pixels, _AT_ONCE)
    logits = torch.cat([run_pixels(classifier.module, part, spec) for part in parts])
    return Trial(pixels=pixels, logits=logits, spec=spec)
