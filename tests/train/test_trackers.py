"""Trackers get the same numbers as metrics.jsonl, once each, in one run; a failure costs no run."""

import importlib.util
import json
import logging
from pathlib import Path

import pytest
from accelerate.tracking import (
    LOGGER_TYPE_TO_CLASS,
    TensorBoardTracker,
    get_available_trackers,
)
from accelerate.utils import LoggerType

from hftune.errors import AbilityError, MissingPackageError, PlanError
from hftune.recipe.schema import OptimRecipe, SaveRecipe, TrackRecipe
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.trackers import check_trackers, flat, rate_name, settings_of
from hftune.train.world import join_world

SECRET = "hf_aB3dEfGh1jKlMnOpQr"


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"needs the extra '{package}'")


@pytest.fixture
def train_with(make_recipe, make_tiny_model, make_splits, run):
    """Train nine steps, saving and judging every third, with one tracker."""

    def go(tracker: str) -> list[dict]:
        recipe = make_recipe(
            optim=OptimRecipe(lr=1e-3, layer_decay=0.5),
            save=SaveRecipe(every="3 steps"),
            track=TrackRecipe(every="1 steps", trackers=(tracker,)),
        )
        plan = make_plan(recipe, make_tiny_model(), make_splits(), join_world())
        train(plan, make_tiny_model(), make_splits(), run)
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    return go


def forget_the_end(run: Path) -> None:
    """Leave what a run leaves that was killed at its last checkpoint: the one of step 6."""
    for path in (run / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > 6:
            path.rename(run / path.name)


def texts_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_an_unknown_tracker_lists_the_known_ones():
    with pytest.raises(PlanError) as caught:
        check_trackers(["tensorbord"])
    assert "tensorboard" in caught.value.allowed


def test_a_tracker_that_is_not_installed_is_named():
    installed = {str(kind) for kind in get_available_trackers()}
    missing = [kind.value for kind in LoggerType if kind.value not in {*installed, "all"}]
    assert missing, "every tracker that Accelerate knows is installed here"
    with pytest.raises(MissingPackageError, match="not installed"):
        check_trackers(missing[:1])
    check_trackers(sorted(installed))


def test_settings_are_flat_and_hold_no_secret(make_recipe):
    recipe = make_recipe(track=TrackRecipe(trackers=("tensorboard",)), run=f"with-{SECRET}")
    settings = settings_of(recipe)
    assert settings["optim.lr"] == 1e-3
    assert settings["optim.schedule.name"] == "cosine"
    assert settings["model.repo"] == "null"
    assert settings["track.trackers"] == '["tensorboard"]'
    assert settings["run"] == "with-hf_***"
    assert all(isinstance(value, (bool, int, float, str)) for value in settings.values())


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("main, no decay", "main"),
        ("stage.-1, depth 3", "stage.-1 depth 3"),
        ("name:blocks.*.mlp.*", "name blocks. .mlp."),
    ],
)
def test_rates_have_names_that_every_tracker_takes(label, name):
    assert rate_name(label) == name


def test_a_line_becomes_numbers_by_name():
    line = {"kind": "eval", "split": "val", "step": 3, "loss": 0.5, "values": {"accuracy": 0.9}}
    assert flat(line) == {"val/loss": 0.5, "val/accuracy": 0.9}
    assert flat({"kind": "train", "step": 3, "lr": 0.1}) == {"train/lr": 0.1}


@needs("tensorboard")
def test_tensorboard_gets_every_number_of_the_run_once(train_with, run, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("HF_TOKEN", SECRET)
    train_with("tensorboard")
    forget_the_end(run)
    lines = train_with("tensorboard")
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 10))
    seen = EventAccumulator(str(run / "tensorboard")).Reload()
    for kind, name in (
        ("train", "train/loss"), ("train", "train/images_per_second"), ("train", "train/waiting"),
        ("eval", "val/loss"),
    ):  # fmt: skip
        told = [(item.step, item.value) for item in seen.Scalars(name)]
        known = [line for line in lines if line["kind"] == kind]
        assert [step for step, _ in told] == [line["step"] for line in known]
        if name.endswith("loss"):  # steps that were taken again give the same to the last bit
            assert [value for _, value in told] == pytest.approx([line["loss"] for line in known])
    judged = [line["values"]["accuracy"] for line in lines if line["kind"] == "eval"]
    assert [item.value for item in seen.Scalars("val/accuracy")] == pytest.approx(judged)
    best = [item.value for item in seen.Scalars("best/accuracy")]
    assert best == pytest.approx([max(judged[: number + 1]) for number in range(len(judged))])
    rates = sorted(tag for tag in seen.Tags()["scalars"] if tag.startswith("lr/depth "))
    top = [item.value for item in seen.Scalars(rates[-1])]
    assert top == pytest.approx([line["lr"] for line in lines if line["kind"] == "train"])
    below = [item.value for item in seen.Scalars(rates[-2])]
    assert below == pytest.approx([value / 2 for value in top])
    begun = seen.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"optim.layer_decay" in begun
    assert SECRET.encode() not in texts_below(run)


