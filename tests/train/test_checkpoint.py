"""Checkpoints: whole or absent, verified, the newest undamaged one is found."""

import pytest
import torch
from torch import nn

from hftune.core import Progress
from hftune.errors import RunFolderError
from hftune.train.checkpoint import (
    Memory,
    commit_checkpoint,
    list_checkpoints,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
)


def make_memory() -> Memory:
    return Memory(
        moments={"a/b.weight": {"exp_avg": torch.randn(2, 3), "step": torch.tensor(7.0)}},
        group_state={"head": {"step": 7.0}},
        scaler={"scale": 1024.0, "growth_factor": 2.0},
        average={"weight": torch.randn(3, 3)},
    )


def commit(folder, step, module=None):
    return commit_checkpoint(
        folder,
        Progress(step=step, best_value=0.5, owes_evaluation=True),
        module=module or nn.Linear(3, 3),
        memory=make_memory(),
        plan_digest="d",
    )


def test_everything_comes_back_bit_equal(tmp_path):
    module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # strided memory
    memory = make_memory()
    path = commit_checkpoint(
        tmp_path, Progress(step=3, seconds=1.5), module=module, memory=memory, plan_digest="d"
    )
    back = read_checkpoint(path)
    assert back.progress == Progress(step=3, seconds=1.5)
    for name, value in module.state_dict().items():
        assert torch.equal(back.weights[name], value)
    for name, state in memory.moments.items():
        for entry, value in state.items():
            assert torch.equal(back.memory.moments[name][entry], value)
    assert back.memory.group_state == memory.group_state
    assert back.memory.scaler == memory.scaler
    assert torch.equal(back.memory.average["weight"], memory.average["weight"])


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "average.safetensors", "state.json"]
)
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, name, damage):
    commit(tmp_path, 5)
    newest = commit(tmp_path, 10)
    target = newest / name
    content = bytearray(target.read_bytes())
    if damage == "remove":
        target.unlink()
    elif damage == "cut":
        target.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        target.write_bytes(bytes(content))
    with pytest.raises(RunFolderError, match="step-00000010 is damaged"):
        read_checkpoint(newest)
    assert newest_checkpoint(tmp_path).progress.step == 5
    assert "step-00000010" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "damaged-step-00000010", "step-00000005"
    ]  # fmt: skip


def test_where_every_checkpoint_is_damaged_it_is_said(tmp_path, caplog):
    for _ in range(2):  # the second time there is a damaged one of that name already
        (commit(tmp_path, 5) / "state.json").write_text("[]")
        assert newest_checkpoint(tmp_path) is None
    assert "the run begins again" in caplog.text


def test_a_changed_number_in_the_progress_is_damage(tmp_path):
    path = commit(tmp_path, 10)
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace('"step": 10', '"step": 11'))
    with pytest.raises(RunFolderError, match=r"other content in state\.json"):
        read_checkpoint(path)


def test_an_unfinished_write_is_never_read(tmp_path):
    commit(tmp_path, 5)
    aside = tmp_path / ".step-00000010.abc.part"
    aside.mkdir()
    (aside / "state.json").write_text("{}")
    assert newest_checkpoint(tmp_path).progress.step == 5


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 100):
        commit(tmp_path, step)
    prune_checkpoints(tmp_path, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000010", "step-00000100"]


def test_no_checkpoint_is_no_error(tmp_path):
    assert newest_checkpoint(tmp_path / "absent") is None
