"""What a run folder tells of the machine that it was trained on."""

import os

import torch

from hftune.train.run_folder import describe_environment, processor_name
from hftune.train.world import World


def test_the_machine_is_told_by_its_processor_and_cores() -> None:
    world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    told = describe_environment(world)["device_name"]
    assert told == f"{processor_name()}, {os.cpu_count()} logical cores"
    assert processor_name()
