"""A run of regression as it is published."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from hftune.core import LabelSpace, Split
from hftune.errors import PublishError
from hftune.export.artifact import build_artifact
from hftune.export.checks import check_folder
from hftune.export.probe import read_probe, run_images
from hftune.export.samples import keep_samples, read_samples
from hftune.hub.card import read_metadata
from hftune.predict import load_predictor
from tests.drawn import DrawnRows
from tests.finished_numbers import write_finished_numbers


class Ages(DrawnRows):
    @property
    def targets(self) -> np.ndarray:
        return np.float32([[30], [10], [0.25], [70], [-50], [20], [1234567]])[: self.number]


@pytest.fixture
def run(tmp_path):
    run = write_finished_numbers(tmp_path / "ages", data_license="cc-by-4.0")
    rows = Ages(0, 7)
    labels = LabelSpace(names=("age",), numeric=True)
    keep_samples(run, Split(name="val", rows=rows, labels=labels, digest="x"))
    return run


def test_timm_builds_it_with_one_output_and_the_same_numbers(run):
    folder = build_artifact(run).folder
    config = json.loads((folder / "config.json").read_text())
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 1
    assert config["label_names"] == ["age"]
    assert config["problem_type"] == "regression"
    module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    probe = read_probe(folder / "hftune" / "probe.safetensors")
    assert probe.logits.shape == (4, 1)
    spec = load_predictor(folder).classifier.input_spec
    assert torch.allclose(run_images(module, probe.images, spec), probe.logits, atol=1e-6)


def test_samples_are_spread_over_the_numbers(run):
    # in order: -50, 0.25, 10, 20, 30, 70, 1234567; even places are the first, third, fifth, last
    assert [sample.title for sample in read_samples(run)] == ["-50", "10", "30", "1.235e06"]


def test_the_card_gives_each_sample_its_number(run):
    folder = build_artifact(run, repo_id="me/ages").folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    metadata = read_metadata(text)
    assert metadata["pipeline_tag"] == "image-classification"
    assert "image-regression" in metadata["tags"]
    probe = read_probe(folder / "hftune" / "probe.safetensors")
    told = [entry["output"] for entry in metadata["widget"]]
    assert told == [
        [{"label": "age", "score": pytest.approx(number, abs=1e-3)}]
        for (number,) in probe.logits.tolist()
    ]


def test_the_agreement_picture_goes_along(run):
    (run / "report").mkdir()
    Image.new("RGB", (20, 20), "white").save(run / "report" / "agreement.png")
    artifact = build_artifact(run)
    assert (artifact.folder / "hftune" / "agreement.png").is_file()
    text = artifact.card.read_text(encoding="utf-8")
    assert "![Predicted and true numbers](hftune/agreement.png)" in text


def test_several_outputs_are_no_regression(run):
    folder = build_artifact(run).folder
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_classes": 2, "label_names": ["age", "height"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PublishError, match="regression with 2 outputs"):
        check_folder(folder)


def test_a_published_number_is_predicted_as_it_is(run, tmp_path):
    Image.new("RGB", (80, 60), "grey").save(tmp_path / "grey.png")
    predictor = load_predictor(build_artifact(run).folder)
    assert predictor.labels.numeric
    (prediction,) = predictor.stream([tmp_path / "grey.png"])
    with Image.open(tmp_path / "grey.png") as image:
        (logit,) = predictor.logits([image.convert("RGB")])[0].tolist()
    assert prediction.problem == "regression"
    assert prediction.scores == {"age": pytest.approx(logit, rel=1e-6)}
    assert prediction.labels == ()
