"""What of a published model is not as it was when its probe was made, each part looked at alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hftune.core import InputSpec
from hftune.export.config import transform_facts
from hftune.export.probe import Probe, run_pixels, to_model_pixels
from hftune.model.published import Classifier
from hftune.train.receipt import hash_tensors

# Largest allowed difference of a logit, absolute below 1 and relative above.
TOLERANCE = 1e-5

Part = Literal["classes", "resize and crop", "normalisation", "weights"]
PARTS: tuple[Part, ...] = ("classes", "resize and crop", "normalisation", "weights")

_NORMALISATION = ("mean", "std")
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One thing that is not as it was; `found` says what it is, and what it was."""

    part: Part
    found: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model beside its probe. `gap` is the largest difference of a logit on the whole way.

    `allowed` is how large it may be. `notes` are differences that move no logit beyond that.
    """

    images: int
    gap: float
    allowed: float
    drifts: tuple[Drift, ...]
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether everything is as it was."""
        return not self.drifts and self.gap <= self.allowed


def compare_with_probe(classifier: Classifier, probe: Probe) -> Comparison:
    """Look at classes, transform and weights of `classifier`, each alone, and then at the logits.

    Side effect: leaves the model on the CPU in fp32 and eval mode.
    """
    module, spec, allowed = classifier.module, classifier.input_spec, allowed_gap(probe)
    drifts = [
        *_classes(classifier.labels.names, probe.names),
        *_transform(spec, probe.spec),
    ]
    notes: list[str] = []
    pixels = to_model_pixels(probe.images, spec)
    by_weights = run_pixels(module, probe.pixels, probe.spec)
    if spec == probe.spec and not torch.equal(pixels, probe.pixels):
        most = int((pixels.int() - probe.pixels.int()).abs().max())
        other = f"the same settings give other pixels here, by up to {most} of 255 grey levels"
        if _gap(run_pixels(module, pixels, spec), by_weights) > allowed:
            drifts.append(Drift(part="resize and crop", found=other))
        else:
            notes.append(f"{other}; no logit is moved by more than the tolerance")
    changed = _changed_tensors(module, probe)
    if _gap(by_weights, probe.logits) > allowed:
        same = "the same tensors give other logits here"
        drifts.append(Drift(part="weights", found=changed or same))
    elif changed:
        notes.append(f"{changed}; no logit is moved by more than the tolerance")
    return Comparison(
        images=len(probe.images),
        gap=_gap(run_pixels(module, pixels, spec), probe.logits),
        allowed=allowed,
        drifts=tuple(drifts),
        notes=tuple(notes),
    )


def _classes(found: Sequence[str], kept: Sequence[str]) -> Iterator[Drift]:
    if len(found) != len(kept):
        yield Drift(part="classes", found=f"{len(found)} classes, were {len(kept)}")
        return
    other = [
        f"class {position} is {now!r}, was {before!r}"
        for position, (now, before) in enumerate(zip(found, kept, strict=True))
        if now != before
    ]
    if other:
        yield Drift(part="classes", found=_few(other))


def _transform(found: InputSpec, kept: InputSpec) -> Iterator[Drift]:
    """Name every setting of the transform that is another one."""
    now, before = transform_facts(found), transform_facts(kept)
    for key, value in now.items():
        if value != before[key]:
            part: Part = "normalisation" if key in _NORMALISATION else "resize and crop"
            yield Drift(part=part, found=f"{key} is {value}, was {before[key]}")


def _changed_tensors(module: nn.Module, probe: Probe) -> str:
    """Name tensors that are not those of the probe, '' where all are."""
    state = module.state_dict()
    found = hash_tensors(state, list(state))
    every = sorted(found.keys() | probe.tensors.keys())
    names = [name for name in every if found.get(name) != probe.tensors.get(name)]
    if not names:
        return ""
    return f"{len(names)} of {len(probe.tensors)} tensors are others: {_few(names)}"


def _gap(logits: Tensor, others: Tensor) -> float:
    """Give the largest difference; infinite for another shape, or where one is no number."""
    if logits.shape != others.shape:
        return math.inf
    gap = float((logits - others).abs().max())
    return math.inf if math.isnan(gap) else gap


def allowed_gap(probe: Probe) -> float:
    """Give how far a logit may be from the probe's."""
    return TOLERANCE * max(1.0, float(probe.logits.abs().max()))


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
