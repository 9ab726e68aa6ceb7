"""The folder of a Space, and its app, run as it is but for the page that gradio draws."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.core import RepoRef
from hftune.errors import RequestError
from hftune.export.artifact import build_artifact
from hftune.export.space import push_space, write_space
from hftune.hub.card import read_metadata
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, push
from hftune.hub.server import RunningHub
from hftune.predict import THRESHOLD, predict
from tests.finished_numbers import write_finished_numbers

Make = Callable[..., Path]

# Each folder's app is a module of its own; none may need gradio before its page is made.
ASK = """
import importlib.util, json, sys
from pathlib import Path
answers = {}
for folder in sys.argv[2:]:
    place = importlib.util.spec_from_file_location(Path(folder).name, Path(folder, "app.py"))
    app = importlib.util.module_from_spec(place)
    place.loader.exec_module(app)
    ask = (lambda path: app.above(path, app.MODEL["threshold"])) if app.MULTI else app.predict
    answers[Path(folder).name] = [ask(path) for path in sorted(Path(sys.argv[1]).iterdir())]
assert "gradio" not in sys.modules and "hftune" not in sys.modules
print(json.dumps(answers))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images in colour, grey, transparent, and turned by their EXIF block."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    image, turned = Image.fromarray(pixels).resize((120, 90)), Image.Exif()
    turned[0x0112] = 6
    image.convert("RGB").save(folder / "colour.png")
    image.convert("L").save(folder / "grey.png")
    image.save(folder / "transparent.png")
    image.convert("RGB").save(folder / "turned.jpg", exif=turned)
    return folder


@pytest.fixture
def settings(local_hub: RunningHub, tmp_path: Path) -> HubSettings:
    return HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache"
    )


@pytest.mark.slow  # a process that loads timm
def test_the_app_says_what_predict_says(
    make_run: Make, images: Path, tmp_path: Path, settings: HubSettings, local_hub: RunningHub
) -> None:
    runs = {
        "single": make_run("single"),
        "multi": make_run("multi", problem="multi_label"),
        "number": write_finished_numbers(tmp_path / "number"),
    }
    for name, run in runs.items():
        repo = f"local/shown-{name}"
        pushed = push(
            build_artifact(run, repo_id=repo).folder,
            PushTarget(repo_id=repo),
            message="x",
            settings=settings,
        )
        made = push_space(
            pushed, PushTarget(kind="space", repo_id=f"{repo}-demo"), settings=settings
        )
        pull(made.ref, files=["*"], to=tmp_path / "spaces" / name, settings=settings)
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK, str(images), *(f"{tmp_path}/spaces/{n}" for n in runs)],
        env=os.environ | local_hub.environment | {"HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for name, run in runs.items():
        for answer, said in zip(answers[name], predict(run, sorted(images.iterdir())), strict=True):
            if name == "number":
                assert answer == pytest.approx(said.score, rel=1e-5)
                continue
            scores = answer[0] if name == "multi" else answer
            assert scores == pytest.approx(dict(said.scores), abs=1e-6)
            if name == "multi":
                given = [label for label in scores if label in said.labels]
                assert answer[1] == (", ".join(given) or "none")


@pytest.fixture
def shown(make_run: Make) -> RepoRef:
    folder = build_artifact(make_run(problem="multi_label"), repo_id="org/cats").folder
    (folder / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "samples" / "1-good.jpg")
    return RepoRef(repo_id="org/cats", commit="0123456789" * 4, folder=folder)


def test_a_folder_names_the_commit_and_what_the_app_needs(shown: RepoRef, tmp_path: Path) -> None:
    write_space(shown, tmp_path / "space")
    about = json.loads((tmp_path / "space" / "model.json").read_text())
    assert (about["repo"], about["revision"]) == ("org/cats", shown.commit)
    assert about["labels"] == ["bad", "good", "odd"]
    assert (about["problem"], about["threshold"]) == ("multi_label", THRESHOLD)
    assert (about["mode"], about["examples"]) == ("RGB", ["samples/1-good.jpg"])
    card = read_metadata((tmp_path / "space" / "README.md").read_text())
    assert (card["sdk"], card["models"], card["license"]) == ("gradio", ["org/cats"], "apache-2.0")
    needed = (tmp_path / "space" / "requirements.txt").read_text().split()
    assert [line.partition(">")[0] for line in needed] == ["gradio", "timm", "torch"]
    app = ast.parse((tmp_path / "space" / "app.py").read_text())
    imported = {alias.name for node in app.body if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    assert imported == {"json", "timm", "torch"}


def test_what_is_not_published_has_no_space(shown: RepoRef, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a model that is published"):
        write_space(RepoRef(folder=shown.folder), tmp_path / "space")
    assert not (tmp_path / "space").exists()
