import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hftune.errors import PublishError, RunFolderError, WeightsError
from hftune.export.artifact import build_artifact, open_artifact
from hftune.export.probe import drawn_images, make_probe, read_probe, run_images, write_probe
from hftune.export.samples import keep_samples, may_share, read_samples
from hftune.model.published import load_trained
from hftune.train.run_facts import read_run
from tests.drawn import drawn_splits


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_files_are_those_of_the_contract(make_run):
    run = make_run()
    artifact = build_artifact(run, repo_id="me/tiny")
    assert set(files_in(run / "artifact")) == {
        "README.md",
        "config.json",
        "hftune/probe.safetensors",
        "hftune/recipe.yaml",
        "hftune/run.json",
        "model.safetensors",
    }
    assert artifact.folder == run / "artifact"
    assert "hf-hub:me/tiny" in artifact.card.read_text(encoding="utf-8")


def test_the_confusion_picture_goes_along(make_run):
    run = make_run()
    (run / "report").mkdir()
    Image.new("RGB", (20, 20), "white").save(run / "report" / "confusion.png")
    artifact = build_artifact(run)
    assert (artifact.folder / "hftune" / "confusion.png").is_file()
    assert "(hftune/confusion.png)" in artifact.card.read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(make_run):
    run = make_run()
    first = build_artifact(run)
    content = files_in(first.folder)
    second = build_artifact(run)
    assert files_in(second.folder) == content
    assert second.digest == first.digest
    assert open_artifact(second.folder) == second


def test_the_digest_changes_with_any_file(make_run):
    artifact = build_artifact(make_run())
    artifact.card.write_text(artifact.card.read_text(encoding="utf-8") + "\nMore.\n")
    assert open_artifact(artifact.folder).digest != artifact.digest


def test_a_failed_build_leaves_the_old_artifact(make_run):
    run = make_run()
    before = files_in(build_artifact(run).folder)
    weights = run / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(WeightsError):
        build_artifact(run)
    assert files_in(run / "artifact") == before
    assert [path.name for path in run.glob(".*")] == []


@pytest.mark.parametrize(
    "name", ["model.json", "data.json", "pins.json", "results.json", "recipe.yaml"]
)
def test_an_unfinished_run_is_refused(make_run, name):
    run = make_run()
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=name):
        build_artifact(run)


