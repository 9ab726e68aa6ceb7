"""Finished runs of a comparison with answers of one's own choice, nothing trained."""

from pathlib import Path

import torch

from hftune.core import EvalResult
from hftune.report.verdict import TwinRun
from hftune.train.predictions import Predictions
from hftune.train.run_facts import PhaseRecord, ResultsRecord


def twin_run(right, *, name="arm", values=None, split="test"):
    """A two-class run that is right about the images where `right` holds, all of class 0."""
    right = torch.as_tensor(right)
    logits = torch.stack([right.float(), (~right).float()], dim=1)
    return run_of(logits, torch.zeros(len(right)).long(), name=name, values=values, split=split)


def run_of(logits, targets, *, name="arm", values=None, split="test"):
    result = EvalResult(
        split=split, step=4, loss=0.5, values=values or {}, per_class={}, num_examples=len(targets)
    )
    results = ResultsRecord(
        evaluations=(result,),
        best_step=4,
        best_metric="accuracy",
        best_value=0.5,
        steps=8,
        epochs=2.0,
        seconds=90.0,
        images_per_second=50.0,
        num_parameters=1000,
        phases=(
            PhaseRecord(label="head", start=0, stop=4, num_trainable=10),
            PhaseRecord(label="more", start=4, stop=8, num_trainable=400),
        ),
    )
    said = Predictions(split=split, digest="d", logits=logits, targets=targets)
    return TwinRun(folder=Path(name), results=results, predictions=said)
