import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from hftune.core import RepoRef
from hftune.errors import DataError, DeviceError, ModelError, RefError, RequestError
from hftune.export.artifact import build_artifact
from hftune.export.drift import allowed_gap
from hftune.export.probe import PROBE, read_probe
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, push
from hftune.predict import Prediction, find_images, load_predictor, predict
from hftune.train.receipt import hash_tensors


def draw(path: Path, *, seed: int = 0, size: tuple[int, int] = (90, 70), **options) -> Path:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size).save(path, **options)
    return path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [draw(tmp_path / f"{seed}.png", seed=seed) for seed in range(5)]


def test_scores_are_those_of_timms_own_transform_and_model(make_run, images):
    folder = build_artifact(make_run()).folder
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
    with torch.inference_mode():
        expected = model(inputs).double().softmax(1)
    for row, prediction in zip(expected, predict(folder, images), strict=True):
        names = model.pretrained_cfg["label_names"]
        for name, score in zip(names, row.tolist(), strict=True):
            assert prediction.scores[name] == pytest.approx(score, abs=1e-6)


def test_a_run_its_artifact_and_a_pulled_folder_say_the_same(make_run, images):
    run = make_run()
    folder = build_artifact(run).folder
    by_run = predict(str(run), images)
    assert predict(str(folder), images) == by_run
    assert predict(RepoRef(folder=folder), images) == by_run


def test_logits_of_the_probe_are_met_to_rounding_with_batch_norm_folded(make_run):
    folder = build_artifact(make_run()).folder
    probe = read_probe(folder / PROBE)
    predictor = load_predictor(folder, device="cpu")
    logits = predictor.logits(probe.images)
    assert not torch.equal(logits, probe.logits)  # it is folded: not the same operations
    assert (logits - probe.logits).abs().max() <= allowed_gap(probe)
    # What the classifier itself holds is as it was saved.
    names = predictor.classifier.module.state_dict()
    assert hash_tensors(names, list(names)) == probe.tensors


def test_a_run_that_is_still_going_can_be_used(make_run, images):
    run = make_run()
    (run / "results.json").unlink()
    assert len(predict(run, images)) == 5


def test_the_order_is_that_of_the_files_for_any_batch_size(make_run, images):
    run = make_run()
    whole = predict(run, images)
    assert [prediction.path for prediction in whole] == images
    for one, other in zip(whole, predict(run, images, batch_size=2), strict=True):
        assert one.label == other.label
        assert one.scores == pytest.approx(dict(other.scores), abs=1e-6)


def test_scores_come_highest_first_and_sum_to_one(make_run, images):
    for prediction in predict(make_run(), images):
        scores = list(prediction.scores.values())
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)
        assert prediction.labels == (prediction.label,)
        assert prediction.score == scores[0]


def test_with_several_labels_each_score_stands_for_itself(make_run, images):
    predictions = predict(make_run(problem="multi_label"), images)
    logits = [sum(prediction.scores.values()) for prediction in predictions]
    assert any(total != pytest.approx(1) for total in logits)
    for prediction in predictions:
        given = {name for name, score in prediction.scores.items() if score >= 0.5}
        assert set(prediction.labels) == given


def test_no_label_at_all_is_an_answer():
    prediction = Prediction(path=Path("x"), scores={"a": 0.4, "b": 0.1}, problem="multi_label")
    assert prediction.labels == ()
    assert prediction.label == "a"


def test_a_photograph_lying_on_its_side_is_turned_upright(make_run, tmp_path):
    run = make_run()
    upright = draw(tmp_path / "upright.png")
    with Image.open(upright) as image:
        lying = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    lying.save(tmp_path / "lying.png", exif=exif)
    one, other = predict(run, [upright, tmp_path / "lying.png"])
    assert one.scores == pytest.approx(dict(other.scores), abs=1e-6)


def test_an_image_that_cannot_be_read_is_named(make_run, tmp_path, images):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        predict(make_run(), [*images, bad])
    assert caught.value.where == str(bad)


def test_names_are_never_guessed(make_run, images):
    folder = build_artifact(make_run()).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["label_names"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="which classes"):
        predict(folder, images)


def test_a_folder_that_is_not_there(tmp_path, images):
    with pytest.raises(RefError, match="no such folder"):
        predict(tmp_path / "nothing", images)


def test_a_device_that_is_not_there(make_run, images):
    with pytest.raises(DeviceError, match="cannot be used"):
        predict(make_run(), images, device="warp")


def test_an_empty_batch_is_refused(make_run, images):
    with pytest.raises(RequestError, match="at least one image"):
        predict(make_run(), images, batch_size=0)


def test_folders_are_searched_for_images(tmp_path, images):
    inner = tmp_path / "more"
    inner.mkdir()
    deep = draw(inner / "Deep.JPG", format="JPEG")
    (inner / "notes.txt").write_text("no image")
    assert find_images([inner, images[0]]) == [deep, images[0]]
    with pytest.raises(DataError, match="no such image"):
        find_images([tmp_path / "gone.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images here"):
        find_images([tmp_path / "empty"])


@pytest.mark.slow
def test_a_repository_is_pulled_and_used_by_name(make_run, images, local_hub, tmp_path):
    run = make_run()
    artifact = build_artifact(run)
    settings = HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache"
    )
    push(artifact.folder, PushTarget(repo_id="local/guess"), message="Publish", settings=settings)
    environment = os.environ | {
        "HF_ENDPOINT": settings.endpoint,
        "HF_TOKEN": str(settings.token),
        "HF_HOME": str(tmp_path / "home"),
    }
    line = [sys.executable, "-m", "hftune", "predict", "local/guess", "--json", str(images[0])]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    expected = predict(run, images[:1])[0]
    assert answer["labels"] == [expected.label]
    assert answer["scores"] == pytest.approx(dict(expected.scores), abs=1e-5)
