"""The last check before and after publishing: strangers get the same names and logits.

The readers run in a process of their own, with their own model building and transforms.
"""

import importlib.util
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hftune.core import Artifact, RepoRef
from hftune.errors import PublishError
from hftune.export.drift import allowed_gap, compare_with_probe
from hftune.export.outside import Outside, Reader
from hftune.export.probe import PROBE, Probe, read_probe
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.published import load_classifier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who read the folder, and the largest difference of a logit from the probe's."""

    readers: tuple[Reader, ...]
    largest_difference: float


def verify_folder(artifact: Artifact, outside: Outside) -> Verdict:
    """Load the artifact as strangers do and compare names and logits with its probe.

    timm always; transformers where it is installed and can feed the model. Raises PublishError
    when a reader fails or sees another model.
    """
    readers = _readers_for(_read_config(artifact.config))
    return _verify(artifact.folder, artifact, readers, outside)


def verify_pushed(
    ref: RepoRef, artifact: Artifact, outside: Outside, *, settings: HubSettings | None = None
) -> Verdict:
    """Pull the pushed commit into an empty cache and compare it with the artifact's probe.

    By timm, with the names and probe of the artifact on this machine. Raises PublishError when
    what came back is not what was sent, and HubError when it cannot be pulled.
    """
    with tempfile.TemporaryDirectory(prefix="hftune-verify-") as cache:
        pulled = pull(replace(ref, folder=None), cache_dir=Path(cache), settings=settings)
        assert pulled.folder is not None
        return _verify(pulled.folder, artifact, ("timm",), outside)


def _readers_for(config: Mapping[str, Any]) -> tuple[Reader, ...]:
    """Name the readers on this machine that can run a model with this config."""
    block = config.get("pretrained_cfg")
    size = block.get("input_size") if isinstance(block, Mapping) else None
    takes_colour = isinstance(size, list) and size[0] == 3
    # transformers' pipeline feeds three channels, whatever the model takes.
    needed = ("transformers", "torchvision")
    if takes_colour and all(importlib.util.find_spec(name) for name in needed):
        return ("timm", "transformers")
    return ("timm",)


def _verify(
    folder: Path, artifact: Artifact, readers: tuple[Reader, ...], outside: Outside
) -> Verdict:
    """Compare what `readers` get from `folder` with the names and the probe of `artifact`."""
    kept = artifact.folder / PROBE
    probe = read_probe(kept)
    largest = 0.0
    for reader in readers:
        source = f"local-dir:{folder}" if reader == "timm" else str(folder)
        names, logits = outside.ask(reader, source, kept)
        if names != list(probe.names):
            raise PublishError(
                f"{reader} reads other class names",
                found="\n".join([", ".join(names[:10]), *_causes(folder, probe)]),
                allowed=", ".join(probe.names[:10]),
                where=str(folder),
            )
        difference = _compare(logits, probe, reader=reader, folder=folder)
        logger.info("%s: same class names, logits differ by at most %.1e", reader, difference)
        largest = max(largest, difference)
    return Verdict(readers=readers, largest_difference=largest)


def _read_config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _compare(logits: torch.Tensor, probe: Probe, *, reader: str, folder: Path) -> float:
    """Give the largest difference. Raises PublishError when it is above the tolerance."""
    kept = probe.logits
    if logits.shape != kept.shape:
        raise PublishError(
            f"{reader} gives logits of another shape",
            found=str(list(logits.shape)),
            allowed=str(list(kept.shape)),
            where=str(folder),
        )
    difference = float((logits - kept).abs().max())
    allowed = allowed_gap(probe)
    if not difference <= allowed:  # also when it is not a number
        raise PublishError(
            f"{reader} gives other logits than the trained model",
            found="\n".join([f"a difference of {difference:.3g}", *_causes(folder, probe)]),
            allowed=f"at most {allowed:.3g}",
            where=str(folder),
            remedy="the weights or the transform in config.json are not those of the run; "
            "build the artifact again: hftune export RUN",
        )
    return difference


def _causes(folder: Path, probe: Probe) -> list[str]:
    """Name what in a folder is not as it was when the probe was made, a line each."""
    classifier = load_classifier(pull(parse_ref(str(folder))))
    return [f"{one.part}: {one.found}" for one in compare_with_probe(classifier, probe).drifts]
