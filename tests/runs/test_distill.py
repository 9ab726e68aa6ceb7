"""A student learns from the folder of a run."""

import pytest
import torch

from hftune.errors import PlanError
from hftune.finetune import prepare
from hftune.recipe import load_recipe
from hftune.train.loop import train
from hftune.train.run_folder import write_run_facts
from hftune.train.trained import load_run

pytestmark = pytest.mark.slow


def train_into(folder, recipe):
    prepared = prepare(recipe)
    write_run_facts(folder, prepared.plan, prepared.model, prepared.splits, world=prepared.world)
    train(prepared.plan, prepared.model, prepared.splits, folder)
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
