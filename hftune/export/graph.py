"""A classifier as one file that runs without hftune and timm: torch.export, or ONNX.

Its input is `pixel_values`, float32 [N, C, H, W] for any N: images as evaluation resizes, crops and
normalises them. Its output is `logits` [N, K]. A file is kept only when it gives what the
classifier gives.
"""

import contextlib
import importlib
import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn

from hftune.core import InputSpec
from hftune.data.image_input import normalise
from hftune.errors import MissingPackageError, PublishError
from hftune.export.config import transform_facts
from hftune.model.fused import find_pairs, fused
from hftune.model.published import Classifier

Form = Literal["onnx", "onnx-fp16", "onnx-int8", "torch"]
# As repositories on the Hub name them.
FILES: Mapping[Form, str] = {
    "onnx": "model.onnx",
    "onnx-fp16": "model_fp16.onnx",
    "onnx-int8": "model_int8.onnx",
    "torch": "model.pt2",
}
INPUT, OUTPUT = "pixel_values", "logits"

# Largest difference of a logit, absolute below 1 and relative above. Whole numbers of 8 bits move
# logits further: for them the share of images counts that keep their answer.
_ALLOWED: Mapping[Form, float] = {"onnx": 1e-4, "onnx-fp16": 2e-2, "torch": 1e-4}
_SAME_ANSWERS = 0.95


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a file was tried: pixels uint8 [N, C, H, W] and what the classifier gives, [N, K]."""

    pixels: Tensor
    logits: Tensor
    spec: InputSpec

    @property
    def inputs(self) -> Tensor:
        """The pixels as the model takes them, float32 [N, C, H, W]."""
        return normalise(self.pixels, self.spec)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A file that was tried and kept. `gap` is the largest difference of a logit.

    `same` is the share 0..1 of the `images` whose highest logit is the same one's.
    """

    form: Form
    path: Path
    images: int
    gap: float
    same: float


def write_graph(
    classifier: Classifier, form: Form, path: Path, trial: Trial, *, calibration: Tensor | None
) -> Graph:
    """Write `classifier` in a form, try it in batches of one and of all, and keep it if it agrees.

    `calibration` are training images, uint8 [N, C, H, W], from which 'onnx-int8' takes its ranges.
    Side effect: leaves the model on the CPU in eval mode. Raises PublishError where the file gives
    something else, MissingPackageError without the packages of the form, and DiskError.
    """
    module = classifier.module.to("cpu", torch.float32).eval()
    with tempfile.TemporaryDirectory(prefix=".graph-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        with quiet_exporters():
            if form == "torch":
                write_torch(module, trial.inputs, made)
            else:
                write_onnx(classifier, trial.inputs, made)
            if form == "onnx-fp16":
                to_half(made)
            elif form == "onnx-int8":
                assert calibration is not None
                to_int8(made, normalise(calibration, trial.spec))
            given = run_graph(form, made, trial.inputs)
        graph = compare_graph(form, path, trial, given)
        os.replace(made, path)  # noqa: PTH105  # one step
    return graph


def compare_graph(form: Form, path: Path, trial: Trial, given: Sequence[Tensor]) -> Graph:
    """Give how the logits of a file compare. Raises PublishError where they are others."""
    wanted = trial.logits
    gaps = [float((logits - wanted).abs().max()) for logits in given]
    gap = max(math.inf if math.isnan(one) else one for one in gaps)
    answers = [(logits.argmax(1) == wanted.argmax(1)).float().mean() for logits in given]
    same = float(min(answers))
    graph = Graph(form=form, path=path, images=len(wanted), gap=gap, same=same)
    if form == "onnx-int8":
        if same < _SAME_ANSWERS or not math.isfinite(gap):
            raise PublishError(
                "the model loses too much in 8-bit numbers; the file is not kept",
                found=f"the same answer for {same:.1%} of {len(wanted)} images",
                allowed=f"at least {_SAME_ANSWERS:.0%}",
                remedy="use --onnx or --onnx-fp16",
            )
        return graph
    allowed = _ALLOWED[form] * max(1.0, float(wanted.abs().max()))
    if not gap <= allowed:
        raise PublishError(
            f"the {form} file gives other logits than the model; it is not kept",
            found=f"a difference of {gap:.3g}",
            allowed=f"at most {allowed:.3g}",
            remedy="use another form; this architecture does not survive this one",
        )
    return graph


def run_graph(form: Form, path: Path, inputs: Tensor) -> list[Tensor]:
    """Give the logits [N, K] of a file, asked for one image at a time and for all at once."""
    if form == "torch":
        program = torch.export.load(path).module()
        with torch.inference_mode():
            return [torch.cat([program(one) for one in torch.split(inputs, 1)]), program(inputs)]
    runtime = _package("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def ask(batch: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: batch.numpy()})
        return torch.from_numpy(logits)

    return [torch.cat([ask(one) for one in torch.split(inputs, 1)]), ask(inputs)]


def write_torch(module: nn.Module, inputs: Tensor, path: Path) -> None:
    """Write a module for `torch.export.load`, with any number of images."""
    program = torch.export.export(module, (inputs[:2],), dynamic_shapes=_any_number())
    torch.export.save(program, path)


def write_onnx(classifier: Classifier, inputs: Tensor, path: Path) -> None:
    """Write a classifier as ONNX, batch norm folded away; metadata say classes and transform."""
    onnx = _package("onnx")
    _package("onnxscript")
    module, shape = classifier.module, inputs.shape[1:]
    program = torch.onnx.export(
        fused(module, find_pairs(module, shape)),
        (inputs[:2],),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=_any_number(),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    said = {
        "labels": json.dumps(list(classifier.labels.names), ensure_ascii=False),
        "problem": classifier.labels.problem,
        "transform": json.dumps(transform_facts(classifier.input_spec)),
    }
    onnx.helper.set_model_props(model, {f"hftune.{name}": text for name, text in said.items()})
    onnx.save(model, path)


def to_half(path: Path) -> None:
    """Turn an ONNX file's numbers into fp16; its input and output stay float32."""
    onnx = _package("onnx")
    _package("onnxruntime")
    from onnxruntime.transformers.float16 import convert_float_to_float16  # optional

    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def to_int8(path: Path, inputs: Tensor) -> None:
    """Turn an ONNX file's convolutions and products into 8 bits, ranges taken from `inputs`."""
    _package("onnxruntime")
    from onnxruntime.quantization import (  # optional
        CalibrationDataReader,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # optional

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # not typed there
        def __init__(self) -> None:
            self.left = iter(torch.split(inputs, 8))

        def get_next(self) -> dict[str, object] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch.numpy()}

    plain = path.with_suffix(".plain.onnx")
    quant_pre_process(path, plain, skip_symbolic_shape=True)
    quantize_static(
        plain,
        path,
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Keep exporters from printing progress and advice that is not for whoever exports a model."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "root")
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def _any_number() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim("batch")},)


def _package(name: str) -> ModuleType:
    """Import an optional package. Raises MissingPackageError."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingPackageError(
            "writing ONNX needs packages that are not installed",
            found=f"no package '{name}'",
            remedy="pip install 'hftune[onnx]'",
        ) from error
