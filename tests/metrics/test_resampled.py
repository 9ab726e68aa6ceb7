"""Metrics of many resamples at once against torchmetrics on the rows that each resample drew."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.core import LabelSpace
from hftune.metrics import METRICS, compute_metrics
from hftune.metrics.resampled import make_measure, right_answers

CASES = [(name, problem) for name, makers in METRICS.items() for problem in makers]


def draw(problem, *, classes, images, seed):
    """Coarse logits, so that scores tie, and targets that miss some classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-2, 3, (images, classes), generator=generator).float()
    if problem == "multi_label":
        return logits, (torch.rand(images, classes, generator=generator) < 0.4).float()
    if problem == "regression":
        return logits[:, :1], torch.rand(images, 1, generator=generator).double()
    return logits, torch.randint(0, classes, (images,), generator=generator)


@pytest.mark.parametrize(("name", "problem"), CASES)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7), images=st.integers(5, 30))
@settings(max_examples=6, deadline=None)
def test_counts_give_what_torchmetrics_gives_on_the_rows(name, problem, seed, classes, images):
    if name == "top5_accuracy":
        classes = max(classes, 6)
    logits, targets = draw(problem, classes=classes, images=images, seed=seed)
    drawn = np.random.default_rng(seed).integers(images, size=(3, images))
    counts = np.stack([np.bincount(rows, minlength=images) for rows in drawn])
    found = make_measure(name, logits, targets, problem=problem)(counts)
    names = tuple(str(position) for position in range(logits.shape[1]))
    labels = LabelSpace(names=names, multi=problem == "multi_label")
    for value, rows in zip(found, drawn, strict=True):
        expected = compute_metrics((name,), logits[rows], targets[rows], labels, problem=problem)
        reference = expected.values.get(name, math.nan)
        assert value == pytest.approx(reference, abs=1e-5, nan_ok=True)


def test_right_answers_are_the_largest_score_or_every_label():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, -1.0]])
    one = right_answers(logits, torch.tensor([0, 0, 0]), problem="single_label")
    assert one.tolist() == [True, False, True]
    several = right_answers(
        logits, torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]), problem="multi_label"
    )
    assert several.tolist() == [True, False, True]


def test_numbers_have_no_right_answers():
    with pytest.raises(ValueError, match="not right or wrong"):
        right_answers(torch.zeros(3, 1), torch.zeros(3, 1), problem="regression")
