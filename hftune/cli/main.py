"""The Typer application: verbs loaded on first use, errors as messages, exit codes.

0 done; 1 a defect of ours; 2 the request is wrong; 3 the machine or the Hub is not able;
75 stopped by a signal with a checkpoint kept.
"""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hftune import __version__
from hftune.errors import HftuneError, RequestError, Stopped
from hftune.log import configure, guard_tracebacks
from hftune.quick_import import quick_import, set_aside_imported
from hftune.stop_signals import StopRequested, leave, listening
from hftune.train.allocator import SWITCH, settle_allocator, settled_allocator
from hftune.train.liveness import lost_processes, part, speaks
from hftune.train.status import View, watched_by

logger = logging.getLogger(__name__)

# verb -> (module, help). A module is imported when its verb is used, so help stays instant.
VERBS = {
    "train": ("hftune.cli.train", "Fine-tune a recipe, or go on where it stopped."),
    "launch": ("hftune.cli.launch", "Run a verb in several processes, on one machine or more."),
    "find-lr": ("hftune.cli.find_lr", "Suggest a learning rate from a short trial."),
    "eval": ("hftune.cli.eval", "Judge a run or a repository on a split."),
    "predict": ("hftune.cli.predict", "Label images with a run or a repository."),
    "serve": ("hftune.cli.serve", "Answer requests over HTTP, with a page to drop an image on."),
    "export": ("hftune.cli.export", "Build the folder that is published."),
    "push": ("hftune.cli.push", "Publish a run's artifact as one commit."),
    "pull": ("hftune.cli.pull", "Bring a repository here."),
    "inspect": ("hftune.cli.inspect", "Show what a recipe, model, data set, run or repo holds."),
    "compare": ("hftune.cli.compare", "Train recipes as fair twins; say which differ."),
    "reproduce": ("hftune.cli.reproduce", "Train a published model again; is it the same?"),
    "tune": ("hftune.cli.tune", "Search settings of a recipe, each trial a run."),
    "report": ("hftune.cli.report", "A run, or several, as a page and pictures."),
    "soup": ("hftune.cli.soup", "Average the weights of several runs into a new one."),
    "recipe": ("hftune.cli.recipe", "Show, check, compare and copy recipes."),
    "doctor": ("hftune.cli.doctor", "Check machine, Hub, launcher and a recipe; give remedies."),
    "cache": ("hftune.cli.cache", "Show and clear what is kept to be faster."),
    "hub": ("hftune.cli.hub", "A small local Hub for demos, tests and offline machines."),
    "demo": ("hftune.cli.demo", "The whole job on real images against a Hub on this machine."),
}


# typer brings click along, in new releases as a part of itself. Its classes are found by name,
# and typed Any, so that both serve.
_BASES = {cls.__name__: cls for cls in typer.BadParameter.__mro__}
ClickException: Any = _BASES["ClickException"]
UsageError: Any = _BASES["UsageError"]

# Verbs that go on where they were stopped when the same command is given again.
_CONTINUED = frozenset({"train", "compare", "reproduce", "tune", "pull", "push"})

_CHOSEN = "hftune.verb"  # where the context keeps the verb that will run


class LazyVerbs(TyperGroup):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the verbs in their order of use."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one verb, or give a stand-in with its help line for the overview."""
        if cmd_name not in VERBS:
            return None
        module_name, help_text = VERBS[cmd_name]
        if ctx.meta.get(_CHOSEN) != cmd_name:
            return TyperCommand(cmd_name, help=help_text)
        return _load(module_name, cmd_name, help_text)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Name close verbs when there is no such verb."""
        name = args[0] if args else ""
        if name not in VERBS and not name.startswith("-"):
            from difflib import get_close_matches  # only on a typing error

            close = get_close_matches(name, VERBS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; verbs: {', '.join(VERBS)}"
            raise UsageError(f"no such verb '{name}'{hint}", ctx)
        ctx.meta[_CHOSEN] = name
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="hftune",
    cls=LazyVerbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hftune {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(  # noqa: ARG001  # its callback prints and ends
        False,
        "--version",
        help="Print the version and exit.",
        callback=_print_version,
        is_eager=True,
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks and debug lines."),
) -> None:
    """Fine-tune image classifiers: a backbone from the Hub, your classes, safetensors back."""
    configure(rank=int(os.environ.get("RANK", "0")), debug=debug)
    settled = settled_allocator()
    if settled is not None:
        logger.info("allocator: %s (%s=off leaves the system's)", settled, SWITCH)


def run() -> None:
    """Run the command line; end the process with the exit code of what happened."""
    guard_tracebacks()
    settle_allocator(sys.argv[1:])
    code = invoke(sys.argv[1:])
    if code == Stopped.exit_code:
        part()
        leave(code)  # threads may still wait for a Hub that is slow to answer
    sys.exit(code)


def invoke(arguments: list[str]) -> int:
    """Run one command and give its exit code; user errors become messages on stderr."""
    debug = "--debug" in arguments
    verb = next((word for word in arguments if not word.startswith("-")), "")
    try:
        with (
            lost_processes(),
            stops_as_errors() if verb in _CONTINUED else nullcontext(),
            watched_by(_open_view) if wants_view(arguments) else nullcontext(),
        ):
            # Not `app(...)`, which would put typer's hook for tracebacks in place of ours.
            command = typer.main.get_command(app)
            result = command(arguments, prog_name="hftune", standalone_mode=False)
    except HftuneError as error:
        if debug:
            raise
        say(error)
        return error.exit_code
    except ClickException as error:
        error.show()
        return 2
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        say(RequestError("no file can be found so", found=f"{error.strerror}: {error.filename}"))
        return 2
    return result if isinstance(result, int) else 0


def wants_view(arguments: list[str]) -> bool:
    """Say whether runs are shown live: on a terminal that can draw lines again, but for --json."""
    can_redraw = os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    return can_redraw and sys.stderr.isatty() and "--json" not in arguments


def _open_view() -> View:
    from hftune.cli.live import LiveView  # rich takes its time, and most verbs show no run

    return LiveView()


@contextmanager
def stops_as_errors() -> Iterator[None]:
    """Turn a stop signal into Stopped, where the run did not do so itself."""
    with listening() as signals:
        try:
            yield
        except StopRequested as request:
            raise _stopped(request.received.name) from None
        except RuntimeError:  # what a collective says when another rank has left already
            if signals.received is None:
                raise
            raise _stopped(signals.received.name) from None


def _stopped(name: str) -> Stopped:
    return Stopped(
        f"stopped by {name}; what was complete by then is kept",
        remedy="run the same command again to go on",
    )


def say(error: HftuneError) -> None:
    """Print a user error, from one process where all met the same one."""
    if speaks() or error.exit_code == 1:
        word = "stopped" if error.exit_code == 75 else "error"
        print(f"{word}: {error}", file=sys.stderr)


def _load(module_name: str, name: str, help_text: str) -> Any:
    with quick_import():
        module: Any = import_module(module_name)
        set_aside_imported()
    if hasattr(module, "app"):
        group = typer.main.get_command(module.app)
        group.help = group.help or help_text
        return group
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name=name, help=help_text, **getattr(module, "SETTINGS", {}))(module.command)
    return typer.main.get_command(single)
