"""Finished runs of random weights whose images are there, and what they say about them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hftune.core import ProblemName, Split
from hftune.data.image_input import eval_transform, normalise
from hftune.data.sources import open_splits
from hftune.files import write_json
from hftune.report.finished import read_finished
from hftune.train.predictions import Predictions, write_predictions
from hftune.train.run_folder import data_record
from hftune.train.trained import load_run
from tests.finished import draw_class_images, write_finished_run
from tests.finished_numbers import write_finished_numbers

CLASSES = ("bad", "good", "odd")


@pytest.fixture
def make_seeing_run(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of runs by problem: 36 images, of which a fifth is the test split."""

    def make(problem: ProblemName = "single_label") -> Path:
        draw_class_images(tmp_path / "images")
        if problem == "regression":
            run = write_finished_numbers(tmp_path / "seeing")
        else:
            run = write_finished_run(tmp_path / "seeing", labels=CLASSES, problem=problem)
        recipe = json.loads((run / "recipe.yaml").read_text(encoding="utf-8"))
        source = {"name": "image_folder", "path": str(tmp_path / "images")}
        if problem != "single_label":
            table = write_table(tmp_path / "images", problem)
            source = {"name": "table", "train": str(table), "label": "label"}
        recipe["data"] = {"source": source, "val": "20%", "test": "20%"}
        write_json(run / "recipe.yaml", recipe)
        splits = open_splits(read_finished(run).recipe.data, problem=problem)
        write_json(run / "data.json", data_record(splits).to_json())
        assert splits.test is not None
        write_predictions(run, what_it_says(run, splits.test))
        return run

    return make


def write_table(folder: Path, problem: ProblemName) -> Path:
    """Write a table of the images: two labels for every other one, or numbers."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    lines = ["image,label"]
    for place, path in enumerate(paths):
        own, other = path.parent.name, CLASSES[place % 3]
        several = own if other == own else f"{own}|{other}"
        lines.append(f"{path},{place * 1.5 if problem == 'regression' else several}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def what_it_says(run: Path, split: Split) -> Predictions:
    classifier = load_run(run)
    seen = eval_transform(classifier.input_spec)
    pixels = torch.stack([seen(split.rows.image(row)) for row in range(len(split))])
    with torch.no_grad():
        logits = classifier.module(normalise(pixels, classifier.input_spec))
    targets = torch.as_tensor(np.asarray(split.rows.targets))
    return Predictions(split=split.name, digest=split.digest, logits=logits, targets=targets)
