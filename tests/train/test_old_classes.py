"""The classes of a base before and after: by hand-made answers, and over a model that was asked."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hftune.core import HeadStart, LabelSpace, OldClass, WeightsReport
from hftune.train.evaluate import ask
from hftune.train.loop import train
from hftune.train.old_classes import ask_base, compare_with_base, has_all_of_base
from hftune.train.plan import make_plan
from hftune.train.predictions import Predictions, read_predictions, write_predictions
from hftune.train.results import judge_best
from hftune.train.world import join_world
from tests.drawn import LABELS, drawn_splits, tiny_model, tiny_recipe

THREE = LabelSpace(names=("cat", "new", "dog"))
START = HeadStart(kept={"cat": "tabby", "dog": "dog"}, num_base=2)


def one_hot(*answers: int) -> Tensor:
    return torch.eye(3)[list(answers)]


def write(run, name: str, logits: Tensor, targets: Tensor, digest: str = "d") -> None:
    said = Predictions(split=name, digest=digest, logits=logits, targets=targets)
    write_predictions(run, said)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (START, True),
        (None, False),
        (HeadStart(kept={"cat": "cat"}, num_base=2), False),
        (HeadStart(kept={"cat": "cat", "kitten": "cat"}, num_base=2), False),
        (HeadStart(kept={"cat": "cat"}, num_base=1), False),
    ],
)
def test_all_of_the_base_must_be_there_once(start: HeadStart | None, expected: bool) -> None:
    assert has_all_of_base(start) is expected


def test_shares_of_right_answers_before_and_after(run) -> None:
    targets = torch.tensor([0, 0, 0, 0, 2, 2, 1, 1])
    # What the base says of the new class counts nowhere, nor does the row it did not have.
    before = one_hot(0, 0, 0, 2, 2, 2, 0, 0) + torch.tensor([0.0, 9.0, 0.0])
    after = one_hot(0, 1, 1, 0, 2, 0, 1, 1)
    write(run, "val-base", before, targets)
    write(run, "val", after, targets)
    (found,) = compare_with_base(run, START, THREE, problem="single_label")
    assert (found.split, found.num_new) == ("val", 1)
    assert found.before == pytest.approx(5 / 6)
    assert found.after == pytest.approx(3 / 6)
    assert found.classes == {
        "cat": OldClass(images=4, before=0.75, after=0.5, to_new=0.5),
        "dog": OldClass(images=2, before=1.0, after=0.5, to_new=0.0),
    }


def test_several_labels_are_told_each_by_itself(run) -> None:
    targets = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
    labels = replace(THREE, multi=True)
    write(run, "test-base", targets * 2.0 - 1, targets)
    write(run, "test", torch.tensor([[1.0, 9, -1], [-1, 9, -1], [-1, 9, 1], [-1, 9, 1]]), targets)
    (found,) = compare_with_base(run, START, labels, problem="multi_label")
    assert found.classes["cat"] == OldClass(images=2, before=1.0, after=pytest.approx(2 / 3))
    assert found.classes["dog"] == OldClass(images=2, before=1.0, after=1.0)
    assert (found.before, found.after) == (1.0, pytest.approx(5 / 6))


def test_other_images_are_not_compared(run) -> None:
    targets = torch.tensor([0, 2])
    write(run, "val-base", one_hot(0, 2), targets, digest="other")
    write(run, "val", one_hot(0, 2), targets)
    assert compare_with_base(run, START, THREE, problem="single_label") == ()


def test_a_split_without_the_old_classes_says_nothing(run) -> None:
    targets = torch.tensor([1, 1])
    for name in ("val", "val-base"):
        write(run, name, one_hot(0, 2), targets)
    assert compare_with_base(run, START, THREE, problem="single_label") == ()


def test_the_base_is_asked_once_and_nothing_else_changes(run) -> None:
    same = HeadStart(kept={name: name for name in LABELS.names}, num_base=2)
    recipe, splits = tiny_recipe(), drawn_splits()
    results = []
    for asked in (False, True):
        folder = run / str(asked)
        model = replace(tiny_model(), weights=WeightsReport(head=same if asked else None))
        plan = make_plan(recipe, model, splits, join_world())
        first = ask(tiny_model(), splits.val, recipe).logits
        ask_base(plan, model, splits, run=folder)
        progress = train(plan, model, splits, folder)
        ask_base(plan, model, splits, run=folder)  # a run that goes on
        results.append(judge_best(plan, model, splits, run=folder, progress=progress))
        said = read_predictions(folder, "val-base")
        assert (said is not None) is asked
        assert said is None or torch.equal(said.logits, first)
    plain, asked_too = results
    assert plain.old_classes == ()
    assert [found.split for found in asked_too.old_classes] == ["val", "test"]
    assert plain.evaluations == asked_too.evaluations
    first_values = asked_too.old_classes[0]
    assert first_values.after == plain.evaluations[0].values["accuracy"]
    assert first_values.num_new == 0
