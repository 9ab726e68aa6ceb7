"""How runs are started here: the launcher's own settings, and the line for this machine."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hftune.doctor.finding import Finding, fine, note

TOPIC = "launching"

# What `accelerate config` may have written that a recipe decides, or that stands in its way.
_RECIPES = {"mixed_precision": "train.precision", "gradient_accumulation_steps": "train.batch_size"}
_OTHERS = ("deepspeed_config", "fsdp_config", "megatron_lm_config", "parallelism_config")


def launch_line(num_gpus: int, recipe: str = "RECIPE") -> str:
    """Give the command that uses all of this machine."""
    if num_gpus > 1:
        return f"hftune launch --num_processes {num_gpus} train {recipe}"
    return f"hftune train {recipe}"


def check_launching(num_gpus: int, recipe: str | None) -> Iterator[Finding]:
    """Give the line for this machine, and what in the launcher's settings is not followed."""
    yield fine(TOPIC, f"on all of this machine: {launch_line(num_gpus, recipe or 'RECIPE')}")
    place = config_file()
    if place.is_file():
        yield from check_config(place)
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None and num_gpus == 0:
        fact = f"OMP_NUM_THREADS={threads}: torch computes with so many threads"
        yield note(TOPIC, fact, "unset it, and hftune divides the cores itself")


def config_file() -> Path:
    """Give where `accelerate config` writes."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")).expanduser()
    return home / "accelerate" / "default_config.yaml"


def check_config(place: Path) -> Iterator[Finding]:
    """Find settings of Accelerate's own file that a run does not follow."""
    try:
        values: Any = YAML(typ="safe", pure=True).load(place.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        fact = f"{place} cannot be read: {str(error).splitlines()[0]}"
        yield note(TOPIC, fact, "write it anew: accelerate config default")
        return
    known: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
    for key, setting in _RECIPES.items():
        if known.get(key) not in (None, "no", 1, "1"):
            fact = f"{place}: {key} is {known[key]!r}; the recipe's {setting} is used"
            yield note(TOPIC, fact, f"set {setting} in the recipe")
    for key in _OTHERS:
        if known.get(key):
            fact = f"{place} has a {key}; hftune trains by DDP alone"
            yield note(TOPIC, fact, "hftune launch --multi_gpu ..., or another default_config.yaml")
