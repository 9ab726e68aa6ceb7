"""`hftune serve RUN_OR_REPO`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hftune.cli.network import check_host
from hftune.predict import load_predictor
from hftune.serve import Limits, RunningModel
from hftune.serve import serve as serve_model
from hftune.units import parse_size

DEFAULT_PORT = 8000


def command(
    thing: Annotated[str, typer.Argument(help="A run folder, an artifact folder or a repository.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = DEFAULT_PORT,
    open_to_network: Annotated[
        bool, typer.Option("--open-to-network", help="Allow a --host that others can reach.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 16,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that an image waits for others.")
    ] = 5.0,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Requests worked on at once; others get 503.")
    ] = 64,
    largest: Annotated[str, typer.Option(help="The largest image.")] = "20 MiB",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps ...; default: a GPU if there is one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Answer requests for labels over HTTP until Ctrl-C, with a page to drop an image on.

    POST an image as the body to /predict. /model gives the classes, /health and /metrics are for
    those who watch.
    """
    check_host(
        host,
        open_to_network=open_to_network,
        problem="at this address others could reach the model",
        remedy="for a network that you trust, or behind a proxy, add --open-to-network",
    )
    limits = Limits(
        batch_size=batch_size,
        wait=wait / 1000,
        in_flight=in_flight,
        image_bytes=parse_size(largest),
    )
    predictor = load_predictor(thing, device=device)

    def ready(model: RunningModel) -> None:
        if as_json:
            print(json.dumps({"endpoint": model.endpoint}), flush=True)
        else:
            print(f"{Path(thing).name} answers at {model.endpoint}; stop it with Ctrl-C")
            print(f"curl --data-binary @image.jpg {model.endpoint}/predict", flush=True)

    title = Path(thing).name
    serve_model(predictor, title=title, limits=limits, host=host, port=port, ready=ready)
