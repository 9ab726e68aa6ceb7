"""By hand, and against timm's own class weights, which are scaled otherwise."""

from itertools import pairwise
from pathlib import Path

import pytest
import timm.loss
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.core import LabelSpace
from hftune.data.class_weights import CLASS_WEIGHTS, class_weights, example_weights
from hftune.errors import ComponentError, PlanError
from hftune.recipe.schema import Component
from tests.data.conftest import check_text

LABELS = LabelSpace(names=("ok", "crack", "dust"), counts=(80, 15, 5), num_examples=100)
OPTIONS = {"given": {"weights": {"crack": 2.0, "ok": 1.0, "dust": 8.0}}}


def weigh(name: str, labels: LabelSpace = LABELS, **options: object) -> list[float]:
    return class_weights(Component(name=name, options=options), labels).tolist()


def test_inverse_is_what_scikit_learn_calls_balanced():
    # compute_class_weight("balanced"): n / (K * n_k) = 100 / 3 over 80, 15 and 5
    assert weigh("inverse") == pytest.approx([100 / 240, 100 / 45, 100 / 15])


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.999999999])
def test_effective_number_by_hand(beta):
    raw = [(1 - beta) / (1 - beta**n) for n in LABELS.counts]
    mean = sum(n * w for n, w in zip(LABELS.counts, raw, strict=True)) / 100
    assert weigh("effective", beta=beta) == pytest.approx([w / mean for w in raw], rel=1e-5)


def test_effective_number_lies_between_no_weights_and_inverse_ones():
    assert weigh("effective", beta=1e-6) == pytest.approx([1.0] * 3, rel=1e-5)
    assert weigh("effective", beta=1 - 1e-12) == pytest.approx(weigh("inverse"), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "method"),
    [("inverse", {}, "inv_freq"), ("effective", {"beta": 0.99}, "effective_num")],
)
def test_ratios_are_those_of_timm(name, options, method):
    # timm >= 1.0.31, whose weights have mean 1 over the classes
    if not hasattr(timm.loss, "compute_class_weights"):
        pytest.skip("this timm has no class weights")
    _, theirs = timm.loss.compute_class_weights(LABELS.counts, 100, method=method, beta=0.99)
    ours = torch.tensor(weigh(name, **options))
    assert torch.allclose(ours / ours.mean(), theirs, rtol=1e-4)


def test_given_weights_go_by_name():
    # 80 * 1 + 15 * 2 + 5 * 8 = 150 over 100 examples
    assert weigh("given", **OPTIONS["given"]) == pytest.approx([1 / 1.5, 2 / 1.5, 8 / 1.5])


@pytest.mark.parametrize("name", CLASS_WEIGHTS)
@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 10**6), min_size=3, max_size=3).filter(any))
def test_the_mean_over_the_training_examples_is_one(name, counts):
    labels = LabelSpace(names=LABELS.names, counts=tuple(counts))
    weights = weigh(name, labels, **OPTIONS.get(name, {}))
    total = sum(n * w for n, w in zip(counts, weights, strict=True))
    assert total / sum(counts) == pytest.approx(1, rel=1e-5)
    assert min(weights) > 0
    if name != "given":  # a rarer class never counts less
        ranked = sorted(zip(counts, weights, strict=True))
        assert all(a[1] >= b[1] * (1 - 1e-6) for a, b in pairwise(ranked))


def test_names_that_do_not_fit_are_reported_together():
    with pytest.raises(PlanError) as caught:
        weigh("given", weights={"crck": 2.0, "ok": 1.0})
    check_text(caught.value, "class_weights_names")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inversed", {}),
        ("inverse", {"beta": 0.9}),
        ("effective", {"beta": 1.0}),
        ("effective", {"beta": 0.0}),
        ("given", {}),
        ("given", {"weights": {"ok": 0.0, "crack": 1.0, "dust": 1.0}}),
        ("given", {"weights": [1.0, 2.0, 3.0]}),
    ],
)
def test_wrong_names_and_options_are_refused(name, options):
    with pytest.raises(ComponentError):
        weigh(name, **options)


def test_a_rule_of_ones_own(tmp_path: Path):
    code = (
        "def root(labels, *, power: float = 0.5):\n    return [n**-power for n in labels.counts]\n"
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    ours = class_weights(Component(name="./mine.py:root"), LABELS, folder=tmp_path)
    assert (ours[2] / ours[0]).item() == pytest.approx(4)  # the root of 80 / 5
    whole = Component(name="./mine.py:root", options={"power": 1})
    assert class_weights(whole, LABELS, folder=tmp_path).tolist() == pytest.approx(weigh("inverse"))


@pytest.mark.parametrize("numbers", ["[1, 2]", "[1, 2, 0]", "[1, 2, float('nan')]"])
def test_a_rule_of_ones_own_gives_a_positive_number_per_class(tmp_path: Path, numbers):
    (tmp_path / "mine.py").write_text(f"def rule(labels):\n    return {numbers}\n")
    with pytest.raises(PlanError, match="one positive number per class"):
        class_weights(Component(name="./mine.py:rule"), LABELS, folder=tmp_path)


def test_classes_that_nobody_counted_cannot_be_weighed():
    with pytest.raises(PlanError, match="not known"):
        weigh("inverse", LabelSpace(names=LABELS.names))


def test_weights_of_examples():
    weights = torch.tensor([1.0, 2.0, 8.0])
    assert example_weights(weights, torch.tensor([2, 0, 1])).tolist() == [8.0, 1.0, 2.0]
    soft = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]])
    assert example_weights(weights, soft).tolist() == [1.25, 8.0]
    assert example_weights(weights, torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_a_weighted_loss_is_torch_s_own_over_the_training_set():
    # torch's weight divides by the sum of weights, which over the training set is the number of it.
    generator = torch.Generator().manual_seed(0)
    targets = torch.repeat_interleave(torch.arange(3), torch.tensor(LABELS.counts))
    logits = torch.randn(100, 3, generator=generator)
    weights = class_weights(Component(name="inverse"), LABELS)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    ours = (losses * example_weights(weights, targets)).sum() / 100
    theirs = torch.nn.functional.cross_entropy(logits, targets, weight=weights)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
