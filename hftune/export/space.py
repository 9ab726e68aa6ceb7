"""A published model -> the folder of a Gradio Space that shows it, and that Space on the Hub.

The app needs timm and gradio, not hftune. It loads one commit of the model.
"""

import tempfile
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from hftune.core import RepoRef
from hftune.data.image_input import eval_transform
from hftune.errors import RequestError
from hftune.export.samples import SAMPLES
from hftune.files import write_json, write_text
from hftune.hub.card import read_license
from hftune.hub.client import HubSettings, settings_from_environment
from hftune.hub.contents import CARD
from hftune.hub.push import PushTarget, carry_out
from hftune.hub.push_plan import PushPlan, plan_push
from hftune.hub.space import SpaceFacts, space_card
from hftune.metrics import THRESHOLD
from hftune.model.published import Classifier, load_classifier

# The release of gradio that the app was run with.
GRADIO = "6.31.0"
_REQUIREMENTS = "gradio>=6,<7\ntimm>=1.0.20,<2\ntorch>=2.11,<3\n"


@dataclass(frozen=True, kw_only=True)
class PushedSpace:
    """The Space's commit; `kept` are files that were changed there and so were left alone."""

    ref: RepoRef
    kept: tuple[str, ...] = ()


def write_space(model: RepoRef, folder: Path) -> None:
    """Write a Space that shows `model`, a repository that was pulled, into `folder`.

    Raises RequestError for what is no commit on a Hub, ModelError for a model that does not name
    its classes, and DiskError.
    """
    if model.repo_id is None or model.commit is None or model.folder is None:
        raise RequestError(
            "a Space shows a model that is published",
            found=str(model.folder),
            remedy="push it first, or name its repository, org/name",
        )
    classifier = load_classifier(model)
    about = _about(model, classifier)
    app = files("hftune.export").joinpath("space_app.txt").read_text(encoding="utf-8")
    write_text(folder / "app.py", app)
    write_text(folder / "requirements.txt", _REQUIREMENTS)
    write_json(folder / "model.json", about)
    facts = SpaceFacts(
        title=about["title"],
        repo_id=model.repo_id,
        commit=model.commit,
        license=read_license(model.folder),
        gradio=GRADIO,
    )
    write_text(folder / CARD, space_card(facts, folder))


def push_space(
    model: RepoRef, target: PushTarget, *, settings: HubSettings | None = None
) -> PushedSpace:
    """Publish a Space that shows `model` as one commit; the Space is made if it is missing.

    What its users changed there is kept. Raises what `write_space` and `push` do.
    """
    settings = settings or settings_from_environment()
    with tempfile.TemporaryDirectory(prefix="hftune-space-") as scratch:
        plan = plan_space(model, target, Path(scratch) / "space", settings=settings)
        ref = replace(carry_out(plan, settings), folder=None)  # which is gone in a moment
    return PushedSpace(ref=ref, kept=plan.kept)


def plan_space(
    model: RepoRef, target: PushTarget, folder: Path, *, settings: HubSettings | None = None
) -> PushPlan:
    """Write a Space into `folder` and say what a push of it would do."""
    write_space(model, folder)
    words = f"Show {model.repo_id} at {model.commit}"
    return plan_push(folder, target, message=words, settings=settings)


def _about(model: RepoRef, classifier: Classifier) -> dict[str, Any]:
    """Give what the app reads from its model.json."""
    assert model.repo_id is not None
    assert model.commit is not None
    assert model.folder is not None
    labels = classifier.labels
    return {
        "repo": model.repo_id,
        "revision": model.commit,
        "title": model.repo_id.partition("/")[2],
        "description": f"The image classifier {model.repo_id} at commit {model.commit[:12]}.",
        "problem": labels.problem,
        "labels": list(labels.names),
        "threshold": THRESHOLD if labels.multi else None,
        "mode": eval_transform(classifier.input_spec).channels.mode,
        "examples": [
            path.relative_to(model.folder).as_posix()
            for path in sorted((model.folder / SAMPLES).glob("*.jpg"))
        ],
    }
