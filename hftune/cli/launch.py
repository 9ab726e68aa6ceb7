"""`hftune launch [OPTIONS] VERB ...`."""

from typing import Annotated

import typer

from hftune.cli.main import VERBS, UsageError
from hftune.train.launch import launch, read_launch

# What comes first is for Accelerate's parser; what follows the verb is for that verb.
SETTINGS = {
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
}


def command(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="VERB ...",
            help="Options of `accelerate launch`, then a command line of hftune.",
            show_default=False,
        ),
    ],
) -> None:
    """Run a verb in one or several processes, and end with their exit code.

    Without options: one process for each GPU, or one without any. `--num_processes 2` starts two,
    on a CPU as well; `accelerate launch --help` explains all options. A stop signal is passed on to
    the processes, and the launcher waits for as long as they need.
    """
    options = read_launch(words)
    verb, debug = options.training_script_args[0], ctx.find_root().params["debug"]
    if verb not in VERBS or verb == "launch":
        raise UsageError(f"no verb to launch: '{verb}'", ctx)
    if debug:
        options.training_script_args.insert(0, "--debug")
    raise typer.Exit(launch(options))
