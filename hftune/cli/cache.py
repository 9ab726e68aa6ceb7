"""`hftune cache ls / clear`."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from hftune.cache_folders import cache_root
from hftune.cached import RECORDS, REPOS, Cached, choose, clear, list_cached
from hftune.errors import readable
from hftune.hub.client import settings_from_environment
from hftune.units import format_size, parse_duration

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Show and clear what is kept to be faster: all of it can be made, or pulled, again.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN_OF_A_KEY = 12


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List decoded images, features, records about data, and repositories pulled from the Hub."""
    hub_cache = settings_from_environment().cache
    cached = list_cached(hub_cache)
    if as_json:
        folders = {"folder": str(cache_root()), "hub_folder": str(hub_cache)}
        json.dump(folders | {"entries": [one.to_json() for one in cached]}, sys.stdout, indent=2)
        print()
        return
    print(f"{'kind':<8}  {'size':>10}  {'used last':<16}  {'':<6}  {'key':<12}  what it is")
    for one in cached:
        print(_line(one))
    repos = [one for one in cached if one.kind == REPOS]
    own = [one for one in cached if one.kind != REPOS]
    print(f"{_total(own)} in {cache_root()}")
    print(f"{_total(repos)} in {hub_cache}")


@app.command(name="clear")
def clear_command(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY ...]", help="Only these; a repository by its name."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help=f"images, features, {RECORDS}, {REPOS} or all.")
    ] = "all",
    older: Annotated[
        str, typer.Option(metavar="AGE", help="Only what was not used for so long, such as 7d.")
    ] = "0 s",
    as_json: AsJson = False,
) -> None:
    """Remove what is kept, but for what is in use; repositories only where they are named."""
    cached = list_cached(settings_from_environment().cache)
    chosen = choose(cached, kind=kind, keys=keys or [], older=parse_duration(older))
    cleared = clear(chosen)
    if as_json:
        lists = {"removed": cleared.removed, "kept": cleared.kept}
        values = {name: [one.to_json() for one in of] for name, of in lists.items()}
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    for one in cleared.removed:
        print(f"removed  {_line(one)}")
    for one in cleared.kept:
        print(f"kept     {_line(one)}")
    print(f"removed {_total(cleared.removed)}")
    if cleared.kept:
        print(f"kept {_total(cleared.kept)}, which are in use; clear them when that has ended")


def _line(one: Cached) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
    state = "in use" if one.in_use else ""
    size = format_size(one.num_bytes)
    key = one.key if one.kind == REPOS else one.key[:_SHOWN_OF_A_KEY]
    return readable(f"{one.kind:<8}  {size:>10}  {used:<16}  {state:<6}  {key:<12}  {one.says}")


def _total(cached: Sequence[Cached]) -> str:
    size = format_size(sum(one.num_bytes for one in cached))
    return f"{len(cached)} {'entry' if len(cached) == 1 else 'entries'}, {size}"
