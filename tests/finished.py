"""A finished run without any training: every file it leaves, for a tiny random model."""

import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from hftune.core import BaseFacts, DataFacts, EvalResult, InputSpec, ProblemName
from hftune.files import write_json
from hftune.train.pins import Pins
from hftune.train.run_facts import (
    DataRecord,
    ModelRecord,
    PhaseRecord,
    ResultsRecord,
    SplitRecord,
)


def write_finished_run(
    run: Path,
    *,
    labels: tuple[str, ...] = ("bad", "good", "odd"),
    problem: ProblemName = "single_label",
    channels: int = 3,
    data_license: str | None = None,
) -> Path:
    """Write what training leaves, for timm's tiny test_resnet with random weights at 64 pixels."""
    torch.manual_seed(0)
    module = timm.create_model(
        "test_resnet", pretrained=False, num_classes=len(labels), in_chans=channels
    )
    (run / "best").mkdir(parents=True)
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, run / "best" / "model.safetensors")
    write_json(run / "best" / "state.json", {"step": 30})
    spec = InputSpec(
        channels=channels,
        height=64,
        width=64,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        interpolation="bicubic",
        crop_fraction=0.875,
    )
    base = BaseFacts(
        architecture="test_resnet",
        repo_id="timm/test_resnet.r160_in1k",
        hub_id="timm/test_resnet.r160_in1k",
        commit="0123456789abcdef0123456789abcdef01234567",
        license="apache-2.0",
        pretrained_cfg=dict(module.pretrained_cfg),
        model_args={} if channels == 3 else {"in_chans": channels},
    )
    # What a base from the Hub carries along: names and test sizes that are untrue of this run.
    stale = {
        "label_names": ["tench", "goldfish", "shark"],
        "test_input_size": [3, 224, 224],
        "test_crop_pct": 0.95,
    }
    model = ModelRecord(
        architecture="test_resnet",
        # timm records the class count and the dropout here; neither may be published.
        model_args={**base.model_args, "num_classes": len(labels), "drop_path_rate": 0.1},
        label_names=labels,
        problem=problem,
        input_spec=spec,
        base=base,
        pretrained_cfg={**module.pretrained_cfg, **stale},
        weights_report={"matched": 100, "reset": ["fc.weight", "fc.bias"]},
    )
    write_json(run / "model.json", model.to_json())
    write_json(run / "pins.json", Pins(model=base.commit).to_json())
    _write_data_and_results(run, labels, problem=problem, data_license=data_license)
    recipe = {
        "run": run.name,
        "model": {"repo": "timm/test_resnet.r160_in1k", "image_size": 64},
        "data": {"source": {"name": "image_folder", "path": "./images"}},
        "problem": problem,
    }
    # JSON is YAML as well.
    write_json(run / "recipe.yaml", recipe)
    write_json(run / "environment.json", {"python": "3.11", "versions": {"torch": "2.11"}})
    return run


def _write_data_and_results(
    run: Path, labels: tuple[str, ...], *, problem: ProblemName, data_license: str | None
) -> None:
    size = len(labels)
    facts = DataFacts(
        repo_id="org/tiny" if data_license else None,
        license=data_license,
        split_rule="10% at random",
    )
    splits = {
        name: SplitRecord(count=count * size, digest=name, per_class=dict.fromkeys(labels, count))
        for name, count in (("train", 40), ("val", 10), ("test", 10))
    }
    write_json(run / "data.json", DataRecord(facts=facts, splits=splits).to_json())
    confusion = [
        [8 if i == j else 2 if j == (i + 1) % size else 0 for j in range(size)] for i in range(size)
    ]
    evaluations = tuple(
        EvalResult(
            split=split,
            step=30,
            loss=0.5,
            values={"accuracy": 0.8, "macro_f1": 0.8},
            per_class={
                name: {"count": 10.0, "precision": 0.8, "recall": 0.8, "f1": 0.8} for name in labels
            },
            num_examples=10 * size,
            confusion=confusion if problem == "single_label" else (),
        )
        for split in ("val", "test")
    )
    results = ResultsRecord(
        evaluations=evaluations,
        best_step=30,
        best_metric="accuracy",
        best_value=0.8,
        steps=40,
        epochs=4.0,
        seconds=12.5,
        images_per_second=96.0,
        num_parameters=372_979,
        phases=(
            PhaseRecord(label="head", start=0, stop=10, num_trainable=1_000),
            PhaseRecord(label="all", start=10, stop=40, num_trainable=372_979),
        ),
    )
    write_json(run / "results.json", results.to_json())
    lines: list[dict[str, object]] = []
    for step in range(1, 41):
        lines.append(
            {
                "kind": "train",
                "step": step,
                "epoch": step / 10,
                "loss": 1.1 - step / 50,
                "lr": 1e-3 * (1 - step / 40),
                "images_per_second": 96.0,
            }
        )
        if step % 10 == 0:
            values = {"accuracy": 0.5 + step / 100, "macro_f1": 0.45 + step / 100}
            lines.append(
                {
                    "kind": "eval",
                    "step": step,
                    "epoch": step / 10,
                    "split": "val",
                    "loss": 1.2 - step / 60,
                    "values": values,
                    "num_examples": 10 * size,
                }
            )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "metrics.jsonl").write_text(text, encoding="utf-8")


def draw_class_images(folder: Path) -> None:
    """Draw images of the classes of a finished run, a folder each."""
    rng = np.random.default_rng(0)
    for name in ("bad", "good", "odd"):
        (folder / name).mkdir(parents=True)
        for row in range(12):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{row}.png")
