"""Installed packages against what hftune needs, and torch against torchvision."""

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hftune import __version__
from hftune.doctor.finding import Finding, fault, fine

TOPIC = "packages"


def check_packages() -> Iterator[Finding]:
    """Compare every package that hftune needs with what is installed; then torch with its twin."""
    yield fine(TOPIC, f"hftune {__version__}, Python {sys.version.split()[0]}")
    needed = [
        wanted
        for wanted in map(Requirement, requires("hftune") or ())
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    ]
    wrong = [finding for wanted in needed if (finding := check_version(wanted)) is not None]
    yield from wrong
    if not wrong:
        shown = ", ".join(f"{name} {installed(name)}" for name in _SHOWN)
        yield fine(TOPIC, f"all {len(needed)} that hftune needs: {shown}")
    yield from check_pair(installed("torch"), twin_of_torchvision())


def check_version(wanted: Requirement) -> Finding | None:
    """Give what is wrong with one package, None where it is as hftune needs it."""
    found = installed(wanted.name)
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    if found is None:
        return fault(TOPIC, f"{wanted.name} is not installed", remedy)
    if not wanted.specifier.contains(found, prereleases=True):
        allowed = f"{wanted.name} {found}, and hftune needs {wanted.specifier}"
        return fault(TOPIC, allowed, remedy)
    return None


def check_pair(torch: str | None, wanted: SpecifierSet | None) -> Iterator[Finding]:
    """Find a torch that torchvision was not built for: such a pair fails when it is imported."""
    if torch is None or wanted is None or wanted.contains(torch, prereleases=True):
        return
    yield fault(
        TOPIC,
        f"torch {torch}, and torchvision {installed('torchvision')} was built for torch {wanted}",
        "install both in one command, from one index: pip install torch torchvision",
    )


def twin_of_torchvision() -> SpecifierSet | None:
    """Give the torch that the installed torchvision was built for, None where it does not say."""
    if installed("torchvision") is None:
        return None
    for text in requires("torchvision") or ():
        wanted = Requirement(text)
        if wanted.name == "torch":
            return wanted.specifier
    return None


def installed(name: str) -> str | None:
    """Give the version of a package without what its build adds ('2.13.0+cpu'); None: not here."""
    try:
        return Version(version(name)).public
    except PackageNotFoundError:
        return None


_SHOWN = ("torch", "torchvision", "timm", "accelerate", "huggingface_hub")
