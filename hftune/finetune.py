"""The whole story: recipe in, artifact out, and pushed if the recipe says so."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hftune.core import Artifact, Model, RepoRef, RunPlan, Splits
from hftune.data.cached_rows import keep_decoded
from hftune.data.rows import draft_split
from hftune.data.sources import open_splits
from hftune.errors import PlanError, Stopped
from hftune.export.artifact import build_artifact
from hftune.export.gate import verify_folder
from hftune.export.license import check_terms
from hftune.export.outside import Outside
from hftune.export.publish import Published, publish
from hftune.export.samples import keep_samples
from hftune.files import write_json
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, check_push
from hftune.hub.ref import parse_ref
from hftune.model.backbone import build_model
from hftune.recipe.schema import HubRecipe, ModelRecipe, Recipe
from hftune.stop_signals import raise_if_stopped
from hftune.train.allocator import give_memory_back
from hftune.train.average import owes_average
from hftune.train.best import BestOutputs, best_weights
from hftune.train.compile_trial import settle_compile, settled_compile
from hftune.train.loop import train
from hftune.train.micro_batch import fit_micro_batch, settled_micro_batch
from hftune.train.mirror import restore_from_hub
from hftune.train.old_classes import ask_base
from hftune.train.pins import PINS_FILE, Pins, check_same_teacher, pin, settled_pins
from hftune.train.plan import make_plan, next_phase
from hftune.train.receipt import open_receipt
from hftune.train.results import judge_best
from hftune.train.run_facts import ResultsRecord
from hftune.train.run_folder import check_run_folder, check_same_data, write_run_facts
from hftune.train.space import check_space
from hftune.train.teacher import Teacher, load_teacher
from hftune.train.world import (
    World,
    all_agree,
    first_on_machine,
    from_first,
    join_world,
    wait_for_all,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that a run needs, checked, and nothing written yet."""

    world: World
    model: Model
    splits: Splits
    plan: RunPlan
    pins: Pins
    teacher: Teacher | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run gave. `artifact` is None on other ranks than 0; `published` is None unless the
    recipe names a repository.
    """

    run: Path
    results: ResultsRecord
    artifact: Artifact | None = None
    published: Published | None = None


def finetune(
    recipe: Recipe, *, output: Path | None = None, origins: Mapping[str, str] | None = None
) -> Finished:
    """Train, or go on with, the run of `recipe`; judge, package and publish its best weights.

    `origins` says what set each setting; it is kept in the run as origins.json.

    Called by every process that the launcher started; rank 0 writes and publishes. Raises Stopped
    when a signal ended it, with a checkpoint kept.
    """
    run = output or Path("runs") / recipe.run
    check_run_folder(run, recipe)
    if recipe.hub.push_to is not None:
        check_push(push_target(recipe.hub, recipe.hub.push_to))
    results = train_and_judge(recipe, run, origins=origins)
    if not join_world().is_first:
        return Finished(run=run, results=results)
    give_memory_back()
    return package(recipe, run, results)


def train_and_judge(
    recipe: Recipe,
    run: Path,
    *,
    origins: Mapping[str, str] | None = None,
    splits: Splits | None = None,
    gives_up: Callable[[], bool] | None = None,
) -> ResultsRecord:
    """Train, or go on with, the run of `recipe` in the folder `run`, and judge its best weights.

    `splits` are the recipe's data where they are open already; what they leave out, such as the
    test split, is not judged. `gives_up` may end the run early (see Surroundings).

    Called by every rank; rank 0 writes. Raises Stopped as `finetune` does.
    """
    check_run_folder(run, recipe)
    if join_world().is_first:
        restore_from_hub(run, recipe)
    wait_for_all()
    prepared = prepare(recipe, run=run, splits=splits)
    check_same_data(run, prepared.splits)
    model, splits, world = prepared.model, prepared.splits, prepared.world
    plan = settle_compile(prepared.plan, model, world, begun=settled_compile(run))
    if world.is_first:
        check_space(run, model=model, plan=plan, splits=splits)
        write_run_facts(run, plan, model, splits, world=world)
        write_json(run / PINS_FILE, prepared.pins.to_json())
        write_json(run / "origins.json", dict(origins or {}))
        keep_samples(run, splits.val)
    wait_for_all()
    splits = as_loaded(prepared)
    receipt = open_receipt(plan, model) if world.is_first else None
    ask_base(plan, model, splits, run=run)
    best = BestOutputs()
    progress = train(
        plan, model, splits, run, teacher=prepared.teacher, gives_up=gives_up, best=best
    )
    if next_phase(plan, progress) is not None or owes_average(plan, progress):
        raise Stopped(
            f"stopped after step {progress.step} of {plan.total_steps}; a checkpoint is kept",
            where=str(run),
            remedy="run the same command again to go on",
        )
    raise_if_stopped()  # it came too late for the last checkpoint to wait for it
    if receipt is not None:
        receipt.close(run, best_weights(run))
    return judge_best(plan, model, splits, run=run, progress=progress, best=best)


def prepare(recipe: Recipe, *, run: Path | None = None, splits: Splits | None = None) -> Prepared:
    """Pull, open the data, build the model and settle the plan; writes nothing but caches.

    `run` is the folder of a run that may have begun already: its commits and its micro-batch are
    kept, wherever a branch moved to. `splits` are the recipe's data where they are open already.
    """
    world = join_world()
    # Collective: other machines may not see the folder of the run.
    begun = from_first(None if run is None else settled_pins(run))
    pinned = recipe if begun is None else pin(recipe, begun)
    with first_on_machine():  # one process downloads, the others find the cache
        source = pull_backbone(pinned.model)
        if splits is None:
            splits = open_splits(pinned.data, problem=recipe.problem)
        name = pinned.distill.teacher
        loaded, told = (None, None) if name is None else load_teacher(name)
    check_same_teacher(begun, told, where=str(run))
    model = build_model(recipe.model, splits.labels, source=source, seed=recipe.train.seed)
    if recipe.hub.push_to is not None:
        check_terms(recipe.hub, model.base)
    teacher = None if loaded is None else Teacher(loaded, model.input_spec, splits.labels)
    is_auto = recipe.train.micro_batch_size == "auto"
    plan = fit_micro_batch(
        make_plan(recipe, model, splits, world),
        model,
        world,
        begun=None if run is None or not is_auto else settled_micro_batch(run),
        teacher=teacher,
    )
    pins = Pins(model=model.base.commit, data=splits.facts.commit, teacher=told)
    if not all_agree(f"{plan.digest} {pins}"):
        raise PlanError(
            "the processes of this run do not see the same backbone, images or recipe",
            found="a branch that moved while they started, or machines with other files",
            remedy="pin the revisions of model, data and teacher, then run the command again",
        )
    return Prepared(world=world, model=model, splits=splits, plan=plan, pins=pins, teacher=teacher)


def as_loaded(prepared: Prepared) -> Splits:
    """Give the splits as a run reads them: through the cache of decoded images, drafts if wanted.

    Called by every rank. Side effect: makes empty entries of the cache.
    """
    splits, plan, data = prepared.splits, prepared.plan, prepared.plan.recipe.data
    if data.decoder == "draft":
        splits = replace(splits, train=draft_split(splits.train, prepared.model.input_spec))
    is_read_again = plan.total_steps > plan.steps_per_epoch
    return keep_decoded(splits, data, filled=("train", "val") if is_read_again else ())


def package(recipe: Recipe, run: Path, results: ResultsRecord) -> Finished:
    """Draw, package, verify and, where the recipe says so, push. Called by rank 0 only."""
    from hftune.report.plots import draw_report  # slow to import, and not needed for training

    words = f"Fine-tune {recipe.run} with hftune"
    with Outside() as outside:
        draw_report(run)
        artifact = build_artifact(run, repo_id=recipe.hub.push_to, revision=recipe.hub.revision)
        if recipe.hub.push_to is None:
            verify_folder(artifact, outside)
            return Finished(run=run, results=results, artifact=artifact)
        target = push_target(recipe.hub, recipe.hub.push_to)
        published = publish(artifact, target, outside, run=run, message=words)
    return Finished(run=run, results=results, artifact=artifact, published=published)


def pull_backbone(model: ModelRecipe) -> RepoRef | None:
    """Pull the recipe's base, or give None where it names only an architecture."""
    if model.repo is None:
        return None
    return pull(parse_ref(model.repo, revision=model.revision))


def push_target(hub: HubRecipe, repo_id: str) -> PushTarget:
    """Give where the recipe pushes to."""
    return PushTarget(repo_id=repo_id, private=hub.private, revision=hub.revision)
