"""Which answers are shown, by hand, for each problem."""

import torch

from hftune.core import ProblemName
from hftune.report.finished import read_finished
from hftune.report.page.answers import SHOWN, Answers, choose_answers
from hftune.train.predictions import Predictions
from tests.finished import write_finished_run


def chosen(
    tmp_path, problem: ProblemName, labels: tuple[str, ...], logits: object, targets: object
) -> Answers:
    run = read_finished(write_finished_run(tmp_path / "run", labels=labels, problem=problem))
    said = Predictions(
        split="val", digest="d", logits=torch.tensor(logits), targets=torch.tensor(targets)
    )
    return choose_answers(run, said, "validation")


def test_errors_come_by_loss_and_right_answers_by_score(tmp_path):
    logits = [[2.0, 0.0], [5.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 1.0]]
    found = chosen(tmp_path, "single_label", ("cat", "dog"), logits, [1, 1, 0, 1, 1])
    assert [one.row for one in found.worst] == [1, 0]
    assert found.worst[0].lines == ("cat 99.3%", "is dog")
    assert found.worst[0].asked == {0: "cat", 1: "dog"}
    assert found.worst_note.startswith("2 of 5 validation images are answered wrongly.")
    assert [one.row for one in found.surest] == [3, 2, 4]
    assert found.surest[0].lines == ("dog 95.3%",)
    assert found.surest[0].asked == {1: "dog"}


def test_with_several_labels_the_label_most_in_the_wrong_is_shown(tmp_path):
    logits = [[3.0, -3.0], [3.0, 4.0], [-2.0, -2.0], [-1.0, -5.0]]
    targets = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    found = chosen(tmp_path, "multi_label", ("car", "tree"), logits, targets)
    assert [one.row for one in found.worst] == [3, 1]
    assert found.worst[0].lines == ("tree 0.7%", "is there", "has tree")
    assert found.worst[1].lines == ("car 95.3%", "is not there", "has tree")
    assert found.worst[1].asked == {0: "car"}
    assert found.worst_note.startswith("2 of 4 validation images are given a wrong label")
    # What is right and absent is no label that could be shown.
    assert [(one.row, one.lines[0]) for one in found.surest] == [
        (1, "tree 98.2%"),
        (0, "car 95.3%"),
    ]


def test_numbers_come_by_their_distance(tmp_path):
    found = chosen(
        tmp_path, "regression", ("age",), [[20.0], [41.5], [60.0]], [[22.0], [41.0], [30.0]]
    )
    assert [one.row for one in found.worst] == [2, 0, 1]
    assert [one.row for one in found.surest] == [1, 0, 2]
    assert found.surest[0].lines == ("41.5", "is 41")
    assert found.worst[0].asked == {0: "more age"}


def test_a_dozen_is_shown_and_a_run_without_errors_shows_none(tmp_path):
    found = chosen(tmp_path, "single_label", ("a", "b"), [[1.0, 0.0]] * 20, [0] * 20)
    assert found.worst == ()
    assert len(found.surest) == SHOWN
    assert found.worst_note == "0 of 20 validation images are answered wrongly."
