"""What exported graphs give beside the model in PyTorch: speed, size and largest difference.

    python -m benchmarks.exported [--architecture NAME ...] [--images 32] [--repeats 5]

Random weights, random images, the threads of this machine; medians of turns. `torch` is the model
in evaluation mode, channels last, as hftune judges it, with batch norm folded. Prints Markdown.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from hftune.core import LabelSpace
from hftune.export.graph import FILES, INPUT, OUTPUT, Form, Trial, write_graph
from hftune.export.probe import run_pixels
from hftune.model.backbone import build_model
from hftune.model.fused import find_pairs, fused
from hftune.model.published import Classifier
from hftune.recipe.schema import ModelRecipe
from hftune.train.run_folder import processor_name

MODELS = ("tf_efficientnet_lite0", "resnet50", "vit_tiny_patch16_224")
FORMS: tuple[Form, ...] = ("onnx", "onnx-fp16", "torch")


def build(architecture: str) -> Classifier:
    """Give an architecture with random weights and ten classes."""
    labels = LabelSpace(names=tuple(f"class {number}" for number in range(10)))
    recipe = ModelRecipe(architecture=architecture, pretrained=False, head_init="timm")
    model = build_model(recipe, labels, source=None)
    return Classifier(module=model.module.eval(), input_spec=model.input_spec, labels=labels)


def runner(form: Form, path: Path) -> Callable[[Tensor], object]:
    """Give what runs a file."""
    if form == "torch":
        program = torch.export.load(path).module()
        return lambda inputs: program(inputs)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run([OUTPUT], {INPUT: inputs.numpy()})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--architecture",
        nargs="+",
        default=["tf_efficientnet_lite0", "resnet50", "vit_tiny_patch16_224"],
    )
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    print(f"{processor_name()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"ONNX Runtime {onnxruntime.__version__}, {wanted.images} images at once\n")
    print(
        "| model | form | MiB | images/s, torch 1 | largest difference |\n|---|---|---:|---:|---:|"
    )
    for name in wanted.architecture:
        for line in measure(build(name), name, wanted.images, wanted.repeats):
            print(line, flush=True)


def measure(model: Classifier, name: str, images: int, repeats: int) -> list[str]:
    """Give a model's lines."""
    spec = model.input_spec
    generator = torch.Generator().manual_seed(0)
    shape = (images, spec.channels, spec.height, spec.width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    trial = Trial(pixels=pixels, logits=run_pixels(model.module, pixels, spec), spec=spec)
    inputs = trial.inputs
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        graphs = {
            form: write_graph(model, form, Path(folder) / FILES[form], trial, calibration=None)
            for form in FORMS
        }
        plain = fused(model.module, find_pairs(model.module, inputs.shape[1:]))
        plain = plain.to(memory_format=torch.channels_last)
        lasting = inputs.contiguous(memory_format=torch.channels_last)
        works: dict[str, Callable[[], object]] = {"": lambda: plain(lasting)}
        for form, graph in graphs.items():
            works[form] = partial(runner(form, graph.path), inputs)
        taken: dict[str, list[float]] = {form: [] for form in works}
        for repeat in range(repeats + 1):
            for form, work in works.items():
                before = time.perf_counter()
                work()
                if repeat:  # the first warms up
                    taken[form].append(time.perf_counter() - before)
        median = {form: statistics.median(times) for form, times in taken.items()}
        return [
            f"| {name} | {form} | {graph.path.stat().st_size / 2**20:.1f} "
            f"| {median[''] / median[form]:.2f} | {graph.gap:.0e} |"
            for form, graph in graphs.items()
        ]


if __name__ == "__main__":
    main()
