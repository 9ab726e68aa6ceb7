"""Fair terms: data and budget are shared, everything else is what an arm is about."""

from dataclasses import replace

import pytest

from hftune.recipe.schema import (
    Component,
    DataRecipe,
    EvalRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
    TrainRecipe,
)
from hftune.recipe.terms import BUDGET_TERMS, DATA_TERMS, unequal_terms

FIRST = Recipe(
    run="first",
    model=ModelRecipe(architecture="resnet18"),
    data=DataRecipe(source=Component(name="image_folder", options={"path": "a"})),
)


def data(**changes):
    return replace(FIRST, run="second", data=replace(FIRST.data, **changes))


@pytest.mark.parametrize(
    ("other", "setting"),
    [
        (replace(FIRST, problem="multi_label"), "problem"),
        (
            data(source=Component(name="image_folder", options={"path": "b"})),
            "data.source.path",
        ),
        (data(val="20%"), "data.val"),
        (data(test="5%"), "data.test"),
        (data(stratify=("camera",)), "data.stratify[0]"),
        (data(split_seed=1), "data.split_seed"),
        (replace(FIRST, train=TrainRecipe(seed=1)), "train.seed"),
    ],
)
def test_other_data_are_no_terms(other, setting):
    assert [item.setting for item in unequal_terms([FIRST, other], DATA_TERMS)] == [setting]
    assert unequal_terms([FIRST, other], BUDGET_TERMS) == []


@pytest.mark.parametrize(
    ("other", "setting"),
    [
        (replace(FIRST, train=TrainRecipe(length="9 epochs")), "train.length"),
        (replace(FIRST, train=TrainRecipe(batch_size=64)), "train.batch_size"),
        (replace(FIRST, eval=EvalRecipe(every="10 steps")), "eval.every"),
        (replace(FIRST, eval=EvalRecipe(best="loss")), "eval.best"),
        (replace(FIRST, eval=EvalRecipe(patience=3)), "eval.patience"),
    ],
)
def test_another_budget_is_named(other, setting):
    assert [item.setting for item in unequal_terms([FIRST, other], BUDGET_TERMS)] == [setting]
    assert unequal_terms([FIRST, other], DATA_TERMS) == []


def test_what_an_arm_is_about_may_differ():
    other = replace(
        FIRST,
        run="second",
        model=ModelRecipe(architecture="resnet18", pretrained=False, image_size=96),
        optim=OptimRecipe(lr=1e-4, layer_decay=0.8),
        data=replace(FIRST.data, augment=(Component(name="horizontal_flip"),), workers=3),
        train=TrainRecipe(micro_batch_size=4, precision="fp32"),
    )
    assert unequal_terms([FIRST, other], (*DATA_TERMS, *BUDGET_TERMS)) == []


def test_every_arm_is_held_against_the_first():
    second, third = data(val="20%"), replace(data(val="30%"), run="third")
    found = unequal_terms([FIRST, second, third], DATA_TERMS)
    assert [str(item) for item in found] == [
        "data.val: 10% in first, 20% in second",
        "data.val: 10% in first, 30% in third",
    ]
