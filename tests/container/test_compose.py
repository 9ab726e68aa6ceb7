"""compose.yaml beside the Dockerfile and the command line; nothing is built or started."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
import typer

from hftune.cli.main import app
from tests.container.compose import COMPOSE, SERVICES, command_of, hardening_of

DOCKERFILE = (COMPOSE.parent / "Dockerfile").read_text(encoding="utf-8")
VOLUMES = ("/cache", "/runs")


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Give what the command line makes of the words, by parameter; nothing is carried out."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("hftune", list(words))
    name, verb, rest = group.resolve_command(context, list(words))
    return {"verb": name} | verb.make_context(name, rest, parent=context).params


def test_the_services_run_what_the_command_line_knows() -> None:
    train, serve = parsed(command_of("train")), parsed(command_of("serve"))
    assert (train["verb"], serve["verb"]) == ("train", "serve")
    assert str(train["output"]) == serve["thing"] == "/runs/model"
    port = SERVICES["serve"]["ports"][0].rpartition(":")[2]
    assert (str(serve["port"]), serve["open_to_network"]) == (port, True)
    assert f":{port}/health" in SERVICES["serve"]["healthcheck"]["test"][-1]


def test_a_word_that_the_command_line_does_not_know_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["serve", "/runs/model", "--open"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_bounded_and_writes_to_the_volumes_of_the_image(service: str) -> None:
    bounds = hardening_of(service)
    assert {"--read-only=true", "--tmpfs=/tmp", "--cap-drop=ALL"} <= set(bounds)
    assert "--security-opt=no-new-privileges" in bounds
    assert f"--user={re.findall('^USER (.+)$', DOCKERFILE, re.MULTILINE)[0]}" in bounds
    places = [mount.split(":")[1] for mount in SERVICES[service]["volumes"]]
    assert tuple(places) == VOLUMES
    assert f'VOLUME ["{VOLUMES[0]}", "{VOLUMES[1]}"]' in DOCKERFILE


def test_both_services_are_one_image_with_the_extra_that_serves() -> None:
    assert {values["image"] for values in SERVICES.values()} == {"hftune"}
    extras = SERVICES["train"]["build"]["args"]["EXTRAS"]
    assert extras == "serve"
    assert re.search(r"^ARG EXTRAS=$", DOCKERFILE, re.MULTILINE)
