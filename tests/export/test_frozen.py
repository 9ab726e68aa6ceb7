"""The freeze receipt in what is published: the card's claim, and weights that deny it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from hftune.core import Model, Phase, WeightsReport
from hftune.errors import DefectError, PublishError, RunFolderError
from hftune.export.artifact import build_artifact, open_artifact
from hftune.export.frozen import RECEIPT, frozen_facts
from hftune.model.layer_map import map_layers
from hftune.recipe.schema import FreezeRecipe
from hftune.train.plan import make_plan
from hftune.train.receipt import open_receipt
from hftune.train.receipt_record import RECEIPT_FILE
from hftune.train.run_facts import read_run
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(make_run: Callable[..., Path]) -> Path:
    """A finished run of test_resnet that trained its last stage and its head only."""
    folder = make_run()
    write_receipt(folder)
    return folder


def write_receipt(
    run: Path,
    *,
    batch_norm: str = "statistics",
    before: dict[str, torch.Tensor] | None = None,
) -> None:
    """Close a receipt over a run's best weights; opened on `before`, or else on the same."""
    facts = read_run(run)
    weights = load_file(facts.weights)
    module = timm.create_model("test_resnet", num_classes=facts.labels.size)
    module.load_state_dict(before or weights)
    layers = map_layers(module)
    head = tuple(name for name in weights if layers.role[name] == "head")
    model = Model(
        module=module,
        input_spec=facts.model.input_spec,
        layers=layers,
        weights=WeightsReport(matched=tuple(n for n in weights if n not in head), reset=head),
        base=facts.model.base,
    )
    names = [name for name, _ in module.named_parameters()]
    last = frozenset(n for n in names if layers.stage[n] >= layers.num_stages - 1)
    recipe = tiny_recipe(freeze=FreezeRecipe(batch_norm=batch_norm))  # type: ignore[arg-type]
    plan = make_plan(recipe, tiny_model(), drawn_splits(), join_world())
    phase = Phase(start=0, stop=plan.total_steps, trainable=last, label="stage.-1, head")
    receipt = open_receipt(replace(plan, phases=(phase,)), model)
    assert receipt is not None
    receipt.close(run, weights)


def change_one_number(path: Path, name: str) -> None:
    tensors = load_file(path)
    flat = tensors[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(9.0))
    save_file(tensors, path, metadata={"format": "pt"})


def test_the_receipt_is_published_and_the_card_counts_what_it_holds(run):
    artifact = build_artifact(run)
    published = json.loads((artifact.folder / RECEIPT).read_text(encoding="utf-8"))
    assert published == json.loads((run / RECEIPT_FILE).read_text(encoding="utf-8"))
    totals = published["totals"]
    assert totals["identical_tensors"] == totals["frozen_tensors"] == len(published["frozen"])
    card = artifact.card.read_text(encoding="utf-8")
    section = card[card.index("## Frozen layers") : card.index("## Data")]
    claim = (
        f"{totals['frozen_tensors']} of {totals['tensors']} tensors, with "
        f"{totals['frozen_parameters']:,} of {totals['parameters']:,} parameters"
    )
    assert claim in section
    assert f"that of `timm/test_resnet.r160_in1k` at commit `{COMMIT[:12]}`" in section
    assert f"hf-hub:timm/test_resnet.r160_in1k@{COMMIT}" in section
    module = timm.create_model("test_resnet", num_classes=3)
    size = sum(value.numel() for value in module.conv1.parameters())
    size += sum(value.numel() for value in module.bn1.parameters())
    row = next(line for line in section.splitlines() if line.startswith("| stage.0 "))
    assert row.endswith(f"| {size:,} of {size:,} |")
    assert "| head" not in section  # nothing of it stood still
    open_artifact(artifact.folder)


def test_the_program_reads_the_branch_that_the_card_stands_on(run):
    card = build_artifact(run, repo_id="me/cats", revision="dev").card.read_text(encoding="utf-8")
    section = card[card.index("## Frozen layers") : card.index("## Data")]
    assert 'timm.create_model("hf-hub:me/cats@dev", pretrained=True)' in section
    assert 'hf_hub_download("me/cats", "hftune/receipt.json", revision="dev")' in section


def test_a_run_that_trained_everything_says_nothing_of_it(make_run):
    artifact = build_artifact(make_run())
    assert "Frozen layers" not in artifact.card.read_text(encoding="utf-8")
    assert not (artifact.folder / RECEIPT).exists()


def test_moving_statistics_are_owned_up_to(make_run):
    run = make_run()
    write_receipt(run, batch_norm="train")
    card = build_artifact(run).card.read_text(encoding="utf-8")
    facts = frozen_facts(read_run(run))
    assert facts is not None
    assert facts.num_moving > 0
    assert f"({facts.num_moving} tensors) followed the new images" in card


def test_a_frozen_head_is_not_called_the_bases(run):
    path = run / RECEIPT_FILE
    receipt = json.loads(path.read_text(encoding="utf-8"))
    record = receipt["frozen"]["conv1.0.weight"] | {"part": "head", "from_base": False}
    receipt["frozen"]["fc.weight"] = record
    path.write_text(json.dumps(receipt), encoding="utf-8")
    facts = frozen_facts(read_run(run))
    assert facts is not None
    assert facts.others == ("fc.weight",)
    assert facts.parts[-1].name == "head"
    assert facts.parts[-1].tensors == 0


def test_a_published_weight_that_is_not_the_receipts_is_found(run):
    artifact = build_artifact(run)
    change_one_number(artifact.weights, "bn1.weight")
    with pytest.raises(PublishError) as caught:
        open_artifact(artifact.folder)
    assert caught.value.found is not None
    assert "other hashes than the weight file gives: bn1.weight" in caught.value.found


def test_best_weights_that_were_changed_after_the_run_are_not_published(run):
    change_one_number(run / "best" / "model.safetensors", "bn1.weight")
    with pytest.raises(PublishError, match="would not be read as it is meant") as caught:
        build_artifact(run)
    assert "bn1.weight" in str(caught.value)
    assert not (run / "artifact").exists()


def test_a_run_whose_frozen_tensors_changed_is_not_published(run):
    before = load_file(run / "best" / "model.safetensors")
    change_one_number(run / "best" / "model.safetensors", "bn1.weight")
    with pytest.raises(DefectError):
        write_receipt(run, before=before)
    with pytest.raises(PublishError, match=r"frozen tensors changed: bn1\.weight"):
        build_artifact(run)


def test_a_receipt_that_cannot_be_read_stops_the_artifact(run):
    (run / RECEIPT_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="no freeze receipt"):
        build_artifact(run)


def test_a_published_receipt_that_cannot_be_read_is_refused(run):
    artifact = build_artifact(run)
    (artifact.folder / RECEIPT).write_text("{}", encoding="utf-8")
    with pytest.raises(PublishError, match=r"receipt\.json cannot be read"):
        open_artifact(artifact.folder)
