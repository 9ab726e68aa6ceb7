"""Every wrong component of a recipe at once, each with the line that names it."""

from pathlib import Path

import pytest

from hftune.errors import RecipeError
from hftune.recipe import resolve_recipe
from hftune.recipe.shipped import list_shipped
from hftune.recipe.types import component_paths
from hftune.train.option_check import FAMILIES, check_options_of

EXPECTED = Path(__file__).parent.parent / "errors" / "recipe" / "wrong_components.txt"

SOUND = """\
run: small
model: {repo: timm/test_resnet.r160_in1k}
data: {source: {name: image_folder, path: ./images}}
"""

WRONG = """\
run: wrong
model: {repo: timm/test_resnet.r160_in1k}
data:
  source: {name: hub_datset, repo: org/name}
  augment:
    - {name: random_resized_crop, min_scale: 2, size: 64}
    - {name: horizontal_flip, probability: 0.5}
    - ./gone.py:sharpen
problem: multi_label
loss: {name: cross_entropy, label_smoothing: -1}
optim:
  method: {name: adamw, betas: [0.9, 1.5], lr: 3}
  schedule: {name: cosine, warmup: 5 weeks, flor: 0}
eval: {metrics: [accuracy, macro_f1], best: los}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_wrong_component_is_reported_with_its_line() -> None:
    Path("wrong.yaml").write_text(WRONG)
    with pytest.raises(RecipeError) as caught:
        check_options_of(resolve_recipe("wrong.yaml"))
    text = str(caught.value).replace(str(Path.cwd()), "HERE")
    assert text + "\n" == EXPECTED.read_text()


def test_every_kind_of_component_has_its_family() -> None:
    assert {*FAMILIES} == {*component_paths()}


@pytest.mark.parametrize("name", [recipe.name for recipe in list_shipped()])
def test_a_shipped_recipe_passes(name: str) -> None:
    check_options_of(resolve_recipe(name))


def test_a_function_of_ones_own_is_checked_like_any_other() -> None:
    Path("mine.yaml").write_text(SOUND + "loss: {name: './mine.py:poly', epsilon: 2}\n")
    Path("mine.py").write_text(
        "def poly(logits, targets, *, epsilon: float = 1.0):\n    return logits\n"
    )
    check_options_of(resolve_recipe("mine.yaml"))
    with pytest.raises(RecipeError) as caught:
        check_options_of(resolve_recipe("mine.yaml", ["loss.epsilon=much", "loss.gamma=1"]))
    found = [(problem.setting, problem.text) for problem in caught.value.problems]
    name = f"{Path.cwd().resolve()}/mine.py:poly"
    assert found == [
        ("loss.epsilon", "'much' is not possible; give a number"),
        ("loss.gamma", f"'{name}' has no such option; possible: 'epsilon'"),
    ]


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_every_schedule_takes_a_warm_up(name: str) -> None:
    Path("small.yaml").write_text(SOUND)
    check_options_of(
        resolve_recipe("small.yaml", [f"optim.schedule={name}", "optim.schedule.warmup=1 epoch"])
    )


@pytest.mark.parametrize(
    ("overrides", "setting", "text"),
    [
        (
            ["optim.schedule={name: plateau, metric: macro_f1}", "eval.metrics=[auroc]"],
            "optim.schedule.metric",
            "this run does not compute 'macro_f1'; give 'auroc', 'accuracy', 'loss', or add it to "
            "eval.metrics",
        ),
        (
            ["optim.schedule=step"],
            "optim.schedule",
            "'step' needs either 'every' or 'milestones'; neither is given",
        ),
        (
            ["optim.schedule={name: step, every: 1 epoch, milestones: [50%]}"],
            "optim.schedule",
            "'step' needs either 'every' or 'milestones'; both are given",
        ),
        (
            ["optim.schedule={name: multi_step, milestones: []}"],
            "optim.schedule.milestones",
            None,
        ),
    ],
)
def test_a_schedule_is_checked_with_the_rest_of_the_recipe(
    overrides: list[str], setting: str, text: str | None
) -> None:
    Path("small.yaml").write_text(SOUND)
    with pytest.raises(RecipeError) as caught:
        check_options_of(resolve_recipe("small.yaml", overrides))
    (problem,) = caught.value.problems
    assert problem.setting == setting
    assert text is None or problem.text == text


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_a_plateau_may_wait_for_any_metric_that_is_computed(metric: str) -> None:
    Path("small.yaml").write_text(SOUND)
    check_options_of(
        resolve_recipe("small.yaml", [f"optim.schedule={{name: plateau, metric: {metric}}}"])
    )


def _texts(*overrides: str) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        check_options_of(resolve_recipe("small.yaml", list(overrides)))
    return {problem.setting: problem.text for problem in caught.value.problems}


def test_a_loss_that_cannot_learn_from_mixed_targets_is_refused() -> None:
    Path("small.yaml").write_text(SOUND + "problem: multi_label\n")
    found = _texts("loss=dice", "data.mix.mixup=0.2")
    assert list(found) == ["loss.name"]
    assert "'binary', 'binary_focal'" in found["loss.name"]
    assert "'iou'" not in found["loss.name"]
    check_options_of(resolve_recipe("small.yaml", ["loss=dice"]))
    check_options_of(resolve_recipe("small.yaml", ["loss=binary", "data.mix.mixup=0.2"]))


def test_dice_is_refused_for_one_class_per_image() -> None:
    Path("small.yaml").write_text(SOUND)
    assert "'dice' does not fit the problem 'single_label'" in _texts("loss=dice")["loss.name"]


def test_what_a_loss_is_given_is_no_option() -> None:
    Path("small.yaml").write_text(SOUND + "problem: multi_label\n")
    check_options_of(resolve_recipe("small.yaml", ["loss=distribution_balanced"]))
    found = _texts("loss={name: distribution_balanced, num_examples: 9, gamma: 0.5}")
    assert "no such option" in found["loss.num_examples"]
    assert found["loss.gamma"].endswith("give 0, or a number that is at least 1")


def test_options_of_a_loss_module_are_those_of_its_init() -> None:
    Path("small.yaml").write_text(SOUND)
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Soft(nn.Module):\n"
        "    def __init__(self, floor, power: float = 1.0):\n"
        "        super().__init__()\n"
    )
    check_options_of(resolve_recipe("small.yaml", ["loss={name: './mine.py:Soft', floor: 1}"]))
    found = _texts("loss={name: './mine.py:Soft', power: much, flor: 1}")
    assert list(found) == ["loss.power", "loss.flor", "loss.floor"]


def test_class_weights_are_checked_like_any_component() -> None:
    Path("small.yaml").write_text(SOUND)
    found = _texts("data.class_weights={name: given, weights: {ok: 0}}", "loss=dise")
    assert list(found) == ["data.class_weights.weights.ok", "loss.name"]
    found = _texts("data.class_weights=invers")
    assert "did you mean 'inverse'?" in found["data.class_weights.name"]
