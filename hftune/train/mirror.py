"""A run on a branch of the Hub as it grows, so that another machine can go on with it."""

import logging
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

from hftune.core import RepoRef, RunPlan
from hftune.errors import HftuneError, HubError, PushConflictError, RecipeError, RunFolderError
from hftune.files import write_bytes, write_text
from hftune.hub.branch import PushTarget
from hftune.hub.client import HubSettings
from hftune.hub.mirror import MIRROR_FILE, fetch_state, find_state, forget_history, send_state
from hftune.recipe import load_recipe
from hftune.recipe.forms import is_duration
from hftune.recipe.schema import Recipe
from hftune.recipe.show import changed_settings, to_public_yaml, to_yaml
from hftune.train.checkpoint import CHECKPOINTS, newest_checkpoint
from hftune.train.mirror_state import (
    RECIPE,
    MirrorRecord,
    newest_state,
    place_state,
    read_record,
    stage_state,
)
from hftune.units import parse_duration, parse_span

logger = logging.getLogger(__name__)

# How long the newest checkpoint is waited for: at a stop, when schedulers commonly kill after
# 30 s; and at the end of a run.
STOP_SECONDS = 15.0
END_SECONDS = 600.0


def mirror_target(recipe: Recipe) -> PushTarget | None:
    """Give where checkpoints are sent to; None where the recipe keeps them on this machine."""
    save, hub = recipe.save, recipe.hub
    if save.push_every is None or hub.push_to is None:
        return None
    return PushTarget(repo_id=hub.push_to, private=hub.private, revision=save.push_branch)


def open_mirror(
    plan: RunPlan, run: Path, *, settings: HubSettings | None = None
) -> "Mirror | None":
    """Give the mirror of a run, None where its recipe wants none. Called by rank 0 only."""
    target = mirror_target(plan.recipe)
    return None if target is None else Mirror(plan, run, target=target, settings=settings)


