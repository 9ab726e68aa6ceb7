"""One life of a run, from its recipe to its artifact, as the command line has it."""

import sys
from pathlib import Path

import datasets  # noqa: F401 - as the metrics: seconds that each life would spend on first use
import torch

import hftune.metrics.classes  # noqa: F401
from hftune.cli.main import say, stops_as_errors
from hftune.errors import HftuneError
from hftune.export.artifact import build_artifact
from hftune.finetune import train_and_judge
from hftune.log import configure
from hftune.recipe import load_recipe
from hftune.train.liveness import lost_processes
from hftune.train.world import join_world, wait_for_all


def whole_life(recipe: Path, run: Path) -> int:
    """Train, judge and package what `recipe` says in `run`; give the exit code."""
    torch.set_num_threads(1)
    configure(rank=0)
    try:
        with lost_processes(), stops_as_errors():
            train_and_judge(load_recipe(recipe), run)
            if join_world().is_first:
                build_artifact(run)
            wait_for_all()
    except HftuneError as error:
        say(error)
        return error.exit_code
    except Exception:  # noqa: BLE001 - a fork ends here, whatever happened
        sys.excepthook(*sys.exc_info())
        return 1
    return 0
