import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hftune.cli.main import invoke
from hftune.hub.server import running

HFTUNE = [sys.executable, "-m", "hftune"]


@contextmanager
def served(root: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `hftune hub serve`; on leaving, stop it as a shell would and check that it ends well."""
    command = [*HFTUNE, "hub", "serve", "--root", str(root), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_serve_prints_lines_that_a_shell_can_read(tmp_path: Path) -> None:
    with served(tmp_path / "a hub") as process:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("export no_proxy"):
            lines.append(process.stdout.readline())
            assert lines[-1], "the Hub ended before it told how to reach it"
        script = "".join(lines) + "echo $HF_ENDPOINT $HF_HUB_DISABLE_XET\n"
        shell = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    endpoint, xet = shell.stdout.split()
    assert endpoint.startswith("http://127.0.0.1:")
    assert xet == "1"


def test_port_in_use_ends_with_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code = invoke(["hub", "serve", "--root", str(tmp_path), "--port", port])
    assert code == 3
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example"])
def test_an_address_that_others_reach_must_be_allowed(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["hub", "serve", "--root", str(tmp_path / "hub"), "--host", host]) == 2
    printed = capsys.readouterr().err
    assert f"--host {host}" in printed
    assert "--open-to-network" in printed
    assert not (tmp_path / "hub").exists()


def test_an_address_that_others_reach_is_served_once_allowed(tmp_path: Path) -> None:
    with served(tmp_path / "hub", "--host", "0.0.0.0", "--open-to-network") as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()


def test_ls_lists_what_lies_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import HfApi

    with running(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
        api.create_repo("acme/weights", private=True)
        commit = api.upload_file(
            path_or_fileobj=b"w" * 2048, path_in_repo="w.bin", repo_id="acme/weights"
        ).oid
        api.create_repo("acme/rows", repo_type="dataset")
    assert invoke(["hub", "ls", "--root", str(tmp_path)]) == 0
    header, weights, rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["kind", "visibility", "revision", "files", "size", "repository"]
    assert weights.split()[:4] == ["model", "private", commit[:12], "2"]
    assert rows.split()[0] == "dataset"
    assert invoke(["hub", "ls", "--root", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["repo_id"], row["num_files"]) for row in found] == [
        ("acme/weights", 2),
        ("acme/rows", 1),
    ]


def test_ls_of_a_folder_without_hub_is_a_wrong_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["hub", "ls", "--root", str(tmp_path)]) == 2
    assert "there is no local Hub in this folder" in capsys.readouterr().err


def test_the_real_hub_is_never_seeded(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["hub", "seed", "--endpoint", "https://huggingface.co"]) == 2
    assert "only a local Hub can be seeded" in capsys.readouterr().err


LOAD = """
import datasets, json, matplotlib, timm, torch
from pathlib import Path
from PIL import Image
from torchvision.transforms.functional import to_tensor

cells = datasets.load_dataset("hftune/elpv")
model = timm.create_model("hf-hub:timm/tf_efficientnet_lite0.in1k", pretrained=True).eval()
portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
pixels = to_tensor(portrait.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)) * 2 - 1
best = int(model(pixels[None]).argmax())
print(json.dumps({
    "cells": {name: len(rows) for name, rows in cells.items()},
    "best": timm.data.ImageNetInfo().index_to_description(best),
}))
"""


@pytest.mark.slow
def test_seeded_repos_load_in_their_own_libraries(tmp_path: Path) -> None:
    with served(tmp_path / "hub", "--json") as process:
        assert process.stdout is not None
        variables = json.loads(process.stdout.readline())["environment"]
        environment = {**os.environ, **variables, "HF_HOME": str(tmp_path / "home")}

        def run(*command: str) -> dict:
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        images = tmp_path / "images"
        seeded = run(*HFTUNE, "hub", "seed", "--json", "--folder", str(images))
        again = run(*HFTUNE, "hub", "seed", "--json")
        assert seeded["repos"] == again["repos"]
        assert seeded["repos"].keys() == {"timm/tf_efficientnet_lite0.in1k", "hftune/elpv"}
        assert len(list(images.glob("test/defective/*.png"))) == 205
        assert run(sys.executable, "-c", LOAD) == {
            "cells": {"train": 1968, "test": 656},
            "best": "military uniform",
        }