def test_paths_of_this_machine_are_cut_out_of_the_recipe(make_run, tmp_path):
    run = make_run()
    recipe = json.loads((run / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["data"]["source"]["path"] = str(tmp_path / "my images" / "cells")
    recipe["model"]["weights"] = str(tmp_path / "start.safetensors")
    recipe["data"]["stratify"] = ["/abs/odd"]
    (run / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    text = build_artifact(run).recipe.read_text(encoding="utf-8")
    assert "path: ./cells" in text
    assert "weights: ./start.safetensors" in text
    assert "- ./odd" in text
    assert str(tmp_path) not in text


def test_the_record_tells_nothing_about_this_machine(make_run):
    run = make_run()
    environment = {"python": "3.12", "versions": {}, "launcher": {"HOST": "my-laptop"}}
    (run / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    data["facts"]["path"] = str(run / "images")
    (run / "data.json").write_text(json.dumps(data), encoding="utf-8")
    artifact = build_artifact(run)
    assert "my-laptop" not in artifact.results.read_text(encoding="utf-8")
    assert str(run) not in artifact.results.read_text(encoding="utf-8")
    assert str(run) not in artifact.card.read_text(encoding="utf-8")


def test_samples_are_one_of_each_class_first(tmp_path):
    split = drawn_splits().val
    keep_samples(tmp_path, split)
    samples = read_samples(tmp_path)
    assert 2 <= len(samples) <= 4
    titles = [sample.title for sample in samples]
    assert set(split.labels.names) <= set(titles)


def test_samples_are_published_only_under_a_known_open_licence(make_run):
    for name, terms, expected in (
        ("open", "cc-by-nc-sa-4.0", True),
        ("closed", "other", False),
        ("unknown", None, False),
    ):
        run = make_run(name, labels=("dark", "bright"), data_license=terms)
        keep_samples(run, drawn_splits().val)
        artifact = build_artifact(run)
        assert (artifact.folder / "samples").is_dir() == expected
        assert ("widget:" in artifact.card.read_text(encoding="utf-8")) == expected
        probe = read_probe(artifact.folder / "hftune" / "probe.safetensors")
        sizes = {image.size for image in probe.images}
        drawn = {image.size for image in drawn_images(3)}
        assert (sizes == drawn) != expected


@pytest.mark.parametrize(
    ("terms", "answer"),
    [
        ("CC-BY-NC-SA-4.0", True),
        ("cc0-1.0", True),
        ("mit", True),
        ("cc-by-nd-4.0", False),
        ("proprietary", False),
        (None, False),
    ],
)
def test_licences_that_allow_sharing(terms, answer):
    assert may_share(terms) is answer


def test_the_widget_shows_what_the_model_says_about_the_published_file(make_run):
    from huggingface_hub import ModelCard

    run = make_run(labels=("dark", "bright"), data_license="mit")
    keep_samples(run, drawn_splits().val)
    artifact = build_artifact(run)
    item = ModelCard(artifact.card.read_text(encoding="utf-8")).data.widget[0]
    trained = trained_of(run)
    with Image.open(artifact.folder / item["src"]) as image:
        logits = run_images(trained.module, [image], trained.input_spec)
    scores = logits[0].softmax(0)
    for entry in item["output"]:
        position = trained.labels.index[entry["label"]]
        assert entry["score"] == pytest.approx(float(scores[position]), abs=1e-4)


def trained_of(run: Path):
    facts = read_run(run)
    return load_trained(
        facts.model.base, facts.weights, input_spec=facts.model.input_spec, labels=facts.labels
    )


def test_the_probe_holds_the_logits_of_the_best_weights(make_run):
    run = make_run()
    artifact = build_artifact(run)
    probe = read_probe(artifact.folder / "hftune" / "probe.safetensors")
    trained = trained_of(run)
    assert torch.equal(run_images(trained.module, probe.images, trained.input_spec), probe.logits)
    assert len(probe.logits.unique()) > 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_probe_reads_back_as_it_was_written(make_run, tmp_path, channels):
    trained = trained_of(make_run(channels=channels))
    probe = make_probe(trained, drawn_images(channels))
    write_probe(tmp_path / "probe.safetensors", probe)
    again = read_probe(tmp_path / "probe.safetensors")
    assert torch.equal(again.logits, probe.logits)
    assert torch.equal(again.pixels, probe.pixels)
    assert probe.pixels.shape[1] == channels
    assert (again.spec, again.names, again.tensors) == (probe.spec, probe.names, probe.tensors)
    for one, other in zip(again.images, probe.images, strict=True):
        assert one.mode == other.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_drawn_images_are_always_the_same_and_feel_every_part_of_the_transform(make_run):
    from dataclasses import replace

    images = drawn_images(3)
    assert [i.tobytes() for i in images] == [i.tobytes() for i in drawn_images(3)]
    trained = trained_of(make_run())
    spec = trained.input_spec
    logits = run_images(trained.module, images, spec)
    for other in (
        replace(spec, interpolation="bilinear"),
        replace(spec, crop_fraction=1.0),
        replace(spec, crop_mode="squash"),
        replace(spec, mean=(0.48, 0.5, 0.5)),
        replace(spec, std=(0.25, 0.26, 0.25)),
    ):
        moved = (run_images(trained.module, images, other) - logits).abs().max()
        assert moved > 1e-4, other


def test_a_damaged_probe_is_refused(tmp_path):
    path = tmp_path / "probe.safetensors"
    with pytest.raises(PublishError, match="probe"):
        read_probe(path)
    path.write_bytes(b"12345678")
    with pytest.raises(PublishError, match="probe"):
        read_probe(path)
