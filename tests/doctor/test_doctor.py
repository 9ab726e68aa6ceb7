"""What `hftune doctor` finds, each check alone, and the verb as a whole."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hftune.cli.main import invoke
from hftune.doctor import Finding
from hftune.doctor.compute import IMPORTED, check_compute
from hftune.doctor.hub import check_hub, check_target
from hftune.doctor.launching import check_config, launch_line
from hftune.doctor.machine import check_disks, check_shared, nearest
from hftune.doctor.packages import check_pair, check_version, installed
from hftune.doctor.recipes import check_recipe
from hftune.hub.client import HubSettings
from hftune.hub.server import RunningHub


@pytest.fixture
def settings(local_hub: RunningHub, tmp_path: Path) -> HubSettings:
    return HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache"
    )


def states(findings: Iterator[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def torch_says(**changes: object) -> dict[str, dict[str, object]]:
    torch = {"cuda": None, "threads": 2, "cpu_bf16": False, "devices": []}
    return {name: torch | changes if name == "torch" else {} for name in IMPORTED}


def gpu(*capability: int) -> dict[str, object]:
    return {"name": "NVIDIA L4", "memory": 24 * 2**30, "capability": list(capability)}


def test_a_package_that_is_absent_or_too_old_has_its_command() -> None:
    absent = check_version(Requirement("no-such-package>=2"))
    assert absent is not None
    assert (absent.state, absent.remedy) == ("fault", "pip install 'no-such-package>=2'")
    old = check_version(Requirement("torch>=99"))
    assert old is not None
    assert old.fact == f"torch {installed('torch')}, and hftune needs >=99"
    assert check_version(Requirement("torch>=2")) is None


def test_a_torch_of_another_torchvision_is_a_fault() -> None:
    assert list(check_pair("2.15.0", SpecifierSet("==2.15.0"))) == []
    (found,) = check_pair("2.13.0", SpecifierSet("==2.15.0"))
    assert found.state == "fault"
    assert "torch 2.13.0, and torchvision" in found.fact
    assert "one index" in found.remedy


def test_a_library_that_fails_is_named_with_its_complaint() -> None:
    said = torch_says()
    del said["torchvision"], said["timm"], said["accelerate"]
    complaint = "RuntimeError: operator torchvision::nms does not exist"
    found = next(check_compute(said, complaint))
    assert (found.state, found.topic) == ("fault", "compute")
    assert found.fact == f"torchvision cannot be imported: {complaint}"


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ({}, "no GPU; torch computes with 2 threads"),
        ({"cpu_bf16": True}, "precision: fp32, bf16"),
        ({"devices": [gpu(8, 9)]}, "GPU 0: NVIDIA L4, 24.0 GiB"),
        ({"devices": [gpu(8, 9)]}, "auto takes bf16"),
        ({"devices": [gpu(7, 5), gpu(8, 0)]}, "auto takes fp16"),
    ],
)
def test_devices_and_their_precision(torch: dict[str, object], words: str) -> None:
    facts = [finding.fact for finding in check_compute(torch_says(**torch), "")]
    assert any(words in fact for fact in facts), facts


def test_a_driver_without_a_gpu_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hftune.doctor.compute._NVIDIA", (tmp_path,))
    plain = next(check_compute(torch_says(), ""))
    assert plain.remedy == "install a torch that was built for CUDA, and torchvision with it"
    cuda = next(check_compute(torch_says(cuda="13.2"), ""))
    assert "CUDA 13.2" in cuda.fact
    assert cuda.state == "fault"


def test_places_on_one_disk_are_told_together(tmp_path: Path) -> None:
    findings = list(check_disks(tmp_path / "runs" / "one", tmp_path / "hub"))
    (room,) = [finding for finding in findings if "downloads" in finding.fact]
    assert "runs" in room.fact
    assert nearest(tmp_path / "a" / "b") == tmp_path


def test_little_shared_memory_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hftune.doctor.machine._SHARED", 2**62)
    (found,) = check_shared(tmp_path)
    assert (found.state, "--shm-size=2g" in found.remedy) == ("note", True)
    assert list(check_shared(tmp_path / "none")) == []


def test_the_token_is_asked_what_it_may_do(settings: HubSettings, local_hub: RunningHub) -> None:
    (found,) = check_hub(settings)
    assert found.state == "fine"
    assert "may read and write" in found.fact
    assert local_hub.write_token not in found.fact
    (reader,) = check_hub(replace(settings, token=local_hub.read_token))
    assert reader.fact.endswith("may read")
    (refused,) = check_target("local/x", replace(settings, token=local_hub.read_token))
    assert (refused.state, "may only read" in refused.fact) == ("fault", True)
    assert states(check_target("local/x", settings)) == ["fine"]


def test_no_token_no_network_and_no_hub_are_told_apart(settings: HubSettings) -> None:
    (nobody,) = check_hub(replace(settings, token=False))
    assert (nobody.state, "there is no token" in nobody.fact) == ("note", True)
    (offline,) = check_hub(replace(settings, offline=True))
    assert (offline.state, "HF_HUB_OFFLINE" in offline.fact) == ("note", True)
    (gone,) = check_hub(replace(settings, endpoint="http://127.0.0.1:1"))
    assert gone.state == "note"
    assert "127.0.0.1:1" in gone.fact
    (wrong,) = check_hub(replace(settings, token="hf_nobody"))
    assert wrong.state == "fault"
    assert "hf_nobody" not in str(wrong)


def test_the_line_uses_all_of_the_machine() -> None:
    assert launch_line(0) == launch_line(1) == "hftune train RECIPE"
    assert launch_line(4, "r.yaml") == "hftune launch --num_processes 4 train r.yaml"


def test_what_accelerate_config_says_and_a_run_does_not_follow(tmp_path: Path) -> None:
    place = tmp_path / "default_config.yaml"
    place.write_text("mixed_precision: fp16\ngradient_accumulation_steps: 1\nfsdp_config: {a: 1}\n")
    precision, fsdp = check_config(place)
    assert "mixed_precision is 'fp16'; the recipe's train.precision is used" in precision.fact
    assert "fsdp_config" in fsdp.fact
    place.write_text("mixed_precision: 'no'\n")
    assert list(check_config(place)) == []
    place.write_text("a: [")
    assert states(check_config(place)) == ["note"]


RECIPE = """run: r
model: {{repo: {repo}}}
data: {{source: {{name: image_folder, path: {path}}}}}
train: {{length: 1 epochs, precision: {precision}}}
hub: {{push_to: local/pushed}}
distill: {{teacher: {repo}}}
"""


def test_a_recipe_is_checked_without_a_download(settings: HubSettings, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    values = {"repo": tmp_path, "path": tmp_path, "precision": "auto"}
    recipe.write_text(RECIPE.format(**values))
    findings = list(check_recipe(str(recipe), settings, has_torch=True))
    assert {finding.state for finding in findings} == {"fine"}
    assert any("train.precision: auto, which is" in finding.fact for finding in findings)
    assert any("may push to local/pushed" in finding.fact for finding in findings)
    values = {"repo": "local/none", "path": tmp_path / "gone", "precision": "fp32"}
    recipe.write_text(RECIPE.format(**values))
    faults = [f for f in check_recipe(str(recipe), settings, has_torch=True) if f.state == "fault"]
    model, teacher, data = faults
    assert model.fact.startswith("model.repo: ")
    assert teacher.fact.startswith("distill.teacher: ")
    assert data.fact.startswith("data.source.path: there is no ")
    recipe.write_text("run: r\nmodle: {}\n")
    (wrong,) = check_recipe(str(recipe), settings, has_torch=True)
    assert "modle" in wrong.fact or "problem" in wrong.fact


@pytest.mark.slow
def test_the_verb_prints_each_finding_and_ends_with_its_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = invoke(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    faults = [finding for finding in findings if finding["state"] == "fault"]
    assert code == (3 if faults else 0)
    assert {"packages", "compute", "machine", "hub", "launching"} <= {f["topic"] for f in findings}
    assert not [f for f in faults if f["topic"] in ("packages", "compute")], faults
    assert all(f["remedy"] for f in findings if f["state"] != "fine")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("run: [")
    assert invoke(["doctor", str(recipe)]) == 3
    out = capsys.readouterr().out
    assert "FAULT" in out
    assert "mend the faults first" in out
