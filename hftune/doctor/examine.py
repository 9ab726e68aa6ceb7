"""All checks in their order."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hftune.doctor.compute import IMPORTED, check_compute, look
from hftune.doctor.finding import Finding
from hftune.doctor.hub import check_hub
from hftune.doctor.launching import check_launching
from hftune.doctor.machine import check_disks, check_memory
from hftune.doctor.packages import check_packages
from hftune.doctor.recipes import check_recipe
from hftune.hub.client import settings_from_environment


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What was found, in the order of looking."""

    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What stops a run."""
        return tuple(finding for finding in self.findings if finding.state == "fault")

    def to_json(self) -> dict[str, Any]:
        """Give the findings as JSON values."""
        return {"findings": [asdict(finding) for finding in self.findings]}


def examine(recipe: str | None = None) -> Examination:
    """Look at packages, devices, machine, Hub, launcher and, if named, a recipe.

    Nothing is downloaded, trained or written. The Hub is asked once, or for each repository of the
    recipe. Libraries are loaded in a process of their own first, which may fail.
    """
    settings = settings_from_environment()
    said, complaint = look()
    works = all(name in said for name in IMPORTED)
    num_gpus = len(said["torch"]["devices"]) if "torch" in said else 0
    findings = [*check_packages(), *check_compute(said, complaint)]
    if works:
        findings += check_memory()
    findings += check_disks(Path("runs"), settings.cache)
    findings += check_hub(settings)
    findings += check_launching(num_gpus, recipe)
    if recipe is not None:
        findings += check_recipe(recipe, settings, has_torch=works)
    return Examination(findings=tuple(findings))