@needs("trackio")
def test_trackio_keeps_one_run_across_a_kill(train_with, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    from trackio import Api, utils
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr(utils, "TRACKIO_DIR", tmp_path / "trackio")
    train_with("trackio")
    forget_the_end(run)
    lines = train_with("trackio")
    (kept,) = Api().runs("tiny")
    assert kept.name == json.loads((run / "trackers.json").read_text())["trackio"]
    assert kept.config["optim.layer_decay"] == 0.5
    rows = SQLiteStorage.get_logs("tiny", kept.name)
    told = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert told == [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]
    judged = [(row["step"], row["val/accuracy"]) for row in rows if "val/accuracy" in row]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    assert judged == [(line["step"], line["values"]["accuracy"]) for line in evaluations]
    assert SECRET.encode() not in texts_below(tmp_path)
    assert capsys.readouterr().out == ""


@needs("mlflow")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # of SQLAlchemy, by MLflow
def test_mlflow_keeps_one_run_across_a_kill(train_with, run, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    train_with("mlflow")
    forget_the_end(run)
    lines = train_with("mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("tiny")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.status, kept.data.params["optim.layer_decay"]) == ("FINISHED", "0.5")
    told = client.get_metric_history(kept.info.run_id, "train/loss")
    losses = [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]
    assert [(item.step, item.value) for item in told] == losses
    assert SECRET.encode() not in texts_below(tmp_path)


@needs("wandb")
def test_wandb_offline_names_one_run_across_a_kill(train_with, run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_API_KEY", SECRET * 2)
    (tmp_path / "wandb").mkdir()
    train_with("wandb")
    forget_the_end(run)
    train_with("wandb")
    name = json.loads((run / "trackers.json").read_text())["wandb"]
    files = [path.name for path in (tmp_path / "wandb").rglob("*.wandb")]
    assert files == [f"run-{name}.wandb"] * 2  # `wandb sync` makes them one run again
    assert SECRET.encode() not in texts_below(tmp_path)


class Failing(TensorBoardTracker):
    """A tracker that works until step 4."""

    name = "failing"

    def log(self, values, step=None, **kwargs):
        if step >= 4:
            raise ConnectionError(f"nobody answers at https://me:{SECRET}@host\nand more")
        super().log(values, step=step, **kwargs)


@needs("tensorboard")
def test_a_tracker_that_fails_is_named_once_and_training_goes_on(train_with, monkeypatch, caplog):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Failing)
    with caplog.at_level(logging.WARNING):
        lines = train_with("tensorboard")
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 10))
    (warning,) = [message for message in caplog.messages if "tracker" in message]
    assert warning.startswith(
        "tracker 'tensorboard' gets nothing more from this process: ConnectionError: nobody answers"
    )
    assert "more" not in warning.partition("ConnectionError")[2].partition(";")[0]


class NotStarting(TensorBoardTracker):
    """A tracker whose server is not there."""

    def start(self):
        raise ConnectionError("nobody answers")


@needs("tensorboard")
def test_a_new_run_is_refused_a_begun_one_goes_on_where_a_tracker_cannot_start(
    train_with, run, monkeypatch, caplog
):
    with monkeypatch.context() as broken:
        broken.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", NotStarting)
        with pytest.raises(AbilityError, match="cannot be started") as caught:
            train_with("tensorboard")
        assert "track.trackers=[]" in caught.value.remedy
    train_with("tensorboard")
    forget_the_end(run)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", NotStarting)
    with caplog.at_level(logging.WARNING):
        lines = train_with("tensorboard")
    assert lines[-1]["step"] == 9
    assert sum("gets nothing more" in message for message in caplog.messages) == 1
