"""What can be known of the image without building it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
CONSTRAINED: dict[str, list[Requirement]] = {}
for _line in LINES:
    if not _line.startswith("#"):
        _pin = Requirement(_line)
        CONSTRAINED.setdefault(canonicalize_name(_pin.name), []).append(_pin)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("library", "argument"), [("torch", "TORCH_VERSION"), ("torchvision", "TORCHVISION_VERSION")]
)
def test_the_pinned_versions_are_ones_that_the_project_takes(library: str, argument: str) -> None:
    pinned = re.search(rf"^ARG {argument}=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert pinned is not None
    requirements = map(Requirement, PROJECT["project"]["dependencies"])
    (wanted,) = (item for item in requirements if item.name == library)
    assert wanted.specifier.contains(pinned[1])


def test_the_image_takes_the_versions_that_are_audited() -> None:
    assert re.search(r"^COPY pyproject.toml constraints.txt ", DOCKERFILE, re.MULTILINE)
    for library, argument in (("torch", "TORCH_VERSION"), ("torchvision", "TORCHVISION_VERSION")):
        (pinned,) = CONSTRAINED[library]
        assert f"ARG {argument}={pinned.specifier}".replace("==", "") in DOCKERFILE.splitlines()


def test_every_dependency_of_the_image_is_constrained_to_a_version_that_the_project_takes() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = list(PROJECT["project"]["dependencies"])
    for extra in extras.keys() - {"test", "dev", "bench"}:
        wanted += [line for line in extras[extra] if not line.startswith("hftune[")]
    for requirement in map(Requirement, wanted):
        pins = CONSTRAINED[canonicalize_name(requirement.name)]
        versions = [str(pin.specifier).removeprefix("==") for pin in pins]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_versions_come_from_the_command_in_their_head() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"\bpip compile (.*)$", makefile, re.MULTILINE)
    assert found is not None
    wanted = [word for word in found[1].split() if word != "--upgrade"]
    assert LINES[1].partition("pip compile ")[2].split() == wanted


def test_the_chosen_torch_is_left_to_its_own_arguments() -> None:
    found = re.search(r"grep -Ev '(.*)' constraints.txt", DOCKERFILE)
    assert found is not None
    left_out = {name for name in CONSTRAINED if re.match(found[1], f"{name}==1")}
    assert {"torch", "torchvision", "triton", "nvidia-nccl-cu13"} <= left_out
    assert not left_out & {"torchmetrics", "timm", "numpy"}


def test_the_build_receives_all_that_the_package_is_made_of_and_nothing_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    received = {line.removeprefix("!") for line in rules if line.startswith("!")}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert received == {
        "pyproject.toml",
        "constraints.txt",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }


def test_a_stop_reaches_the_trainer_and_root_is_not_needed() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r'^ENTRYPOINT \["tini", "--", "hftune"\]$', last, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)  # a base may ask for another
    users = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert users == ["1000:1000"]  # a number: Kubernetes checks that it is not root's


def test_no_secret_is_a_build_argument() -> None:
    names = re.findall(r"^(?:ARG|ENV) (\w+)", DOCKERFILE, re.MULTILINE)
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY", name)]
