"""What can be known of the image without building it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
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


def test_the_build_receives_all_that_the_package_is_made_of_and_nothing_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    received = {line.removeprefix("!") for line in rules if line.startswith("!")}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert received == {
        "pyproject.toml",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }


def test_a_stop_reaches_the_trainer_and_root_is_not_needed() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r'^ENTRYPOINT \["tini", "--", "hftune"\]$', last, re.MULTILINE)
    users = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert users == ["1000:1000"]  # a number: Kubernetes checks that it is not root's


def test_no_secret_is_a_build_argument() -> None:
    names = re.findall(r"^(?:ARG|ENV) (\w+)", DOCKERFILE, re.MULTILINE)
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY", name)]
