"""The image, built and run: non-root, on a read-only root, without a network."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.container.compose import SERVICES, filled, hardening_of, volumes_of
from tests.container.conftest import DECOYS, ROOT, Figures, Image
from tests.container.layers import names_in_layers

pytestmark = [pytest.mark.container, pytest.mark.slow]

GRACE = 120  # seconds, as stop_grace_period of compose.yaml
SMALL = """\
base: demo
run: small
model: {image_size: 64}
train: {length: 100 steps}
"""
TINY = SMALL.replace("100 steps", "5 steps")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A finished `hftune demo`: what it said, and the volumes that it filled."""

    said: str
    volumes: Mapping[str, str]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the option that mounts two small recipes at /config."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "small.yaml").write_text(SMALL)
    (folder / "tiny.yaml").write_text(TINY)
    folder.chmod(0o755)
    return [f"--volume={folder}:/config:ro"]


@pytest.fixture(scope="module")
def demo(image: Image, figures: Figures) -> Iterator[Demo]:
    """Run the job of `make demo` in two new volumes, within the bounds of compose.yaml."""
    with image.engine.volumes("runs", "cache") as volumes:
        options = ["--network=none", *hardening_of("train"), *volumes_of("train", volumes)]
        ended = image.engine.run(image.tag, ["demo", "--folder", "/runs/demo"], options=options)
        assert ended.code == 0, ended.said
        figures.add("hftune demo, from nothing to a verified model", f"{ended.seconds:.0f} s")
        yield Demo(said=ended.said, volumes=volumes)


def offline(demo: Demo, service: str) -> list[str]:
    """Give the options of a service that finds the demo's backbone and images in its volumes."""
    environment = ["--env=HF_HUB_OFFLINE=1", "--env=HF_HOME=/runs/demo/cache"]
    return [
        "--network=none",
        *environment,
        *hardening_of(service),
        *volumes_of(service, demo.volumes),
    ]


def inside(image: Image, *words: str) -> str:
    """Run a program of the image other than hftune and give its output."""
    program, *rest = words
    options = ["--network=none", "--read-only", f"--entrypoint={program}"]
    ended = image.engine.run(image.tag, rest, options=options)
    assert ended.code == 0, ended.said
    return ended.said


def test_its_settings_are_those_of_the_dockerfile(image: Image) -> None:
    config = image.engine.inspect(image.tag)["Config"]
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["tini", "--", "hftune"]
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert set(config["Volumes"]) == {"/cache", "/runs"}
    assert config["Labels"]["org.opencontainers.image.title"] == "hftune"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [line for line in config["Env"] if re.search("TOKEN|SECRET|PASSWORD", line)]


def test_no_layer_holds_what_is_only_of_use_while_building(image: Image) -> None:
    """Layers are looked into one by one: what a later one removes is still sent with an earlier."""
    names = names_in_layers(image.engine, image.tag)
    assert PurePosixPath("opt/hftune/bin/hftune") in names
    strayed = [name for name in names if any(name.match(f"*/{decoy}") for decoy in DECOYS)]
    assert not strayed
    kept_apart = [
        PurePosixPath(name) for name in ("source", "root/.cache/pip", "var/lib/apt/lists")
    ]
    assert not [name for name in names if any(folder in name.parents for folder in kept_apart)]
    assert not [name for name in names if name.match("var/cache/apt/*.bin")]
    assert not [name for name in names if name.match("*_static.a")]


def test_nothing_of_the_machine_that_built_it_stays(image: Image) -> None:
    assert inside(image, "sh", "-c", "cat /etc/pip.conf 2>/dev/null || true") == ""
    assert inside(image, "ls", "-A", "/cache", "/runs", "/tmp").split() == [
        "/cache:",
        "/runs:",
        "/tmp:",
    ]


def test_packages_fit_and_are_of_the_versions_that_are_audited(image: Image) -> None:
    assert "No broken requirements" in inside(image, "pip", "check")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins: dict[str, set[str]] = {}
    for pin in (Requirement(line) for line in lines if not line.startswith("#")):
        version = str(pin.specifier).removeprefix("==")
        pins.setdefault(canonicalize_name(pin.name), set()).add(version)
    installed = {
        canonicalize_name(found["name"]): found["version"]
        for found in json.loads(inside(image, "pip", "list", "--format=json"))
    }
    of_torch = re.compile(r"setuptools|triton|cuda-.*|nvidia-.*")
    compared = {name for name in installed if name in pins and not of_torch.fullmatch(name)}
    assert {"torch", "timm", "accelerate", "starlette", "elpv-dataset"} <= compared
    assert not {name for name in compared if installed[name] not in pins[name]}


