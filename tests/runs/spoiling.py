"""hftune's command line, with images that go away or are cut short once the data are open.

Run under a launcher: `... spoiling.py GONE CUT train RECIPE ...` removes the first file and cuts
the second in half right before the first step. Nothing is packaged, which takes most of the time.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from hftune.cli.main import invoke
from hftune.train.world import join_world, wait_for_all

story = import_module("hftune.finetune")  # `hftune.finetune` is the function of that name
train = story.train


def spoiled(plan, model, splits, run, **others):
    gone, cut = map(Path, sys.argv[1:3])
    if join_world().is_first:
        gone.unlink()
        os.truncate(cut, cut.stat().st_size // 2)
    wait_for_all()
    return train(plan, model, splits, run, **others)


def unpackaged(recipe, run, results):
    return story.Finished(run=run, results=results)


if __name__ == "__main__":
    story.train, story.package = spoiled, unpackaged
    sys.exit(invoke(sys.argv[3:]))
