"""The pages that the field learned fine-tuning from, each as a recipe, without their mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hftune.core import Progress
from hftune.errors import PlanError, RecipeError
from hftune.finetune import Prepared, prepare
from hftune.recipe import load_recipe, resolve_recipe
from hftune.train.checkpoint import CHECKPOINTS, newest_checkpoint
from hftune.train.loop import train
from hftune.train.option_check import check_options_of
from hftune.train.plan import make_plan, plan_groups
from hftune.train.world import World
from tests.runs.conftest import draw_image

pytestmark = pytest.mark.slow

LIGHT = ("data.workers=0", "train.precision=fp32", "save.every=1 h", "track.every=1 steps")


@pytest.fixture
def insects(tmp_path: Path) -> Path:
    """Two classes in train/ and val/, as the classic has them."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 16), ("val", 6)):
        for row in range(number):
            name, level = (("ants", 90), ("bees", 160))[row % 2]
            draw_image(tmp_path / "insects" / split / name / f"{row:03}.jpg", rng, level)
    return tmp_path / "insects"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Ten classes of 32 by 32 pixels."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 20), ("val", 10), ("test", 10)):
        for row in range(number):
            pixels = rng.normal(20 + 20 * (row % 10), 10, size=(32, 32, 3)).clip(0, 255)
            path = tmp_path / "photographs" / split / str(row % 10) / f"{row:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "photographs"


