"""After the last step: judge the best weights and write what came out."""

from pathlib import Path

from accelerate import Accelerator

from hftune.core import Model, Progress, RunPlan, Splits
from hftune.files import write_json
from hftune.train.best import BestOutputs, best_weights, read_best_step
from hftune.train.evaluate import compute_logits, judge_outputs, make_judge
from hftune.train.old_classes import compare_with_base
from hftune.train.plan import best_of
from hftune.train.predictions import predictions_from, write_predictions
from hftune.train.run_facts import RESULTS_FILE, PhaseRecord, ResultsRecord
from hftune.train.world import from_first, make_accelerator


def judge_best(
    plan: RunPlan,
    model: Model,
    splits: Splits,
    *,
    run: Path,
    progress: Progress,
    best: BestOutputs | None = None,
) -> ResultsRecord:
    """Load the best weights into `model`, judge them on validation and test, write what came out.

    Writes predictions/ and, last, results.json: a run that has the latter is whole. What they said
    of the validation split is taken from `best`, where this process has asked them already.

    Called by every rank; rank 0 writes. Side effect: `model` holds the best weights afterwards.
    """
    accelerator = make_accelerator(plan.precision)
    model.module.load_state_dict(best_weights(run))
    judge = make_judge(accelerator, plan.recipe, model, labels=splits.labels, run=run)
    model.module.to(accelerator.device).to(memory_format=judge.layout)
    step = read_best_step(run)
    results = []
    for split in (splits.val, splits.test):
        if split is not None:
            known = best.at(step) if best is not None and split is splits.val else None
            outputs = known or compute_logits(judge, model.module, split)
            assert outputs is not None  # only a Control cuts it short
            results.append(judge_outputs(judge, outputs, split, step=step))
            if accelerator.is_main_process:
                write_predictions(run, predictions_from(split, outputs))
    record = ResultsRecord(
        evaluations=tuple(results),
        best_step=step,
        best_metric=best_of(plan.recipe),
        best_value=progress.best_value,
        steps=progress.step,
        epochs=progress.step / plan.steps_per_epoch,
        seconds=progress.seconds,
        images_per_second=progress.samples / progress.seconds if progress.seconds else 0.0,
        num_parameters=sum(value.numel() for value in model.module.parameters()),
        phases=_phases(plan, model, progress),
        ended_early=progress.ended_early,
        old_classes=from_first(
            compare_with_base(run, model.weights.head, splits.labels, problem=plan.recipe.problem)
            if accelerator.is_main_process
            else ()
        ),  # collective
    )
    _write(accelerator, run, record)
    return record


def _phases(plan: RunPlan, model: Model, progress: Progress) -> tuple[PhaseRecord, ...]:
    sizes = {name: value.numel() for name, value in model.module.named_parameters()}
    return tuple(
        PhaseRecord(
            label=phase.label,
            start=phase.start,
            stop=min(phase.stop, progress.step),
            num_trainable=sum(sizes[name] for name in phase.trainable),
        )
        for phase in plan.phases
        if phase.start < progress.step
    )


def _write(accelerator: Accelerator, run: Path, record: ResultsRecord) -> None:
    if accelerator.is_main_process:
        write_json(run / RESULTS_FILE, record.to_json())
    accelerator.wait_for_everyone()  # collective
