import json
from collections import Counter
from pathlib import Path

import pytest
import timm
from torch import nn

from benchmarks.peers.limit import split
from benchmarks.peers.network import frozen_modules
from benchmarks.peers.task import Task
from benchmarks.peers.with_hftune import make_recipe
from benchmarks.peers.with_timm import read_steps
from benchmarks.prepare import choose, write_random
from benchmarks.profiles import summary
from hftune.data.seed_elpv import Cell
from hftune.model.layer_map import map_layers
from hftune.recipe import resolve_recipe


def make_task(weights: Path, **changes: object) -> Task:
    usual = {
        "weights": weights, "images": weights, "scratch": weights, "mode": "train", "epochs": 1,
        "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0, "trains": "all", "augment": False,
        "min_scale": 0.5, "judge_every_epoch": False, "workers": 0, "precision": "fp32",
        "seed": 0, "processes": 1, "options": (),
    }  # fmt: skip
    return Task(**(usual | changes))


def test_every_class_keeps_its_share_among_the_chosen() -> None:
    cells = [
        Cell(path=Path(f"{number}.png"), probability=float(number % 4 == 0), module_type="mono")
        for number in range(40)
    ]
    chosen = choose(cells, 12)
    assert Counter(cell.label for cell in chosen) == {"functional": 9, "defective": 3}
    assert choose(cells[::-1], 12) == chosen


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
def test_all_peers_freeze_what_hftune_freezes(architecture: str, tmp_path: Path) -> None:
    write_random(tmp_path, architecture)
    network = timm.create_model(architecture, num_classes=2)
    task = make_task(tmp_path, trains="second-half")
    frozen = frozen_modules(network, task)
    stages = make_recipe(task)["freeze"]["stages"]
    layers = map_layers(network)
    own = {
        name
        for name, value in network.named_parameters()
        if any(value is other for module in frozen for other in module.parameters())
    }
    assert own == {name for name, _ in network.named_parameters() if layers.stage[name] < stages}


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
@pytest.mark.parametrize("trains", ["head", "second-half"])
def test_the_limit_s_two_parts_are_the_network(
    architecture: str, trains: str, tmp_path: Path
) -> None:
    import torch

    write_random(tmp_path, architecture)
    network = timm.create_model(architecture, num_classes=2).eval()
    prefix, rest = split(network, make_task(tmp_path, trains=trains))
    assert isinstance(prefix, nn.Module)
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(rest(prefix(inputs)), network(inputs))


def test_hftune_s_recipe_is_one(tmp_path: Path) -> None:
    words = ('train.cache={"views": 4}',)
    task = make_task(Path("w"), augment=True, trains="head", options=words)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(make_recipe(task)))
    recipe = resolve_recipe(str(path), []).recipe
    assert recipe.train.cache.views == 4
    assert recipe.unfreeze[0].train == ("head",)
    assert [one.name for one in recipe.data.augment] == ["random_resized_crop", "horizontal_flip"]


def test_timm_s_lines_give_the_seconds_of_each_step_and_the_accuracy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [
        "Scheduled epochs: 1. LR stepped per epoch.\n",
        "Train: 0 [   0/8 (  0%)]  Loss: 3.9 (3.9)  Time: 6.125s,    5.22/s  (6.125s,    5.22/s)"
        "  LR: 5.000e-04  Data: 1.2 (1.2)\n",
        "Train: 0 [   1/8 ( 14%)]  Loss: 3.1 (3.5)  Time: 4.250s,    7.53/s  (5.188s,    6.17/s)"
        "  LR: 5.000e-04  Data: 0.0 (0.6)\n",
        "Test: [   0/1]  Time: 1.0 (1.0)  Loss:   0.5 ( 0.5)  Acc@1:  75.000 ( 75.000)\n",
        "Test: [   1/1]  Time: 1.0 (1.0)  Loss:   0.5 ( 0.5)  Acc@1:  87.500 ( 81.250)\n",
    ]
    assert read_steps(lines) == [6.125, 4.25]
    told = [json.loads(line[6:]) for line in capsys.readouterr().out.splitlines() if "{" in line]
    assert [fact["event"] for fact in told] == ["first_step", "judged"]
    assert told[1]["accuracy"] == 0.8125


def test_a_profile_counts_samples_by_the_innermost_function() -> None:
    text = summary(
        [
            "main (run.py:1);train (loop.py:2);conv2d (torch/nn/functional.py:30) 3",
            "main (run.py:1);conv2d (/a/torch/nn/functional.py:31) 5",
            "main (run.py:1);load (data.py:4) 2",
            'process 7:"python -m hftune";main (run.py:1);load (data.py:4) 10',
            'process 7:"python -m hftune" 90',
            "main (benchmarks/peers/with_hftune.py:30);wait (subprocess.py:4) 900",
        ]
    )
    assert "20 samples." in text
    assert "| 40.0% | conv2d (nn/functional.py) |" in text
