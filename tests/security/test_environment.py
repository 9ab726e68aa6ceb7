"""What a run tells about the machine that it ran on, and what it does not."""

import json

import pytest
import torch

from hftune.train.run_folder import describe_environment
from hftune.train.world import World

PLANTED = {
    "USER": "planted-user",
    "LOGNAME": "planted-user",
    "HOME": "/home/planted-user",
    "HOSTNAME": "planted-host",
    "HF_TOKEN": "planted-token",
    "WANDB_API_KEY": "planted-key",
    "ACCELERATE_API_KEY": "planted-key",
    "ACCELERATE_CONFIG_FILE": "/home/planted-user/accelerate.yaml",
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": "/home/planted-user/deepspeed.json",
    "MASTER_ADDR": "planted-host",
}


def test_the_environment_names_no_one_and_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    told = describe_environment(World(rank=0, size=2, local_rank=0, device=torch.device("cpu")))
    assert told["launcher"] == {"ACCELERATE_MIXED_PRECISION": "bf16"}
    assert set(told) == {
        "python", "system", "versions", "device", "device_name", "processes", "threads",
        "arithmetic", "launcher",
    }  # fmt: skip
    assert "planted" not in json.dumps(told)
