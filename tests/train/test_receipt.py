"""The freeze receipt: what it claims, what it does not, and that a changed bit is found."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hftune.core import BaseFacts, Model, Phase, RunPlan, WeightsReport
from hftune.errors import DefectError, RunFolderError
from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.recipe.schema import FreezeRecipe
from hftune.train.receipt import frozen_names, hash_tensors, open_receipt
from hftune.train.receipt_record import RECEIPT_FILE, read_receipt
from tests.drawn import SIZE, tiny_model, tiny_recipe

# One family with batch norm, two with layer norm, one with none but a gain per convolution.
FAMILIES = ("test_resnet", "test_vit", "test_convnext", "test_nfnet")


def from_hub(model: Model) -> Model:
    """The same model, as if all but its head had come from a repository."""
    state = model.module.state_dict()
    head = tuple(name for name in state if model.layers.role.get(name) == "head")
    matched = tuple(name for name in state if name not in head)
    return replace(
        model,
        weights=WeightsReport(matched=matched, reset=head),
        base=BaseFacts(
            architecture=model.base.architecture,
            repo_id="timm/tiny",
            hub_id="timm/tiny",
            commit="c" * 40,
        ),
    )


def names_at(model: Model, stages: set[int]) -> frozenset[str]:
    """Parameters of these stages; the head counts as the last."""
    names = [name for name, _ in model.module.named_parameters()]
    return frozenset(name for name in names if model.layers.stage[name] in stages)


def plan_of(model: Model, *trainable: frozenset[str], batch_norm: str = "statistics") -> RunPlan:
    """A plan whose phases train the given names, ten steps each."""
    phases = tuple(
        Phase(start=10 * number, stop=10 * number + 10, trainable=names, label=str(number))
        for number, names in enumerate(trainable)
    )
    return RunPlan(
        recipe=tiny_recipe(freeze=FreezeRecipe(batch_norm=batch_norm)),  # type: ignore[arg-type]
        total_steps=phases[-1].stop,
        steps_per_epoch=10,
        batch_size=4,
        micro_batch_size=4,
        accumulation=1,
        world_size=1,
        precision="fp32",
        peak_lr=0.1,
        phases=phases,
        log_every=1,
        eval_every=10,
        save_seconds=None,
        save_every=10,
        seed=0,
        digest="",
    )


def train(plan: RunPlan, model: Model) -> None:
    """A few steps of each phase by hand, with momentum and weight decay."""
    module, policy = model.module, plan.recipe.freeze.batch_norm
    for phase in plan.phases:
        apply_freeze(module, phase.trainable)
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            set_train_mode(module, model.layers, trainable=phase.trainable, batch_norm=policy)
            module(torch.randn(4, 3, SIZE, SIZE)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()


def test_a_hash_can_be_computed_with_numpy_alone():
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    # dtype, shape and bytes: the docstring's recipe, with numpy and hashlib only
    array = tensor.numpy()
    text = f"{array.dtype} {list(array.shape)}\n"
    expected = hashlib.sha256(text.encode() + array.tobytes()).hexdigest()
    assert hash_tensors({"a": tensor}, ["a"]) == {"a": expected}


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.zeros(3, 2),
        torch.zeros(6),
        torch.tensor([[0.0, 0, 0], [0, 0, 1e-45]]),
        torch.tensor([[0.0, 0, 0], [0, 0, -0.0]]),
    ],
    ids=["dtype", "shape", "dimensions", "smallest number", "sign of zero"],
)
def test_a_hash_sees_every_difference(other):
    hashes = hash_tensors({"a": torch.zeros(2, 3), "b": other}, ["a", "b"])
    assert hashes["a"] != hashes["b"]


def test_a_hash_does_not_see_how_a_tensor_lies_in_memory():
    images = torch.randn(2, 3, 4, 5)
    laid = images.to(memory_format=torch.channels_last)
    assert laid.stride() != images.stride()
    hashes = hash_tensors({"a": images, "b": laid, "scalar": torch.tensor(3)}, ["a", "b", "scalar"])
    assert hashes["a"] == hashes["b"]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_what_no_phase_trains_is_the_same_before_and_after(architecture, tmp_path):
    torch.manual_seed(0)
    model = from_hub(tiny_model(architecture))
    last = model.layers.num_stages
    plan = plan_of(model, names_at(model, {last}), names_at(model, {last - 1, last}))
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    receipt = open_receipt(plan, model)
    assert receipt is not None
    train(plan, model)
    after = model.module.state_dict()
    closed = receipt.close(tmp_path, after)
    really_same = {name for name in after if torch.equal(before[name], after[name])}
    assert closed.changed == ()
    assert set(closed.frozen) <= really_same
    # everything below the last stage is in it, buffers too
    lower = {name for name in after if model.layers.stage[name] < last - 1}
    assert set(closed.frozen) == lower
    assert closed.moving == {}
    assert all(record.from_base for record in closed.frozen.values())
    frozen = sum(p.numel() for n, p in model.module.named_parameters() if n in lower)
    total = sum(p.numel() for p in model.module.parameters())
    assert (closed.num_parameters, closed.share) == (frozen, frozen / total)
    assert sum(part.tensors for part in closed.parts.values()) == len(after)
    assert list(closed.parts) == [*(f"stage.{n}" for n in range(last)), "head"]
    assert read_receipt(tmp_path / RECEIPT_FILE) == closed


def test_statistics_that_follow_the_images_are_told_apart(tmp_path):
    torch.manual_seed(0)
    model = from_hub(tiny_model("test_resnet"))
    plan = plan_of(model, names_at(model, {model.layers.num_stages}), batch_norm="train")
    receipt = open_receipt(plan, model)
    assert receipt is not None
    train(plan, model)
    closed = receipt.close(tmp_path, model.module.state_dict())
    buffers = {name for name, _ in model.module.named_buffers()}
    assert set(closed.moving) == buffers
    assert not buffers & set(closed.frozen)
    assert not any(record.same for record in closed.moving.values())
    assert closed.changed == ()


def test_statistics_of_layers_that_train_are_not_claimed():
    model = tiny_model("test_resnet")
    names = frozenset(name for name, _ in model.module.named_parameters())
    norms = frozenset(name for name in names if model.layers.role[name] == "norm")
    found = frozen_names(plan_of(model, norms), model)
    assert found is not None
    assert set(found.standing) == names - norms
    assert found.moving == ()


def test_statistics_fixed_by_policy_are_claimed_also_where_scale_and_shift_train():
    model = tiny_model("test_resnet")
    names = frozenset(name for name, _ in model.module.named_parameters())
    norms = frozenset(name for name in names if model.layers.role[name] == "norm")
    found = frozen_names(plan_of(model, norms, batch_norm="all"), model)
    assert found is not None
    buffers = {name for name, _ in model.module.named_buffers()}
    assert set(found.standing) == (names - norms) | buffers


def test_nothing_frozen_gives_no_receipt():
    model = tiny_model("test_resnet")
    everything = frozenset(name for name, _ in model.module.named_parameters())
    head = names_at(model, {model.layers.num_stages})
    assert open_receipt(plan_of(model, head, everything), model) is None


def test_what_started_at_random_is_not_called_the_bases(tmp_path):
    model = from_hub(tiny_model("test_resnet"))
    body = names_at(model, set(range(model.layers.num_stages)))
    receipt = open_receipt(plan_of(model, body), model)  # the new head never trains
    assert receipt is not None
    closed = receipt.close(tmp_path, model.module.state_dict())
    assert {name: record.from_base for name, record in closed.frozen.items()} == {
        "fc.weight": False,
        "fc.bias": False,
    }


def test_asking_leaves_the_model_as_it_was():
    model = tiny_model("test_resnet")
    model.module.train()
    flags = [p.requires_grad for p in model.module.parameters()]
    state = {name: value.clone() for name, value in model.module.state_dict().items()}
    open_receipt(plan_of(model, names_at(model, {model.layers.num_stages})), model)
    assert all(child.training for child in model.module.modules())
    assert flags == [p.requires_grad for p in model.module.parameters()]
    assert all(torch.equal(state[n], v) for n, v in model.module.state_dict().items())


@pytest.mark.parametrize("name", ["conv1.0.weight", "bn1.running_mean", "bn1.num_batches_tracked"])
def test_one_changed_number_is_a_defect_that_names_the_tensor(name, tmp_path):
    model = from_hub(tiny_model("test_resnet"))
    receipt = open_receipt(plan_of(model, names_at(model, {model.layers.num_stages})), model)
    assert receipt is not None
    state = {key: value.clone() for key, value in model.module.state_dict().items()}
    flat = state[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(9.0)) if flat.is_floating_point() else 1
    with pytest.raises(DefectError, match="1 tensors changed") as caught:
        receipt.close(tmp_path, state)
    assert caught.value.found == name
    assert isinstance(caught.value, AssertionError)
    stored = json.loads((tmp_path / RECEIPT_FILE).read_text())
    assert stored["frozen"][name]["same"] is False
    assert stored["totals"]["identical_tensors"] == stored["totals"]["frozen_tensors"] - 1
    assert read_receipt(tmp_path / RECEIPT_FILE).changed == (name,)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"base": null, "commit": null}'])
def test_a_damaged_receipt_is_said_to_be_none(text, tmp_path: Path):
    path = tmp_path / RECEIPT_FILE
    path.write_text(text)
    with pytest.raises(RunFolderError, match="no freeze receipt"):
        read_receipt(path)
