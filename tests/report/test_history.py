import json
from pathlib import Path

import pytest

from hftune.errors import RunFolderError
from hftune.report.history import read_history


def write(run: Path, *lines: str) -> Path:
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run


def train_line(step: int, loss: object) -> str:
    return json.dumps({"kind": "train", "step": step, "epoch": step / 10, "loss": loss, "lr": 0.1})


def test_reports_and_evaluations_are_kept_apart(make_run):
    history = read_history(make_run())
    assert [point.step for point in history.train] == list(range(1, 41))
    assert [point.step for point in history.evaluations["val"]] == [10, 20, 30, 40]
    assert history.evaluations["val"][0].values["accuracy"] == 0.6
    assert history.evaluations["val"][0].epoch == 1.0


def test_a_loss_that_is_no_number_leaves_a_gap(tmp_path):
    history = read_history(write(tmp_path, train_line(1, 0.5), train_line(2, "nan")))
    assert [point.values for point in history.train] == [{"loss": 0.5, "lr": 0.1}, {"lr": 0.1}]


def test_a_last_line_cut_short_is_left_out(tmp_path):
    history = read_history(write(tmp_path, train_line(1, 0.5), train_line(2, 0.4)[:20]))
    assert [point.step for point in history.train] == [1]


def test_a_damaged_line_in_between_is_named(tmp_path):
    with pytest.raises(RunFolderError) as caught:
        read_history(write(tmp_path, "{oops", train_line(2, 0.4)))
    assert caught.value.where == f"{tmp_path / 'metrics.jsonl'}:1"


def test_no_metrics_and_empty_metrics_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"no metrics\.jsonl"):
        read_history(tmp_path)
    with pytest.raises(RunFolderError, match="not reported anything"):
        read_history(write(tmp_path))
