"""The Kubernetes Job and the Slurm script of the docs, as far as can be told without a cluster."""

import re
import subprocess
from typing import Any

import pytest
from ruamel.yaml import YAML

from hftune.errors import Stopped
from tests.container.compose import COMPOSE, SERVICES
from tests.container.test_compose import VOLUMES, parsed

DOCS = COMPOSE.parent / "docs"


def block(page: str, language: str, first_line: str) -> str:
    """Give the block of a page that begins with this line."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (wanted,) = (code for code in found if code.startswith(first_line))
    return wanted


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(block("containers.md", "yaml", "apiVersion: batch/v1"))


def test_the_job_starts_again_after_a_stop_and_not_after_a_wrong_request(job: Any) -> None:
    spec = job["spec"]
    actions = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert actions == {Stopped.exit_code: "Ignore", 2: "FailJob"}
    conditions = [rule for rule in spec["podFailurePolicy"]["rules"] if "onPodConditions" in rule]
    assert [rule["action"] for rule in conditions] == ["Ignore"]
    assert conditions[0]["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else there is no such policy


def test_the_job_gives_the_time_that_compose_gives(job: Any) -> None:
    assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 120
    assert SERVICES["train"]["stop_grace_period"] == "2m"


def test_the_job_writes_to_its_mounts_and_nowhere_else(job: Any) -> None:
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    bounds = container["securityContext"]
    assert bounds["readOnlyRootFilesystem"] is True
    assert bounds["allowPrivilegeEscalation"] is False
    assert bounds["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] is True
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {*VOLUMES, "/tmp", "/dev/shm"} <= set(places)
    assert set(places.values()) == {volume["name"] for volume in pod["volumes"]}


def test_the_job_runs_what_the_command_line_knows(job: Any) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    values = parsed(container["args"])
    assert values["verb"] == "train"
    assert str(values["output"]).startswith("/runs/")


@pytest.fixture(scope="module")
def script() -> str:
    return block("launching.md", "bash", "#!/bin/bash\n#SBATCH")


def test_the_slurm_script_is_bash(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_slurm_script_is_told_in_time_and_queues_itself_again(script: str) -> None:
    options = " ".join(re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE))
    assert "--signal=B:TERM@120" in options  # B: to the script, which passes it on
    assert "--requeue" in options
    assert "--open-mode=append" in options
    assert f'"$code" -eq {Stopped.exit_code}' in script
    # Not `kill` at srun, which takes SIGTERM as the order to give the step up.
    assert "trap 'scancel --signal=TERM \"$SLURM_JOB_ID.0\"' TERM" in script


def test_the_slurm_script_runs_what_the_command_line_knows(script: str) -> None:
    found = re.search(r"^srun hftune launch --num_processes (\d+) (.*) &$", script, re.MULTILINE)
    assert found is not None
    assert f"--gres=gpu:{found[1]}" in script
    values = parsed(found[2].replace('"', "").split())
    assert values["verb"] == "train"
