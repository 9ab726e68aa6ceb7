"""Phases: they cover the run, and what cannot be carried out is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.errors import HftuneError, ModelError, PlanError
from hftune.model.select import select
from hftune.optim.phases import make_phases
from hftune.recipe.schema import FreezeRecipe, OptimRecipe, UnfreezeStep
from tests.drawn import tiny_recipe

ERRORS = Path(__file__).parent.parent / "errors" / "optim"


def phases_of(mapped, *entries, total_steps=100, steps_per_epoch=10):
    module, layers = mapped
    return make_phases(
        tiny_recipe(unfreeze=tuple(UnfreezeStep(at=at, train=train) for at, train in entries)),
        layers,
        [name for name, _ in module.named_parameters()],
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )


@given(
    starts=st.lists(st.integers(1, 999), unique=True, max_size=6).map(sorted),
    total_steps=st.integers(1000, 2000),
)
def test_phases_cover_the_run_without_gap_or_overlap(resnet, starts, total_steps):
    entries = [(f"{start} steps", ("head",)) for start in (0, *starts)]
    phases = phases_of(resnet, *entries, total_steps=total_steps)
    covered = [step for phase in phases for step in range(phase.start, phase.stop)]
    assert covered == list(range(total_steps))
    assert all(phase.start < phase.stop for phase in phases)


def test_head_then_last_stage_then_all(resnet):
    module, _ = resnet
    phases = phases_of(
        resnet,
        ("0%", ("head",)),
        ("1 epoch", ("head", "stage.-1")),
        ("30%", ("all",)),
    )
    assert [(phase.start, phase.stop) for phase in phases] == [(0, 10), (10, 30), (30, 100)]
    assert [phase.label for phase in phases] == ["head", "head, stage.-1", "all"]
    assert phases[0].trainable == {"fc.weight", "fc.bias"}
    assert "layer4.0.conv1.weight" in phases[1].trainable
    assert "layer3.0.conv1.weight" not in phases[1].trainable
    assert phases[2].trainable == {name for name, _ in module.named_parameters()}


def test_frozen_prefix_ends_at_the_shallowest_trainable_depth(resnet):
    _, layers = resnet
    phases = phases_of(resnet, ("0%", ("head",)), ("10%", ("layers[2:]",)), ("50%", ("all",)))
    assert [phase.frozen_prefix for phase in phases] == [layers.depth["fc.weight"], 2, None]


@pytest.mark.parametrize("entries", [(), (("10%", ("head",)),)])
def test_something_must_train_at_the_start(resnet, entries):
    with pytest.raises(PlanError, match="nothing would train") as caught:
        phases_of(resnet, *entries)
    assert caught.value.allowed == "a first entry with at: 0%"


@pytest.mark.parametrize("second", ["0%", "0.4%", "3 epochs"])
def test_entries_come_one_after_the_other(resnet, second):
    with pytest.raises(PlanError, match="does not come after") as caught:
        phases_of(resnet, ("0%", ("head",)), (second, ("all",)), ("30%", ("head",)))
    assert str(caught.value.where).startswith("unfreeze[")


@pytest.mark.parametrize("at", ["100%", "100 steps", "10 epochs", "12 epochs"])
def test_entry_after_the_end_is_refused(resnet, at):
    with pytest.raises(PlanError, match="training is over") as caught:
        phases_of(resnet, ("0%", ("head",)), (at, ("all",)))
    assert caught.value.where == "unfreeze[1].at"


def test_selector_that_matches_nothing_is_refused(resnet):
    with pytest.raises(ModelError) as caught:
        phases_of(resnet, ("0%", ("head",)), ("10%", ("name:blocks.*",)))
    assert caught.value.where == "unfreeze[1].train"


# What never trains, and what contradicts it.


def with_recipe(mapped, **changes):
    module, layers = mapped
    return make_phases(
        tiny_recipe(**changes),
        layers,
        [name for name, _ in module.named_parameters()],
        total_steps=100,
        steps_per_epoch=10,
    )


def starting(mapped, *prefixes):
    return {name for name, _ in mapped[0].named_parameters() if name.startswith(prefixes)}


def all_names(mapped):
    return {name for name, _ in mapped[0].named_parameters()}


def entry(*train, at="0%", **options):
    return UnfreezeStep(at=at, train=train, **options)


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({"freeze": FreezeRecipe(stages=1)}, ("conv1.", "bn1.")),
        ({"freeze": FreezeRecipe(stages=3)}, ("conv1.", "bn1.", "layer1.", "layer2.")),
        ({"freeze": FreezeRecipe(stages=5)}, ("conv1.", "bn1.", "layer")),
        ({"freeze": FreezeRecipe(layers=("backbone",))}, ("conv1.", "bn1.", "layer")),
        ({"freeze": FreezeRecipe(layers=("name:layer1.0.conv1",))}, ("layer1.0.conv1",)),
        ({"freeze": FreezeRecipe(stages=1, layers=("head",))}, ("conv1.", "bn1.", "fc.")),
        ({"optim": OptimRecipe(rates={"stage.1": 0})}, ("layer1.",)),
        ({"optim": OptimRecipe(rates={"stage.1": "0x", "head": "2x"})}, ("layer1.",)),
        ({"optim": OptimRecipe(rates={"backbone": 0.0})}, ("conv1.", "bn1.", "layer")),
        ({"optim": OptimRecipe(rates={"all": 0, "stage.4": 1e-4})}, ("conv", "bn", "layer1.",
            "layer2.", "layer3.", "fc.")),
    ],
)  # fmt: skip
def test_what_is_frozen_trains_in_no_phase(resnet, changes, frozen):
    phases = with_recipe(resnet, unfreeze=(entry("all"), entry("all", at="50%")), **changes)
    for phase in phases:
        assert phase.trainable == all_names(resnet) - starting(resnet, *frozen)


def test_freezing_but_for_norms_leaves_norms(resnet):
    phases = with_recipe(resnet, freeze=FreezeRecipe(layers=("backbone", "not norm")))
    norms = {name for name, role in resnet[1].role.items() if role == "norm"} & all_names(resnet)
    assert phases[0].trainable == norms | {"fc.weight", "fc.bias"}


def test_the_frozen_prefix_counts_what_is_frozen_for_good(resnet):
    _, layers = resnet
    phases = with_recipe(resnet, freeze=FreezeRecipe(stages=2))
    assert phases[0].frozen_prefix == layers.depth["layer2.0.conv1.weight"]


@settings(max_examples=30, deadline=None)
@given(
    stages=st.integers(0, 5),
    listed=st.sampled_from([(), ("norm",), ("layer.3",), ("backbone", "not norm")]),
    zero=st.sampled_from([(), ("stage.0",), ("bias", "norm"), ("layers[2:4]",)]),
    train=st.sampled_from([("all",), ("all", "not norm"), ("head", "not bias", "backbone")]),
)
def test_a_phase_trains_what_it_names_less_what_is_frozen(vit, stages, listed, zero, train):
    names, layers = sorted(all_names(vit)), vit[1]
    stages = min(stages, layers.num_stages)
    frozen = {name for name in names if layers.stage[name] < stages}
    for selectors in (listed, zero):
        frozen |= select(selectors, layers, names) if selectors else set()
    parts = [select([one], layers, names) for one in train if not one.startswith("not ")]

    def phases():
        return with_recipe(
            vit,
            freeze=FreezeRecipe(stages=stages, layers=listed),
            optim=OptimRecipe(rates=dict.fromkeys(zero, 0)),
            unfreeze=(UnfreezeStep(train=train),),
        )

    if any(part <= frozen for part in (*parts, select(train, layers, names))):
        with pytest.raises(PlanError, match="frozen"):
            phases()
    else:
        assert phases()[0].trainable == select(train, layers, names) - frozen


def test_factor_and_warmup_reach_their_phase(resnet):
    phases = with_recipe(
        resnet,
        unfreeze=(
            entry("head", warmup="5%"),
            entry("head", at="20%", lr_factor=0.1, warmup="1 epoch"),
            entry("all", at="50%", lr_factor=0.01, warmup="3 steps"),
        ),
    )
    assert [(phase.lr_factor, phase.warmup_steps) for phase in phases] == [
        (1.0, 5),
        (0.1, 10),
        (0.01, 3),
    ]


def test_the_same_set_twice_at_the_same_rate_is_no_error(resnet):
    first, second = with_recipe(resnet, unfreeze=(entry("head"), entry("head", at="50%")))
    assert first.trainable == second.trainable


@pytest.mark.parametrize("warmup", ["20%", "20 steps", "2 epochs", "99%"])
def test_a_warmup_that_fills_its_phase_is_refused(resnet, warmup):
    unfreeze = (entry("head"), entry("all", at="80%", warmup=warmup))
    with pytest.raises(PlanError, match="leaves no step") as caught:
        with_recipe(resnet, unfreeze=unfreeze)
    assert caught.value.where == "unfreeze[1].warmup"
    assert caught.value.allowed == "up to 19 steps"


# name of the expected text -> what the recipe says
REFUSED = {
    "too_many_stages": {"freeze": FreezeRecipe(stages=6)},
    "freeze_of_nothing": {"freeze": FreezeRecipe(layers=("name:stem.*",))},
    "everything_frozen": {
        "freeze": FreezeRecipe(stages=5),
        "optim": OptimRecipe(rates={"name:fc": 0}),
    },
    "entry_frozen": {
        "freeze": FreezeRecipe(stages=2, layers=("norm",)),
        "unfreeze": (entry("head"), entry("head", "layers[:3]", at="10%")),
    },
    "entry_frozen_together": {
        "freeze": FreezeRecipe(layers=("backbone",)),
        "unfreeze": (entry("all"), entry("all", "not head", at="10%")),
    },
    "entry_with_zero_rate": {
        "optim": OptimRecipe(rates={"stages[:2]": 0}),
        "unfreeze": (entry("head", "stage.1"),),
    },
    "frozen_and_given_a_rate": {
        "freeze": FreezeRecipe(stages=2),
        "optim": OptimRecipe(rates={"head": "3x", "layers[:2]": 1e-4}),
    },
    "rate_of_what_never_trains": {
        "optim": OptimRecipe(rates={"stage.1": 1e-4}),
        "unfreeze": (entry("head"), entry("head", "stage.-1", at="10%")),
    },
    "rate_never_used": {"optim": OptimRecipe(rates={"head": "3x", "stage.1": 1e-4, "all": "0.1x"})},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_contradiction_is_refused_word_for_word(resnet, name):
    with pytest.raises(HftuneError) as caught:
        with_recipe(resnet, **REFUSED[name])
    assert f"error: {caught.value}\n" == (ERRORS / f"{name}.txt").read_text(encoding="utf-8")


def test_no_expected_text_is_without_its_case():
    assert {path.stem for path in ERRORS.glob("*.txt")} == set(REFUSED)


def test_a_rate_that_some_of_its_parameters_use_is_no_contradiction(resnet):
    phases = with_recipe(
        resnet,
        freeze=FreezeRecipe(stages=2),
        optim=OptimRecipe(rates={"backbone": "0.5x", "head": 1e-3}),
        unfreeze=(entry("head"), entry("all", at="10%")),
    )
    assert len(phases) == 2
