import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.core import EvalResult
from hftune.errors import RunFolderError
from hftune.report.confusion import shorten, weakest, worst_pairs
from hftune.report.curves import metric_names
from hftune.report.finished import read_finished
from hftune.report.history import Point, read_history
from hftune.report.plots import (
    draw_report,
    plot_confusion,
    plot_learning_curves,
)


def drawn_share(path: Path) -> float:
    """Give the share of pixels that are not white."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    return float((pixels < 250).mean())


def test_a_single_label_run_gets_curves_classes_and_confusion(make_run):
    run = make_run()
    paths = draw_report(run)
    assert [path.relative_to(run).as_posix() for path in paths] == [
        "report/learning_curves.png",
        "report/throughput.png",
        "report/per_class.png",
        "report/confusion.png",
    ]
    assert all(0.01 < drawn_share(path) < 0.9 for path in paths)


def test_with_several_labels_there_is_no_confusion_picture(make_run):
    run = make_run(problem="multi_label")
    names = ["learning_curves.png", "throughput.png", "per_class.png"]
    assert [path.name for path in draw_report(run)] == names
    with pytest.raises(RunFolderError) as caught:
        plot_confusion(read_finished(run))
    assert "plot_per_class" in str(caught.value)


def test_a_running_run_has_curves_already(make_run):
    run = make_run()
    (run / "results.json").unlink()
    assert drawn_share(plot_learning_curves(run, read_history(run), None)) > 0.01
    with pytest.raises(RunFolderError, match=r"no results\.json"):
        draw_report(run)


def test_curves_before_the_first_evaluation(make_run):
    run = make_run()
    (run / "results.json").unlink()
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["kind"] == "train"][:3]
    (run / "metrics.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert drawn_share(plot_learning_curves(run, read_history(run), None)) > 0.01


def test_many_classes_are_drawn_in_a_picture_of_bounded_size(make_run):
    run = make_run(labels=tuple(f"class {i} of a long-winded taxonomy" for i in range(60)))
    for path in draw_report(run):
        with Image.open(path) as image:
            assert max(image.size) < 3000


def test_the_same_run_gives_the_same_bytes(make_run):
    run = make_run()
    first = [path.read_bytes() for path in draw_report(run)]
    assert [path.read_bytes() for path in draw_report(run)] == first


def test_pairs_are_ranked_by_count_and_shares_are_of_the_true_class():
    counts = np.array([[8, 2, 0], [5, 5, 0], [0, 1, 3]])
    assert worst_pairs(counts, ["a", "b", "c"]) == [
        ("b", "a", 5, 0.5),
        ("a", "b", 2, 0.2),
        ("c", "b", 1, 0.25),
    ]


def test_weakest_classes_come_first_and_a_class_without_examples_before_all():
    rows = {"good": {"f1": 0.9, "count": 9.0}, "bad": {"f1": 0.2, "count": 5.0}, "none": {}}
    result = EvalResult(split="val", step=1, loss=0, values={}, per_class=rows, num_examples=14)
    assert weakest(result, ["f1"]) == ["none", "bad", "good"]


def test_the_deciding_metric_is_drawn_first_and_the_loss_not_among_them():
    values = {"loss": 1.0, "accuracy": 0.5, "auroc": 0.6}
    points = [Point(step=1, epoch=1, values=values)]
    assert metric_names(points, first="auroc") == ["auroc", "accuracy"]
    assert metric_names(points, first="loss") == ["accuracy", "auroc"]


def test_long_names_are_cut():
    assert shorten("short") == "short"
    assert len(shorten("x" * 100)) == 24
