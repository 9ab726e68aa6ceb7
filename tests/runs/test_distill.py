"""A student learns from the folder of a run."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from hftune.errors import PlanError, RunFolderError
from hftune.files import write_json
from hftune.finetune import prepare
from hftune.recipe import load_recipe
from hftune.train.loop import train
from hftune.train.pins import PINS_FILE, read_pins
from hftune.train.run_folder import write_run_facts
from hftune.train.trained import load_run

pytestmark = pytest.mark.slow


def train_into(folder, recipe):
    prepared = prepare(recipe)
    plan, model, splits = prepared.plan, prepared.model, prepared.splits
    write_run_facts(folder, plan, model, splits, world=prepared.world)
    write_json(folder / PINS_FILE, prepared.pins.to_json())
    train(plan, model, splits, folder, teacher=prepared.teacher)
    return prepared


@pytest.fixture
def taught(write_recipe, tmp_path):
    """A recipe and the run folder of what it trained."""
    recipe = write_recipe("test_resnet")
    train_into(tmp_path / "teacher", load_recipe(recipe))
    return recipe, tmp_path / "teacher"


def gap(classifier, prepared):
    """How far a student's probabilities are from the teacher's, over the validation images."""
    images = torch.stack([
        torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(row)) for row in range(8)
    ])  # fmt: skip
    with torch.no_grad():
        mine = prepared.model.module.cpu().eval()(images).softmax(1)
        other = classifier.module.eval()(images).softmax(1)
    return float((mine - other).abs().mean())


def test_a_student_comes_nearer_to_its_teacher(taught, tmp_path):
    recipe, teacher = taught
    words = ["model.architecture=test_vit", "train.length=10 epochs", "train.seed=1"]
    gaps = {}
    guided = [f"distill.teacher={teacher}", "distill.weight=1"]
    for name, more in (("alone", []), ("taught", guided)):
        prepared = train_into(tmp_path / name, load_recipe(recipe, [*words, *more]))
        gaps[name] = gap(load_run(teacher), prepared)
    assert gaps["taught"] < gaps["alone"]


def test_a_teacher_of_other_classes_is_refused_before_anything_is_written(taught, tmp_path):
    recipe, teacher = taught
    record = teacher / "model.json"
    record.write_text(record.read_text().replace('"dark"', '"night"'))
    with pytest.raises(PlanError, match="other classes"):
        prepare(load_recipe(recipe, [f"distill.teacher={teacher}"]))


def test_a_run_does_not_go_on_with_a_teacher_that_was_trained_further(taught, tmp_path):
    recipe, teacher = taught
    student, run = load_recipe(recipe, [f"distill.teacher={teacher}"]), tmp_path / "student"
    train_into(run, student)
    assert prepare(student, run=run).pins == read_pins(run / PINS_FILE)
    weights = teacher / "best" / "model.safetensors"
    moved = {name: tensor.add(1e-3) for name, tensor in load_file(weights).items()}
    save_file(moved, weights)
    with pytest.raises(RunFolderError, match="the teacher changed since this run began"):
        prepare(student, run=run)
