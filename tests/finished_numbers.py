"""A finished run of regression without any training, for a tiny random model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from hftune.core import Spread
from hftune.files import write_json
from hftune.train.predictions import predictions_file
from hftune.train.run_facts import DataRecord, SplitRecord, read_data_record, read_results_record
from tests.finished import write_finished_run

SPREAD = Spread(minimum=18.0, mean=41.5, maximum=90.0, sd=12.25)
VALUES = {"mae": 4.5, "rmse": 6.0, "r2": 0.75, "pearson": 0.875, "spearman": 0.9}


def write_finished_numbers(
    run: Path, *, true: np.ndarray | None = None, data_license: str | None = None
) -> Path:
    """Write what training on the ages of people leaves; `true` [N] are those of the test split."""
    write_finished_run(run, labels=("age",), problem="regression", data_license=data_license)
    recipe = json.loads((run / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["data"]["source"] = {"name": "table", "train": "./ages.csv", "label": "age"}
    write_json(run / "recipe.yaml", recipe)
    data = read_data_record(run)
    splits = {
        name: SplitRecord(count=split.count, digest=name, spread=SPREAD)
        for name, split in data.splits.items()
    }
    write_json(run / "data.json", DataRecord(facts=data.facts, splits=splits).to_json())
    results = read_results_record(run)
    evaluations = tuple(
        replace(result, values=VALUES, per_class={}, confusion=()) for result in results.evaluations
    )
    results = replace(results, evaluations=evaluations, best_metric="mae", best_value=4.5)
    write_json(run / "results.json", results.to_json())
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        if entry["kind"] == "eval":
            entry["values"] = VALUES
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (run / "metrics.jsonl").write_text(text, encoding="utf-8")
    _write_predictions(run, np.linspace(20, 80, 10) if true is None else true)
    return run


def _write_predictions(run: Path, true: np.ndarray) -> None:
    path = predictions_file(run, "test")
    path.parent.mkdir()
    predicted = 0.8 * true + 8 + np.random.default_rng(0).normal(0, 3, size=len(true))
    tensors = {
        "targets": torch.tensor(true, dtype=torch.float32)[:, None].contiguous(),
        "logits": torch.tensor(predicted, dtype=torch.float32)[:, None].contiguous(),
    }
    save_file(tensors, path, metadata={"split": "test", "digest": "test"})