def local_weights(path: Path, architecture: str, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """Write a 1000-class model into a file, pickled or not by its ending, and give its tensors."""
    torch.manual_seed(3)
    state = timm.create_model(architecture, num_classes=1000).state_dict()
    named = {f"{prefix}{name}": value for name, value in state.items()}
    (torch.save if path.suffix == ".pth" else save_file)(named, path)
    return state


def run(recipe: str | Path, words: Sequence[str], folder: Path) -> tuple[Prepared, Progress]:
    """Train without packaging: what the pages are about."""
    prepared = prepare(load_recipe(recipe, [*words, *LIGHT]))
    folder.mkdir()
    return prepared, train(prepared.plan, prepared.model, prepared.splits, folder)


def trained(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = newest_checkpoint(folder / CHECKPOINTS)
    assert checkpoint is not None
    return checkpoint.weights


def moved(before: dict[str, torch.Tensor], folder: Path) -> set[str]:
    after = trained(folder)
    return {n for n, value in before.items() if n in after and not torch.equal(value, after[n])}


def of_classic(insects: Path, weights: Path) -> list[str]:
    return [
        "model.repo=null",
        "model.architecture=resnet18",
        f"model.weights={weights}",
        f"model.allow_pickle={'true' if weights.suffix == '.pth' else 'false'}",
        "model.image_size=64",
        f"data.source.path={insects}",
        "train.length=2 epochs",
    ]


def test_page_1_a_frozen_extractor_stands_still_to_the_last_buffer(
    insects: Path, tmp_path: Path
) -> None:
    """The page's own code lets batch norm of the frozen extractor move."""
    weights = tmp_path / "resnet18.pth"
    before = local_weights(weights, "resnet18")
    prepared, progress = run("ants-bees-resnet18", of_classic(insects, weights), tmp_path / "run")
    assert progress.step == 8  # two epochs of four batches of four
    head = {name for name in before if name.startswith("fc.")}
    assert moved({n: v for n, v in before.items() if n not in head}, tmp_path / "run") == set()
    assert trained(tmp_path / "run")["fc.weight"].shape == (2, 512)
    (phase,) = prepared.plan.phases
    assert phase.trainable == head


def test_page_1_an_extractor_at_a_tenth_of_the_rate(insects: Path, tmp_path: Path) -> None:
    """The page groups by memory address; here by name."""
    weights = tmp_path / "resnet18.safetensors"
    before = local_weights(weights, "resnet18")
    words = of_classic(insects, weights)
    prepared, _ = run("ants-bees-resnet18-slow", words, tmp_path / "run")
    plan, model = prepared.plan, prepared.model
    rates = {
        name: plan.peak_lr * group.scale
        for group in plan_groups(plan, model, plan.phases[0])
        for name in group.names
    }
    assert rates.keys() == {name for name, _ in model.module.named_parameters()}
    for name, rate in rates.items():
        assert rate == pytest.approx(1e-3 if name.startswith("fc.") else 1e-4)
    assert {"conv1.weight", "bn1.running_mean"} <= moved(before, tmp_path / "run")


def test_page_1_a_zero_rate_is_a_freeze_as_well(insects: Path, tmp_path: Path) -> None:
    weights = tmp_path / "resnet18.safetensors"
    before = local_weights(weights, "resnet18")
    words = [*of_classic(insects, weights), "optim.rates.backbone=0"]
    run("ants-bees-resnet18-slow", words, tmp_path / "run")
    body = {name: value for name, value in before.items() if not name.startswith("fc.")}
    assert moved(body, tmp_path / "run") == set()


def test_page_2_cifar_by_configuration(photographs: Path, tmp_path: Path) -> None:
    weights = tmp_path / "resnet50.safetensors"
    before = local_weights(weights, "resnet50", prefix="backbone.")
    words = [
        "model.repo=null",
        "model.architecture=resnet50",
        f"model.weights={weights}",
        "model.strip_prefix=backbone.",
        f"data.source={{name: image_folder, path: {photographs}}}",
        "train.batch_size=8",
        "train.micro_batch_size=4",
        "train.length=2 steps",
        "optim.schedule={name: multi_step, milestones: [1 steps], factor: 0.1}",
    ]
    prepared, progress = run("cifar10-resnet50", words, tmp_path / "run")
    assert progress.step == 2
    assert prepared.splits.labels.size == 10  # from the data
    assert prepared.model.input_spec.height == 224
    stays = ("conv1", "bn1", "layer1", "layer2")
    frozen = {name for name in before if name.startswith(stays)}
    changed = moved({n: v for n, v in before.items() if not n.startswith("fc.")}, tmp_path / "run")
    assert changed & frozen == set()
    assert {"layer3.0.conv1.weight", "layer4.2.bn3.running_var"} <= changed
    # 8 images in place of 128: the rate follows, and nobody has to remember it.
    assert prepared.plan.peak_lr == pytest.approx(0.01 * 8 / 128)


def test_page_2_one_gpu_and_eight_have_the_same_mathematics(
    photographs: Path, tmp_path: Path
) -> None:
    """The page asks for a hand edit on one GPU; forgotten, its batch is 16 in place of 128."""
    weights = tmp_path / "resnet50.safetensors"
    local_weights(weights, "resnet50")
    words = [
        "model.repo=null",
        "model.architecture=resnet50",
        f"model.weights={weights}",
        f"data.source={{name: image_folder, path: {photographs}}}",
        "train.batch_size=16",
        "train.micro_batch_size=2",
        *LIGHT,
    ]
    prepared = prepare(load_recipe("cifar10-resnet50", words))
    plans = [
        make_plan(
            prepared.plan.recipe,
            prepared.model,
            prepared.splits,
            World(rank=0, size=size, local_rank=0, device=torch.device("cpu")),
        )
        for size in (1, 8)
    ]
    assert [plan.accumulation for plan in plans] == [8, 1]
    assert [plan.micro_batch_size for plan in plans] == [2, 2]
    assert plans[0].digest == plans[1].digest
    assert plans[0].peak_lr == plans[1].peak_lr


PAGE_3 = """\
run: page-3
model: {architecture: resnet18, pretrained: false, image_size: 64}
data: {source: {name: image_folder, path: FOLDER}}
optim:
  method: METHOD
  lr: 1e-3
  rates: RATES
  schedule: {name: plateau, factor: 0.1, patience: 0, metric: loss}
unfreeze:
  - {at: 0%, train: [head]}
  - {at: 1 epochs, train: [head, stage.-1]}
  - {at: 2 epochs, train: [head, "stages[3:]"], lr_factor: 0.5, warmup: 1 steps}
train: {length: 3 epochs, batch_size: 4}
eval: {every: 1 epoch}
"""


EVERY_LAYER = """{"name:conv1": 1e-4, "name:bn1": 1e-4, "name:layer1": 1e-4, "name:layer2": 1e-4,
  "name:layer3": 1e-4, "name:layer4": 1e-4, head: 1e-3}"""


def page_3(insects: Path, tmp_path: Path, *, method: str, rates: str) -> Path:
    recipe = tmp_path / "page.yaml"
    text = PAGE_3.replace("FOLDER", str(insects)).replace("METHOD", method)
    recipe.write_text(text.replace("RATES", rates))
    return recipe


def test_page_3_a_group_for_each_layer(insects: Path, tmp_path: Path) -> None:
    recipe = page_3(insects, tmp_path, method="adam", rates=EVERY_LAYER)
    words = [*LIGHT, "unfreeze=[{at: 0%, train: [all]}]"]
    prepared = prepare(load_recipe(recipe, words))
    (phase,) = prepared.plan.phases
    groups = plan_groups(prepared.plan, prepared.model, phase)
    rates = {n: prepared.plan.peak_lr * group.scale for group in groups for n in group.names}
    for name, rate in rates.items():
        assert rate == pytest.approx(1e-3 if name.startswith("fc.") else 1e-4)
    assert len(rates) == len(list(prepared.model.module.parameters()))


def test_page_3_a_rate_for_what_never_trains_is_refused(insects: Path, tmp_path: Path) -> None:
    recipe = page_3(insects, tmp_path, method="adam", rates=EVERY_LAYER)
    with pytest.raises(PlanError, match="'name:conv1' never trains and is given a rate"):
        prepare(load_recipe(recipe, LIGHT))


@pytest.mark.parametrize("method", ["adam", "layer_adaptive", "lamb"])
def test_page_3_rates_per_layer_and_unfreezing_step_by_step(
    method: str, insects: Path, tmp_path: Path
) -> None:
    """The page sets flags on modules, and leaves unfrozen parameters out of the optimizer."""
    rates = "{stage.3: 1e-4, stage.4: 1e-4}"
    recipe = page_3(insects, tmp_path, method=method, rates=rates)
    prepared = prepare(load_recipe(recipe, LIGHT))
    before = {n: v.clone() for n, v in prepared.model.module.state_dict().items()}
    folder = tmp_path / "run"
    folder.mkdir()
    train(prepared.plan, prepared.model, prepared.splits, folder)
    changed = {name.split(".")[0] for name in moved(before, folder)}
    assert changed == {"fc", "layer3", "layer4"}
    moments = load_file(max((folder / CHECKPOINTS).iterdir()) / "optimizer.safetensors")
    in_optimizer = {name.split(".")[0] for name in moments}
    assert in_optimizer == {"fc", "layer3", "layer4"}


PAGE_4 = """\
run: page-4
model: {architecture: resnet18, pretrained: false, image_size: 64}
data: {source: {name: image_folder, path: FOLDER}}
freeze: {layers: [norm], batch_norm: all}
unfreeze:
  - {at: 0%, train: [head, stage.-1]}
  - {at: 50%, train: [all]}
train: {length: 2 epochs, batch_size: 4}
"""


def test_page_4_thawing_all_leaves_batch_norm_frozen(insects: Path, tmp_path: Path) -> None:
    """The page's thawing switches everything on again, batch norm included."""
    recipe = tmp_path / "page.yaml"
    recipe.write_text(PAGE_4.replace("FOLDER", str(insects)))
    prepared = prepare(load_recipe(recipe, LIGHT))
    before = {n: v.clone() for n, v in prepared.model.module.state_dict().items()}
    folder = tmp_path / "run"
    folder.mkdir()
    train(prepared.plan, prepared.model, prepared.splits, folder)
    changed = moved(before, folder)
    role = prepared.model.layers.role
    assert {name for name in changed if role[name] == "norm"} == set()
    assert {name for name in before if role[name] == "body"} <= changed


def test_page_4_the_new_head_stands_in_the_place_of_the_old(insects: Path, tmp_path: Path) -> None:
    """The page's wrapper keeps the layer of 1000 classes under the new one."""
    weights = tmp_path / "resnet18.safetensors"
    local_weights(weights, "resnet18")
    words = [*of_classic(insects, weights), *LIGHT]
    module = prepare(load_recipe("ants-bees-resnet18", words)).model.module
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    assert shapes["fc.weight"] == (2, 512)
    assert not any(1000 in shape for shape in shapes.values())


@pytest.mark.parametrize("loss", ["dice", "bce_dice", "iou"])
def test_page_5_a_loss_made_for_masks_is_refused_for_one_class(loss: str) -> None:
    """The page uses them on labels and does not say what that means."""
    resolved = resolve_recipe("ants-bees-resnet18", [f"loss={loss}"])
    with pytest.raises(RecipeError, match="does not fit"):
        check_options_of(resolved)


def test_page_5_the_four_situations_are_recipes_that_plan(insects: Path) -> None:
    shares = {}
    for name in ("little-similar", "little-different", "much-different", "much-similar"):
        words = [
            "model.repo=null",
            "model.architecture=resnet18",
            "model.pretrained=false",
            "model.image_size=64",
            f"data.source.path={insects}",
            "data.test=0%",
            "train.batch_size=8",
            "train.micro_batch_size=8",
        ]
        prepared = prepare(load_recipe(name, [*words, *LIGHT]))
        sizes = {n: p.numel() for n, p in prepared.model.module.named_parameters()}
        last = prepared.plan.phases[-1]
        shares[name] = sum(sizes[n] for n in last.trainable) / sum(sizes.values())
    assert shares["little-similar"] < 0.001
    assert 0.9 < shares["little-different"] < 1
    assert shares["much-different"] == shares["much-similar"] == 1
