"""Phases: they cover the run, and what cannot be carried out is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.errors import ModelError, PlanError
from hftune.optim.phases import make_phases
from hftune.recipe.schema import UnfreezeStep
from tests.drawn import tiny_recipe


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
