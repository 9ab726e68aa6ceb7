"""Every technique at once: resumed anywhere it equals an undisturbed run, bit for bit."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from hftune.core import LabelSpace
from hftune.errors import PlanError
from hftune.model.published import Classifier
from hftune.recipe.schema import (
    Component,
    DistillRecipe,
    EvalRecipe,
    FreezeRecipe,
    L2SPRecipe,
    MixRecipe,
    OptimRecipe,
    SWARecipe,
    TrainRecipe,
    UnfreezeStep,
)
from hftune.train.average import owes_average
from hftune.train.checkpoint import Memory
from hftune.train.guides import Guides
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.session import open_session
from hftune.train.step import train_step
from hftune.train.teacher import Teacher
from hftune.train.world import join_world, make_accelerator

# Nine steps in three phases of three.
PHASES = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="3 steps", train=("head", "stage.-1"), lr_factor=0.5, warmup="2 steps"),
    UnfreezeStep(at="6 steps", train=("all",), lr_factor=0.25),
)


@pytest.fixture
def everything(make_recipe, tmp_path):
    recipe = make_recipe(unfreeze=PHASES)
    return replace(
        recipe,
        data=replace(
            recipe.data,
            mix=MixRecipe(mixup=0.4, cutmix=1.0, p=0.8, draw="image"),
            balance=1.0,
            augment=(Component(name="horizontal_flip"),),
        ),
        freeze=FreezeRecipe(stages=1, layers=("name:*bias",)),
        optim=OptimRecipe(
            lr=1e-2,
            lr_batch_size=16,
            weight_decay=0.0,
            layer_decay=0.9,
            rates={"head": "2x"},
            method=Component(name="layer_adaptive"),
            schedule=Component(
                name="plateau",
                options={"metric": "loss", "patience": 0, "factor": 0.5, "threshold": 10.0},
            ),
            l2_sp=L2SPRecipe(strength=0.1),
            clip_norm=5.0,
            swa=SWARecipe(start="4 steps", every="2 steps"),
        ),
        train=TrainRecipe(length="9 steps", batch_size=8, micro_batch_size=4, precision="fp32"),
        eval=EvalRecipe(every="2 steps", best="accuracy"),
    )


def run_it(recipe, model, splits, run):
    run.mkdir(exist_ok=True)
    plan = make_plan(recipe, model, splits, join_world())
    return plan, train(plan, model, splits, run)


def rates(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line["lr"] for line in map(json.loads, lines) if line["kind"] == "train"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return tmp_path_factory.mktemp("craft") / "undisturbed"


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6, 8, 9])
def test_a_run_of_everything_resumes_bit_exact(
    stop, everything, make_tiny_model, make_splits, tmp_path, undisturbed, stop_after,
):  # fmt: skip
    splits = make_splits()
    if not undisturbed.exists():
        plan, progress = run_it(everything, make_tiny_model("test_resnet"), splits, undisturbed)
        assert progress.step == 9
        assert not owes_average(plan, progress)
        assert progress.plateau_factor < 1  # the plateau did something
    run = tmp_path / "run"
    stop_after(stop)
    _, progress = run_it(everything, make_tiny_model("test_resnet"), splits, run)
    assert progress.step == stop
    plan, progress = run_it(everything, make_tiny_model("test_resnet"), splits, run)
    assert not owes_average(plan, progress)
    assert rates(run) == rates(undisturbed)
    for name in ("model", "optimizer", "swa"):
        newest = [max((r / "checkpoints").iterdir()) for r in (run, undisturbed)]
        a, b = ((path / f"{name}.safetensors").read_bytes() for path in newest)
        assert a == b, name
    assert (run / "best/model.safetensors").read_bytes() == (
        undisturbed / "best/model.safetensors"
    ).read_bytes()


def test_rates_are_peak_times_schedule_phase_and_plateau(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    recipe = make_recipe(unfreeze=PHASES)
    recipe = replace(
        recipe,
        optim=replace(
            recipe.optim,
            lr=1e-2,
            lr_batch_size=16,  # the batch is 8: half of it
            schedule=Component(name="constant"),
        ),
    )
    run_it(recipe, make_tiny_model(), make_splits(), tmp_path / "run")
    half = 5e-3
    # Phase two starts its warm-up of two steps at a hundredth, then (0.01 + 0.99 / 2).
    expected = [half] * 3 + [half * 0.5 * share for share in (0.01, 0.505, 1)] + [half * 0.25] * 3
    assert rates(tmp_path / "run") == pytest.approx(expected)


def test_a_plateau_lowers_what_follows_it(make_recipe, make_tiny_model, make_splits, tmp_path):
    recipe = make_recipe()
    recipe = replace(
        recipe,
        optim=replace(
            recipe.optim,
            schedule=Component(
                name="plateau", options={"patience": 0, "factor": 0.1, "threshold": 10.0}
            ),
        ),
    )
    _, progress = run_it(recipe, make_tiny_model(), make_splits(), tmp_path / "run")
    # An evaluation every three steps; none can gain tenfold over the first.
    assert rates(tmp_path / "run") == pytest.approx([1e-3] * 6 + [1e-4] * 3)
    assert progress.plateau_factor == pytest.approx(0.01)


def test_a_step_of_l2_sp_leaves_the_start_along_the_gradient_alone(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    """At the start the pull on pretrained weights is zero; on new ones it is plain decay."""
    optim = OptimRecipe(
        lr=0.1,
        weight_decay=0.0,
        method=Component(name="sgd", options={"momentum": 0.0}),
        schedule=Component(name="constant"),
    )
    after = {}
    for strength in (0.0, 0.5):
        recipe = make_recipe(
            optim=replace(optim, l2_sp=L2SPRecipe(strength=strength, new_strength=0.25)),
            train=TrainRecipe(length="1 steps", batch_size=8, precision="fp32"),
        )
        model = make_tiny_model()
        head = tuple(name for name in model.module.state_dict() if name.startswith("head."))
        model = replace(model, weights=replace(model.weights, reset=head))
        start = {name: value.clone() for name, value in model.module.state_dict().items()}
        run_it(recipe, model, make_splits(), tmp_path / f"run-{strength}")
        after[strength] = model.module.state_dict()
    for name, value in after[0.0].items():
        pull = 0.1 * 0.25 * start[name] if name == "head.weight" else 0.0
        assert torch.allclose(after[0.5][name], value - pull, atol=1e-7), name


def classifier(make_tiny_model, splits, *, names, seed=5):
    model = make_tiny_model(seed=seed)
    return Classifier(
        module=model.module, input_spec=model.input_spec, labels=LabelSpace(names=names)
    )


def test_a_teacher_answers_in_the_students_order_and_scale(make_tiny_model, make_splits):
    splits = make_splits()
    taught = classifier(make_tiny_model, splits, names=("bright", "dark"))
    spec = replace(
        taught.input_spec, mean=(0.1, 0.2, 0.3), std=(0.4, 0.3, 0.2), height=40, width=40
    )
    teacher = Teacher(taught, spec, splits.labels)
    images = torch.rand(3, 3, 40, 40)
    mean, std = torch.tensor(spec.mean).view(1, 3, 1, 1), torch.tensor(spec.std).view(1, 3, 1, 1)
    own = torch.nn.functional.interpolate(
        images, size=(32, 32), mode="bilinear", antialias=True, align_corners=False
    )
    with torch.no_grad():
        expected = taught.module.eval()((own - 0.5) / 0.5)[:, [1, 0]]
    assert torch.allclose(teacher((images - mean) / std), expected, atol=1e-5)
    assert not teacher.train().module.training
    assert not any(value.requires_grad for value in teacher.parameters())


def test_the_loss_of_a_step_is_shared_between_labels_and_teacher(
    make_recipe, make_tiny_model, make_splits
):
    splits, model = make_splits(), make_tiny_model()
    taught = classifier(make_tiny_model, splits, names=splits.labels.names)
    teacher = Teacher(taught, model.input_spec, splits.labels)
    recipe = make_recipe(distill=DistillRecipe(teacher="given", weight=0.3, temperature=2.0))
    plan = make_plan(recipe, model, splits, join_world())
    session = open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(teacher=teacher),
    )  # fmt: skip
    (batch,) = next(session.batches(0, 1))
    with torch.no_grad():
        inputs, _ = session.to_device(batch)
        logits, answers = model.module(inputs), taught.module.eval()(inputs)
    labels = functional.cross_entropy(logits, batch.targets)
    # T^2 KL(teacher || student) at T = 2, as a mean over the batch.
    distance = 4 * functional.kl_div(
        (logits / 2).log_softmax(1), (answers / 2).softmax(1), reduction="batchmean"
    )
    stats = train_step(session, [batch], step=0)
    assert float(stats.loss) == pytest.approx(float(0.7 * labels + 0.3 * distance), abs=1e-5)


def test_a_teacher_of_other_classes_is_refused(make_tiny_model, make_splits):
    splits = make_splits()
    taught = classifier(make_tiny_model, splits, names=("bright", "grey"))
    with pytest.raises(PlanError, match="other classes") as caught:
        Teacher(taught, taught.input_spec, splits.labels)
    assert "dark" in str(caught.value)


def test_the_loss_of_an_example_is_weighed_by_its_class(make_recipe, make_tiny_model, make_splits):
    splits, model = make_splits(), make_tiny_model()
    counted = replace(splits.labels, counts=(12, 12))
    splits = replace(splits, labels=counted, train=replace(splits.train, labels=counted))
    recipe = make_recipe()
    weights = Component(name="given", options={"weights": {"dark": 1, "bright": 3}})
    recipe = replace(recipe, data=replace(recipe.data, class_weights=weights))
    plan = make_plan(recipe, model, splits, join_world())
    session = open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(),
    )  # fmt: skip
    (batch,) = next(session.batches(0, 1))
    with torch.no_grad():
        inputs, targets = session.to_device(batch)
        losses = functional.cross_entropy(model.module(inputs), targets, reduction="none")
    # As many of each class, so weights of mean 1 are a half and one and a half.
    expected = (losses * torch.tensor([0.5, 1.5])[batch.targets]).mean()
    stats = train_step(session, [batch], step=0)
    assert float(stats.loss) == pytest.approx(float(expected), abs=1e-5)


def test_an_average_keeps_frozen_tensors_to_the_sign_of_zero(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    recipe = make_recipe(freeze=FreezeRecipe(stages=1))
    recipe = replace(recipe, optim=replace(recipe.optim, ema=0.9))
    model, run = make_tiny_model("test_resnet"), tmp_path / "run"
    with torch.no_grad():
        model.module.conv1[0].weight.view(-1)[:7] = -0.0
    before = model.module.conv1[0].weight.detach().clone()
    run_it(recipe, model, make_splits(), run)
    published = load_file(run / "best/model.safetensors")["conv1.0.weight"]
    assert torch.equal(published.view(torch.int32), before.view(torch.int32))
