"""A run's artifact -> a verified revision on the Hub, safe to do twice."""

import logging
from dataclasses import dataclass
from pathlib import Path

from hftune.core import Artifact, RepoRef
from hftune.export.gate import verify_folder, verify_pushed
from hftune.export.license import check_terms, license_facts
from hftune.export.outside import Outside
from hftune.files import write_json
from hftune.hub.push import PushTarget, push
from hftune.recipe import load_recipe
from hftune.train.run_facts import read_run

logger = logging.getLogger(__name__)

PUSHED_FILE = "pushed.json"


@dataclass(frozen=True, kw_only=True)
class Published:
    """The revision that was pushed; `logit_gap` is how far its logits are from the run's."""

    ref: RepoRef
    logit_gap: float


def publish(
    artifact: Artifact, target: PushTarget, outside: Outside, *, run: Path, message: str
) -> Published:
    """Verify the folder, push it as one commit, pull that commit back and compare logits.

    Writes the commit into `run/pushed.json`. Raises PublishError before anything is sent where
    the folder is not what the run trained or its licence forbids it, and HubError where the Hub
    refuses.
    """
    facts, recipe = read_run(run), load_recipe(run / "recipe.yaml")
    check_terms(recipe.hub, facts.model.base)
    for note in license_facts(facts, recipe).notes:
        logger.warning("%s", note)
    verify_folder(artifact, outside)
    ref = push(artifact.folder, target, message=message)
    verdict = verify_pushed(ref, artifact, outside)
    published = Published(ref=ref, logit_gap=verdict.largest_difference)
    write_json(
        run / PUSHED_FILE,
        {
            "repo_id": ref.repo_id,
            "revision": ref.revision,
            "commit": ref.commit,
            "logit_gap": published.logit_gap,
            "artifact_digest": artifact.digest,
        },
    )
    return published
