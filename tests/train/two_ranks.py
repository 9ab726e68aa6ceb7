"""One of two processes: its loss is infinite on rank 1 only, and so is its lack of memory.

What the two exchange for a step is counted.

Writes what it saw to `FOLDER/rank.json`. Started by `test_two_ranks.py` through torch's launcher.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from hftune.recipe.schema import UnfreezeStep
from hftune.train import micro_batch
from hftune.train.finite import explain_bad_step
from hftune.train.machine_memory import DeviceMemory
from hftune.train.memory import estimate_memory
from hftune.train.micro_batch import fit_micro_batch, with_micro_batch
from hftune.train.plan import make_plan
from hftune.train.step import BadStep, train_step
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe
from tests.train.test_finite import TRAIN, opened


def see_a_bad_step(rank: int) -> dict[str, object]:
    """Take a good step and one with a loss that is infinite, of finite slope, on rank 1."""
    model = tiny_model("test_vit")
    session = opened(model, train=replace(TRAIN, micro_batch_size=2))
    batches = session.batches(0, 2)
    good = train_step(session, next(batches), step=0)
    loss = session.loss
    if rank == 1:
        session.loss = lambda logits, targets: loss(logits, targets) + torch.inf
    before = [value.detach().clone() for value in model.module.parameters()]
    try:
        train_step(session, next(batches), step=1)
    except BadStep:
        error = explain_bad_step(session, 1)
    batches.close()
    after = list(model.module.parameters())
    session.close()
    return {
        "error": str(error),
        "norm": good.grad_norm,
        "kept": all(torch.equal(one, other) for one, other in zip(before, after, strict=True)),
    }


def see_what_travels() -> dict[str, int]:
    """Take a step of the head in two micro-batches; count the bytes that ranks exchange for it."""
    sent: list[int] = []

    def count(_: object, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        sent.append(bucket.buffer().nbytes)
        return allreduce_hook(None, bucket)

    model = tiny_model("test_resnet")
    train = replace(TRAIN, micro_batch_size=2)
    session = opened(model, train=train, unfreeze=(UnfreezeStep(train=("head",)),))
    session.wrapped.register_comm_hook(None, count)
    train_step(session, next(session.batches(0, 1)), step=0)
    session.close()
    trains = [value for value in model.module.parameters() if value.requires_grad]
    return {"sent": sum(sent), "trained": sum(value.nbytes for value in trains)}


def settle_together(rank: int) -> int:
    """Settle a micro-batch where rank 1 has memory for two images, rank 0 for any number."""
    model, world = tiny_model("test_vit"), join_world()
    recipe = tiny_recipe(train=replace(TRAIN, micro_batch_size="auto"))
    plan = make_plan(recipe, model, drawn_splits(), world)
    two = estimate_memory(with_micro_batch(plan, 2), model, world.device)
    free = (2**40, 2 * round(max(phase.total for phase in two) / 0.8) + 1024)[rank]
    micro_batch.device_memory = lambda _: DeviceMemory(total=2**40, free=free, own=0)
    return fit_micro_batch(plan, model, world).micro_batch_size


if __name__ == "__main__":
    rank = join_world().rank
    seen = see_a_bad_step(rank) | {"size": settle_together(rank)} | see_what_travels()
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()
