"""What `--probe` and the gate say about each way in which a published model can drift."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hftune.core import LabelSpace
from hftune.export.drift import compare_with_probe
from hftune.export.probe import Probe, drawn_images, make_probe
from hftune.model.published import Classifier, load_trained
from hftune.train.run_facts import read_run
from tests.finished import write_finished_run


@pytest.fixture
def trained(tmp_path: Path) -> Classifier:
    facts = read_run(write_finished_run(tmp_path / "run"))
    return load_trained(
        facts.model.base, facts.weights, input_spec=facts.model.input_spec, labels=facts.labels
    )


@pytest.fixture
def probe(trained: Classifier) -> Probe:
    return make_probe(trained, drawn_images(3))


def test_what_was_not_touched_agrees_to_the_bit(trained: Classifier, probe: Probe) -> None:
    comparison = compare_with_probe(trained, probe)
    assert comparison.agrees
    assert (comparison.gap, comparison.drifts, comparison.notes) == (0.0, (), ())
    assert comparison.images == 3


@pytest.mark.parametrize(
    ("change", "part", "words"),
    [
        (
            {"interpolation": "bilinear"},
            "resize and crop",
            "interpolation is bilinear, was bicubic",
        ),
        ({"crop_fraction": 1.0}, "resize and crop", "crop_pct is 1.0, was"),
        ({"crop_mode": "squash"}, "resize and crop", "crop_mode is squash, was center"),
        ({"mean": (0.4, 0.5, 0.5)}, "normalisation", "mean is [0.4, 0.5, 0.5], was"),
        ({"std": (0.4, 0.5, 0.5)}, "normalisation", "std is [0.4, 0.5, 0.5], was"),
    ],
)
def test_each_setting_of_the_transform_is_named(
    trained: Classifier, probe: Probe, change: dict[str, object], part: str, words: str
) -> None:
    other = replace(trained, input_spec=replace(trained.input_spec, **change))
    comparison = compare_with_probe(other, probe)
    assert not comparison.agrees
    (drift,) = comparison.drifts
    assert (drift.part, comparison.notes) == (part, ())
    assert words in drift.found
    assert comparison.gap > comparison.allowed


def test_swapped_classes_are_named(trained: Classifier, probe: Probe) -> None:
    first, second, *rest = trained.labels.names
    swapped = LabelSpace(names=(second, first, *rest))
    comparison = compare_with_probe(replace(trained, labels=swapped), probe)
    (drift,) = comparison.drifts
    assert drift.part == "classes"
    assert f"class 0 is {second!r}, was {first!r}" in drift.found
    assert comparison.gap == 0.0
    assert not comparison.agrees


def _wreck(tensor: torch.Tensor) -> None:
    tensor.mul_(-3).add_(0.5)


def _spoil(tensor: torch.Tensor) -> None:
    tensor.fill_(float("nan"))


@pytest.mark.parametrize("damage", [_wreck, _spoil])
def test_a_tensor_that_is_another_is_named(
    trained: Classifier, probe: Probe, damage: Callable[[torch.Tensor], None]
) -> None:
    with torch.no_grad():
        damage(trained.module.get_parameter("conv1.0.weight"))
    comparison = compare_with_probe(trained, probe)
    (drift,) = comparison.drifts
    assert drift.part == "weights"
    assert drift.found.startswith("1 of ")
    assert drift.found.endswith("tensors are others: conv1.0.weight")
    assert not comparison.agrees


def test_a_change_that_moves_no_logit_is_a_note(trained: Classifier, probe: Probe) -> None:
    with torch.no_grad():
        trained.module.get_parameter("fc.bias").add_(1e-7)
    comparison = compare_with_probe(trained, probe)
    assert comparison.agrees
    (note,) = comparison.notes
    assert "fc.bias; no logit is moved by more than the tolerance" in note


def test_another_way_to_resize_is_told_from_other_settings(
    trained: Classifier, probe: Probe
) -> None:
    nearby = probe.pixels.clone()
    nearby[:, :, 0, 0] ^= 1  # as another version of Pillow may round
    comparison = compare_with_probe(trained, replace(probe, pixels=nearby))
    assert "give other pixels here, by up to 1 of 255 grey levels" in str(comparison)
    far = probe.pixels.flip(3)
    comparison = compare_with_probe(trained, replace(probe, pixels=far))
    assert "resize and crop" in {drift.part for drift in comparison.drifts}


def test_everything_at_once_is_named_part_by_part(trained: Classifier, probe: Probe) -> None:
    spec = replace(trained.input_spec, crop_fraction=1.0, mean=(0.1, 0.2, 0.3))
    names = tuple(reversed(trained.labels.names))
    with torch.no_grad():
        _wreck(trained.module.get_parameter("fc.weight"))
    other = replace(trained, input_spec=spec, labels=LabelSpace(names=names))
    parts = [drift.part for drift in compare_with_probe(other, probe).drifts]
    assert parts == ["classes", "resize and crop", "normalisation", "weights"]