def test_it_starts_and_knows_its_machine(image: Image, figures: Figures) -> None:
    options = ["--network=none", *hardening_of("train")]
    first = image.engine.run(image.tag, ["--help"], options=options)
    again = image.engine.run(image.tag, ["--help"], options=options)
    assert (first.code, again.code) == (0, 0)
    figures.add("hftune --help, first and again", f"{first.seconds:.1f} s, {again.seconds:.1f} s")
    doctor = image.engine.run(image.tag, ["doctor"], options=options)
    figures.add("hftune doctor", f"{doctor.seconds:.1f} s")
    assert doctor.code == 0, doctor.said
    assert "8.0 GiB of shared memory" in doctor.said
    assert "jemalloc is not installed" not in doctor.said
    assert "/cache cannot be written" not in doctor.said


def test_the_demo_runs_without_root_on_a_read_only_root(demo: Demo) -> None:
    assert re.search(r"pushed commit +local/elpv-lite0-demo at [0-9a-f]{40}", demo.said)
    assert "largest difference 0" in demo.said


def test_a_root_that_is_read_only_is_one(image: Image) -> None:
    options = ["--network=none", *hardening_of("train"), "--entrypoint=sh"]
    line = "id -u; touch /project/a /opt/a; grep NoNewPrivs /proc/self/status"
    said = image.engine.run(image.tag, ["-c", line], options=options).said
    assert said.count("Read-only file system") == 2
    assert said.startswith("1000") or "\n1000\n" in said
    assert re.search(r"NoNewPrivs:\s+1", said)


def test_any_user_can_run_it_in_new_volumes(image: Image, recipe: list[str]) -> None:
    words = ["demo", "--folder", "/runs/demo", "--recipe", "/config/tiny.yaml"]
    bounds = [word for word in hardening_of("train") if not word.startswith("--user")]
    with image.engine.volumes("runs", "cache") as volumes:
        mounts = volumes_of("train", volumes)
        options = ["--network=none", "--user=23456:34567", *bounds, *mounts, *recipe]
        ended = image.engine.run(image.tag, words, options=options)
        assert ended.code == 0, ended.said
        assert "done in" in ended.said


def test_stopped_it_keeps_a_checkpoint_goes_on_and_is_served(
    image: Image, demo: Demo, recipe: list[str], figures: Figures
) -> None:
    words = [
        filled(word, {"RECIPE": "/config/small.yaml"}) for word in SERVICES["train"]["command"]
    ]
    options = [*offline(demo, "train"), *recipe]
    with image.engine.running(image.tag, words, options=options) as training:
        training.wait_until_it_says("step 20/100")
        assert training.stop(grace=GRACE) == 75, training.says()
        stopped = re.search(r"stopped.*", training.says())
        assert stopped is not None
    ended = image.engine.run(image.tag, words, options=options)
    assert ended.code == 0, ended.said
    went_on = re.search(r"continuing after step (\d+)", ended.said)
    assert went_on is not None, ended.said
    assert 20 <= int(went_on[1]) < 100
    figures.add("stopped and continued after step", f"{went_on[1]} of 100")
    serve_and_ask(image, demo)


def serve_and_ask(image: Image, demo: Demo) -> None:
    """Serve the run by the second service of compose.yaml, ask it, and stop it."""
    service = SERVICES["serve"]
    words = [filled(word, {}) for word in service["command"]]
    with image.engine.running(image.tag, words, options=offline(demo, "serve")) as server:
        server.wait_until_it_says("answers at")
        kind, *check = service["healthcheck"]["test"]
        assert kind == "CMD"
        server.execute(*check)
        answer = json.loads(server.execute("python", "-c", ASK))
        assert set(answer["scores"]) == {"defective", "functional"}
        assert server.stop(grace=30) == 0, server.says()


ASK = """
import pathlib, urllib.request
image = next(pathlib.Path("/runs/demo/images/test").rglob("*.*")).read_bytes()
request = urllib.request.Request("http://127.0.0.1:8000/predict", data=image)
print(urllib.request.urlopen(request).read().decode())
"""


def test_a_change_of_source_makes_the_last_layers_anew_and_no_other(
    image: Image, figures: Figures
) -> None:
    before = image.engine.inspect(image.tag)["RootFS"]["Layers"]
    source = image.context / "hftune" / "__init__.py"
    source.write_text(source.read_text() + "\n# changed\n")
    seconds = image.build()
    after = image.engine.inspect(image.tag)["RootFS"]["Layers"]
    equal = sum(1 for old, new in zip(before, after, strict=True) if old == new)
    assert len(before) - 2 <= equal < len(before)
    figures.add("build after a change of source", f"{seconds:.0f} s")
