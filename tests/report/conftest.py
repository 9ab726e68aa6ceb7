"""A finished run whose images are there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hftune.data.image_input import eval_transform, normalise
from hftune.data.sources import open_splits
from hftune.files import write_json
from hftune.report.finished import read_finished
from hftune.train.predictions import Predictions, write_predictions
from hftune.train.run_folder import data_record
from hftune.train.trained import load_run
from tests.finished import draw_class_images, write_finished_run


@pytest.fixture
def run_with_images(tmp_path: Path) -> Path:
    """A finished run of random weights whose data are there, and what it says about them."""
    draw_class_images(tmp_path / "images")
    run = write_finished_run(tmp_path / "run")
    recipe = json.loads((run / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["data"] = {"source": {"name": "image_folder", "path": str(tmp_path / "images")}}
    recipe["data"] |= {"val": "20%", "test": "20%"}
    write_json(run / "recipe.yaml", recipe)
    splits = open_splits(read_finished(run).recipe.data, problem="single_label")
    write_json(run / "data.json", data_record(splits).to_json())
    assert splits.test is not None
    classifier = load_run(run)
    seen = eval_transform(classifier.input_spec)
    pixels = torch.stack([seen(splits.test.rows.image(row)) for row in range(len(splits.test))])
    with torch.no_grad():
        logits = classifier.module(normalise(pixels, classifier.input_spec))
    targets = torch.as_tensor(np.asarray(splits.test.rows.targets))
    write_predictions(
        run, Predictions(split="test", digest=splits.test.digest, logits=logits, targets=targets)
    )
    return run