class Mirror:
    """Sends the newest checkpoint, and what belongs to it, to a branch. On rank 0 only.

    Each upload runs in a thread of its own; training neither waits for it nor ends by it. While
    one is under way, later states are passed over: the next that is due is the newest. `known`
    are the contents of `mirror.json` that the branch may hold without another having sent it: that
    which `restore_from_hub` found and left in the run folder, then what was sent from here.
    """

    def __init__(
        self, plan: RunPlan, run: Path, *, target: PushTarget, settings: HubSettings | None = None
    ) -> None:
        self.plan = plan
        self.run = run
        self.target = target
        self.settings = settings
        self.sender = uuid.uuid4().hex
        self.sent = read_record(run / MIRROR_FILE) if (run / MIRROR_FILE).is_file() else None
        self.known = [] if self.sent is None else [(run / MIRROR_FILE).read_bytes()]
        self.is_refused = False
        self._last_step = 0 if self.sent is None else self.sent.step
        self._last_time = time.monotonic()
        self._upload: threading.Thread | None = None

    def offer(self, step: int) -> None:
        """Begin to send the checkpoint after `step` steps, if it is time and nothing is sent now.

        To be called after each commit of a checkpoint.
        """
        if self.wait(seconds=0) and self._is_due(step):
            self._begin()

    def finish(self, *, seconds: float) -> None:
        """Wait until the newest checkpoint is on the Hub, at most so long."""
        end = time.monotonic() + seconds
        if self.wait(seconds=seconds):
            self._begin()
        if not self.wait(seconds=end - time.monotonic()):
            logger.warning(
                "the newest checkpoint did not reach %s in %.0f s; there lies the one after step "
                "%d, here all is kept in %s",
                *(self._place, seconds, 0 if self.sent is None else self.sent.step, self.run),
            )

    def wait(self, *, seconds: float) -> bool:
        """Wait at most so long until nothing is being sent, and say whether that is so."""
        if self._upload is None:
            return True
        self._upload.join(max(0.0, seconds))
        return not self._upload.is_alive()

    @property
    def _place(self) -> str:
        return f"{self.target.repo_id}, branch {self.target.revision}"

    def _is_due(self, step: int) -> bool:
        every = self.plan.recipe.save.push_every
        assert every is not None
        if is_duration(every):
            return time.monotonic() - self._last_time >= parse_duration(every)
        interval = parse_span(every).steps(steps_per_epoch=self.plan.steps_per_epoch)
        return step - self._last_step >= interval

    def _begin(self) -> None:
        """Set the newest state aside and send it in the background, unless the Hub has it."""
        folder = self.run / f".mirror.{uuid.uuid4().hex[:8]}.part"
        try:
            record = newest_state(self.run, self.sender, name=self.plan.recipe.run)
            if self.is_refused or record is None or self._has(record):
                return
            self._last_step, self._last_time = record.step, time.monotonic()
            stage_state(self.run, folder, self.plan.recipe, record)
        except (HftuneError, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._warn(error)
            return
        self._upload = threading.Thread(target=self._send, args=(folder, record), daemon=True)
        self._upload.start()

    def _has(self, record: MirrorRecord) -> bool:
        sent = self.sent
        return sent is not None and (sent.step, sent.state) == (record.step, record.state)

    def _send(self, folder: Path, record: MirrorRecord) -> None:
        """Send what was set aside; what goes wrong is one warning."""
        self.known.append(record.to_bytes())
        try:
            send_state(
                folder,
                self.target,
                message=f"{record.run} after step {record.step}",
                seen=self.known,
                settings=self.settings,
            )
            self.sent = record
            logger.info("the checkpoint after step %d is on %s", record.step, self._place)
            self._forget_history()
        except (HftuneError, OSError) as error:
            self.is_refused = isinstance(error, PushConflictError)
            self._warn(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _forget_history(self) -> None:
        try:
            forget_history(self.target, settings=self.settings)
        except HubError as error:
            logger.warning(
                "earlier checkpoints stay in the history of %s and take room there: %s",
                *(self._place, error.found or error.problem),
            )

    def _warn(self, error: HftuneError | OSError) -> None:
        found = f" ({error.found})" if isinstance(error, HftuneError) and error.found else ""
        problem = error.problem if isinstance(error, HftuneError) else str(error)
        logger.warning(
            "the checkpoint after step %d was not sent to %s: %s%s. Training goes on, and all is "
            "kept in %s; %s",
            *(self._last_step, self._place, problem, found, self.run),
            "no more is sent by this process" if self.is_refused else "the next one is tried again",
        )


def restore_from_hub(run: Path, recipe: Recipe, *, settings: HubSettings | None = None) -> None:
    """Bring the state on the branch into the run folder where it is newer than what is there.

    Does nothing for a recipe that mirrors nothing. Called by rank 0 before the run folder is read,
    and after it was found to be of this recipe or absent. Raises RunFolderError where the branch
    holds a run of another recipe, PublishError where it holds something else, and HubError and its
    kin where the Hub cannot be asked: to begin anew then could lose what lies there.
    """
    target = mirror_target(recipe)
    if target is None:
        return
    ref = find_state(target, settings=settings)
    if ref is None:
        (run / MIRROR_FILE).unlink(missing_ok=True)  # that branch is gone
        return
    with tempfile.TemporaryDirectory() as scratch:
        facts = Path(scratch) / "facts"
        fetch_state(ref, facts, files=(MIRROR_FILE, RECIPE), settings=settings)
        _check_recipe(facts / RECIPE, recipe, ref)
        there = read_record(facts / MIRROR_FILE)
        content = (facts / MIRROR_FILE).read_bytes()
    ours = newest_checkpoint(run / CHECKPOINTS)
    if ours is None or ours.progress.step < there.step:
        _bring(ref, run, recipe, settings=settings)
        logger.info("brought the checkpoint after step %d from %s", there.step, _place_of(ref))
    elif ours.progress.step > there.step:
        logger.info(
            "going on from %s, after step %d; %s holds an older state, after step %d",
            *(run, ours.progress.step, _place_of(ref), there.step),
        )
    write_bytes(run / MIRROR_FILE, content)


def _bring(ref: RepoRef, run: Path, recipe: Recipe, *, settings: HubSettings | None) -> None:
    write_text(run / RECIPE, to_yaml(recipe))  # from here on the folder is a run's
    folder = run / f".mirror.{uuid.uuid4().hex[:8]}.part"
    try:
        fetch_state(ref, folder, settings=settings)
        place_state(folder, run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_recipe(path: Path, recipe: Recipe, ref: RepoRef) -> None:
    """Raise RunFolderError unless the state at `ref` is of this recipe, paths apart."""
    own = path.with_name("own.yaml")
    own.write_text(to_public_yaml(recipe), encoding="utf-8")
    remedy = (
        "name another branch with save.push_branch=NAME, or delete this one: hf repos branch "
        f"delete {ref.repo_id} {ref.revision}"
    )
    try:
        stored = load_recipe(path)
    except RecipeError as error:
        raise RunFolderError(
            "the recipe on the branch for checkpoints cannot be read",
            found="\n".join(f"{one.setting}: {one.text}" for one in error.problems),
            where=_place_of(ref),
            remedy=remedy,
        ) from error
    changes = changed_settings(stored, load_recipe(own))
    if changes:
        raise RunFolderError(
            "the branch for checkpoints holds a run of another recipe",
            found="\n".join(f"{setting}: {old} there, {new} here" for setting, old, new in changes),
            allowed="the same recipe; only logging, saving, tracking, publishing and the length "
            "may change",
            where=_place_of(ref),
            remedy=remedy,
        )


def _place_of(ref: RepoRef) -> str:
    return f"{ref.repo_id}, branch {ref.revision}"
