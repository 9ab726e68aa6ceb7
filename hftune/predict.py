"""A run, an artifact or a repository + images -> labels and scores, by the evaluated transform."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from hftune.core import LabelSpace, ProblemName, RepoRef
from hftune.data.decode import decode
from hftune.data.folder_source import SUFFIXES
from hftune.data.image_input import eval_transform, model_inputs
from hftune.errors import DataError, DeviceError, RefError, RequestError
from hftune.files import user_path
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.metrics import THRESHOLD, as_scores
from hftune.model.fused import Fuser
from hftune.model.layout import memory_format
from hftune.model.published import Classifier, load_classifier
from hftune.train.run_facts import MODEL_FILE
from hftune.train.trained import load_run


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one image: `scores` in 0..1 by class name, highest first.

    With one label per image they sum to 1; with several each stands for itself. With regression
    the only score is the number itself, in its own unit, by its name.
    """

    path: Path
    scores: Mapping[str, float]
    problem: ProblemName = "single_label"

    @property
    def label(self) -> str:
        """The class with the highest score, or the name of the number."""
        return next(iter(self.scores))

    @property
    def score(self) -> float:
        """The highest score, or the number."""
        return self.scores[self.label]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that the image gets: one, with several labels any number, else none."""
        return self.labels_from(None)

    def labels_from(self, threshold: float | None) -> tuple[str, ...]:
        """Give the classes that the image gets where a score of `threshold` is needed.

        One class per image: the highest one, or none where its score is lower. None as `threshold`
        asks for no score there, and for 0.5 with several labels per image.
        """
        if self.problem == "single_label":
            return (self.label,) if threshold is None or self.score >= threshold else ()
        if self.problem == "regression":
            return ()
        least = THRESHOLD if threshold is None else threshold
        return tuple(name for name, score in self.scores.items() if score >= least)


def answer_values(
    prediction: Prediction, *, top: int, threshold: float | None = None
) -> dict[str, Any]:
    """Give an answer as JSON values: labels and the `top` scores, or the number by its name."""
    if prediction.problem == "regression":
        return {"numbers": dict(prediction.scores)}
    return {
        "labels": list(prediction.labels_from(threshold)),
        "scores": dict(islice(prediction.scores.items(), top)),
    }


def rounded(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give an answer's JSON values as they are shown: six places of a score, a number in short."""
    rounders = {"scores": lambda score: round(score, 6), "numbers": short}
    return {
        key: {name: rounders[key](value) for name, value in values.items()}
        if key in rounders
        else values
        for key, values in answer.items()
    }


def short(number: float) -> float:
    """Give a number of any size with the digits that fp32 holds."""
    return float(f"{number:.7g}")


class Predictor:
    """A classifier on its device, ready for images.

    What runs is the module as evaluation runs it: batch norm folded into the convolutions, channels
    last where that gains. Its logits differ from those of `classifier.module` by rounding.
    """

    def __init__(self, classifier: Classifier, device: torch.device) -> None:
        self.classifier = classifier
        self.device = device
        spec, module = classifier.input_spec, classifier.module.to(device)
        self.transform = eval_transform(spec)
        self._layout = memory_format("auto", module)
        module.to(memory_format=self._layout)
        self._forward = Fuser()(module, (spec.channels, spec.height, spec.width))

    @property
    def labels(self) -> LabelSpace:
        """The classes, in the order of the logits."""
        return self.classifier.labels

    def logits(self, images: Sequence[Image]) -> Tensor:
        """Give the logits [N, K] of decoded images, float32 on the CPU."""
        pixels = torch.stack([self.transform(image) for image in images])
        inputs = model_inputs(
            pixels, self.classifier.input_spec, device=self.device, layout=self._layout
        )
        with torch.inference_mode():
            logits: Tensor = self._forward(inputs)
        return logits.float().cpu()  # host-device sync

    def stream(self, paths: Iterable[Path], *, batch_size: int = 32) -> Iterator[Prediction]:
        """Give one prediction per image file, in order, a batch at a time.

        Raises DataError at the first file that cannot be read.
        """
        if batch_size < 1:
            raise RequestError("a batch needs at least one image", found=str(batch_size))
        with ThreadPoolExecutor() as pool:  # decoding does not hold the interpreter's lock
            waiting = iter(paths)
            while chunk := list(islice(waiting, batch_size)):
                images = list(pool.map(_decode, chunk))
                yield from self.answers(chunk, images)

    def answers(self, paths: Sequence[Path], images: Sequence[Image]) -> Iterator[Prediction]:
        """Give one prediction per decoded image, all in one forward pass; `paths` name them."""
        if not images:
            return
        scores = as_scores(self.logits(images), problem=self.labels.problem)
        order = scores.argsort(dim=1, descending=True, stable=True)
        for path, row, ranks in zip(paths, scores.tolist(), order.tolist(), strict=True):
            ranked = {self.labels.names[position]: row[position] for position in ranks}
            yield Prediction(path=path, scores=ranked, problem=self.labels.problem)


def predict(
    source: str | Path | RepoRef,
    images: Sequence[str | Path],
    *,
    batch_size: int = 32,
    device: str | None = None,
) -> list[Prediction]:
    """Give one prediction per image file, in the order of `images`.

    `source` is a run folder, an artifact folder or a Hub repository in timm's format. Raises
    ModelError when its class names are not known, DataError for an image that cannot be read.
    """
    predictor = load_predictor(source, device=device)
    return list(predictor.stream([Path(image) for image in images], batch_size=batch_size))


def load_predictor(source: str | Path | RepoRef, *, device: str | None = None) -> Predictor:
    """Load a classifier onto `device`, by default the first GPU and else the CPU.

    Raises RefError, HubError, ModelError, WeightsError, RunFolderError and DeviceError.
    """
    chosen = _choose_device(device)
    return Predictor(_load(source), chosen)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Give the files among `paths`, and those below its folders that are named as images are.

    Raises DataError for what is not there, and when nothing is left.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(inner for inner in path.rglob("*") if inner.suffix.lower() in SUFFIXES)
            found += [inner for inner in below if inner.is_file()]
        elif path.exists():
            found.append(path)
        else:
            raise DataError("no such image", where=str(path))
    if not found:
        raise DataError(
            "there are no images here",
            where=", ".join(map(str, paths)),
            allowed=f"files ending in {', '.join(sorted(SUFFIXES))}",
        )
    return found


def _load(source: str | Path | RepoRef) -> Classifier:
    if isinstance(source, RepoRef):
        return load_classifier(pull(source))
    folder = user_path(source)
    if isinstance(source, Path) and not folder.is_dir():
        raise RefError(
            "no such folder",
            found=str(source),
            remedy="name a run folder, an artifact folder, or a repository as text",
        )
    if (folder / MODEL_FILE).is_file():
        return load_run(folder)
    return load_classifier(pull(parse_ref(str(source))))


def _choose_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            "this device cannot be used",
            found=name,
            allowed="cpu, or what this machine has, such as cuda or mps",
            remedy=str(error).splitlines()[0],
        ) from error
    return device


def _decode(path: Path) -> Image:
    """Read one image upright. Raises DataError, with what to do about it here."""
    try:
        return decode(path, name=str(path))
    except DataError as error:
        error.remedy = "replace it, or leave it out"
        raise
