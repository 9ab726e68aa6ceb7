"""The run folder before training: what is written, and what makes an old one unfit."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hftune.core import Model, RunPlan, Split, Splits, WeightsReport
from hftune.data.labels import count_classes
from hftune.data.numbers import spread_of
from hftune.data.substitute import describe_bad
from hftune.errors import RunFolderError
from hftune.files import remove_leftovers, write_json, write_text
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.recipe.show import changed_settings, to_yaml
from hftune.train.arithmetic import describe_arithmetic
from hftune.train.average_record import SOUP_FILE
from hftune.train.bad_images import add_to_quarantine
from hftune.train.plan import plan_to_json
from hftune.train.run_facts import (
    DATA_FILE,
    MODEL_FILE,
    DataRecord,
    ModelRecord,
    SplitRecord,
    read_data_record,
)
from hftune.train.world import World

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "datasets",
    "safetensors",
    "huggingface_hub",
    "torchmetrics",
    "numpy",
    "Pillow",
)
# What a launcher sets that bears on the numbers; others of its variables hold paths.
_LAUNCHER = (
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_DYNAMO_BACKEND",
    "ACCELERATE_DYNAMO_MODE",
    "ACCELERATE_DYNAMO_USE_DYNAMIC",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_USE_CPU",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_MEGATRON_LM",
)
_MOST_NAMES = 20


def check_run_folder(run: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe, or something that is no run.

    Raises RunFolderError. Called before anything is downloaded or written.
    """
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    if (run / SOUP_FILE).is_file():
        raise RunFolderError(
            "this folder holds a soup of finished runs, which cannot be trained further",
            where=str(run),
            remedy="choose another folder with --output; to start from its weights, export it and "
            "name the artifact in model.repo",
        )
    stored = run / "recipe.yaml"
    if not stored.is_file():
        raise RunFolderError(
            "this folder holds something that is no run",
            where=str(run),
            remedy="choose another folder with --output, or empty this one",
        )
    changes = changed_settings(load_recipe(stored), recipe)
    if changes:
        lines = [f"{setting}: {old} there, {new} here" for setting, old, new in changes]
        raise RunFolderError(
            "this folder holds a run of another recipe",
            found="\n".join(lines),
            allowed="the same recipe; only logging, saving, tracking, publishing and the length "
            "may change",
            where=str(run),
            remedy="choose another folder with --output, or another name with run=NAME",
        )


def check_same_data(run: Path, splits: Splits) -> None:
    """Refuse to go on with other images or labels than the run began with.

    Raises RunFolderError.
    """
    path = run / DATA_FILE
    if not path.is_file():
        return
    before = read_data_record(run).splits
    changed = [
        split.name
        for split in all_splits(splits)
        if split.name in before and before[split.name].digest != split.digest
    ]
    if changed:
        found = [f"other images or labels in: {', '.join(changed)}"]
        if splits.left_out:
            found.append(f"left out now, as they cannot be read:\n{describe_bad(splits.left_out)}")
        raise RunFolderError(
            "the data changed since this run began",
            found="\n".join(found),
            where=str(run),
            remedy="restore the data, or start a new run with --output",
        )


def write_run_facts(
    run: Path, plan: RunPlan, model: Model, splits: Splits, *, world: World
) -> None:
    """Write recipe.yaml, plan.json, environment.json, model.json and data.json. Rank 0 only.

    Under quarantine the images that were left out of the splits are listed, too.
    """
    run.mkdir(parents=True, exist_ok=True)
    for folder in (run, run / "checkpoints"):
        if folder.is_dir():
            remove_leftovers(folder)
    write_text(run / "recipe.yaml", to_yaml(plan.recipe))
    write_json(run / "plan.json", plan_to_json(plan, model))
    write_json(run / "environment.json", describe_environment(world))
    write_json(run / MODEL_FILE, model_record(plan.recipe, model, splits).to_json())
    write_json(run / DATA_FILE, data_record(splits).to_json())
    if plan.recipe.data.on_bad_image == "quarantine" and splits.left_out:
        add_to_quarantine(run, splits.left_out)


def model_record(recipe: Recipe, model: Model, splits: Splits) -> ModelRecord:
    """Give what is needed to build the module again."""
    return ModelRecord(
        architecture=model.base.architecture,
        model_args=dict(model.base.model_args),
        label_names=splits.labels.names,
        problem=recipe.problem,
        input_spec=model.input_spec,
        base=model.base,
        pretrained_cfg=dict(getattr(model.module, "pretrained_cfg", {})),
        weights_report=_short_report(model.weights),
        head=model.weights.head,
    )


def data_record(splits: Splits) -> DataRecord:
    """Give where the data came from, and each split's count, digest and targets in short."""
    return DataRecord(
        facts=splits.facts,
        splits={
            split.name: SplitRecord(
                count=len(split),
                digest=split.digest,
                per_class={} if split.labels.numeric else _per_class(split),
                spread=spread_of(split.rows.targets) if split.labels.numeric else None,
            )
            for split in all_splits(splits)
        },
    )


def all_splits(splits: Splits) -> tuple[Split, ...]:
    """Give the splits that exist, train first."""
    found = (splits.train, splits.val, splits.test)
    return tuple(split for split in found if split is not None)


def describe_environment(world: World) -> dict[str, object]:
    """Give versions, devices and launcher settings; never a token, a user or a host name."""
    launcher = {name: os.environ[name] for name in _LAUNCHER if name in os.environ}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"hftune": version("hftune")} | {name: _version(name) for name in _PACKAGES},
        "device": world.device.type,
        "device_name": _device_name(world.device),
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "arithmetic": describe_arithmetic(world.device),
        "launcher": launcher,
    }


def _per_class(split: Split) -> dict[str, int]:
    """Give the number of examples of each class by its name."""
    counts = count_classes(split.rows.targets, split.labels.size)
    return dict(zip(split.labels.names, counts, strict=True))


def _short_report(report: WeightsReport) -> dict[str, object]:
    values: dict[str, object] = {"matched": len(report.matched)}
    for name in ("reset", "missing", "left_over"):
        items: tuple[str, ...] = getattr(report, name)
        values[name] = list(items[:_MOST_NAMES])
        values[f"num_{name}"] = len(items)
    return values


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """Give the processor's name, as Linux or Python knows it; of several kinds the first."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {os.cpu_count()} logical cores"
