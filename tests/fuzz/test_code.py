"""What was downloaded runs nothing: no pickle, no module, no function that a recipe names."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hftune.data.hub_source import open_repository
from hftune.describe.model import describe_folder
from hftune.errors import DataError, RecipeError
from hftune.export.artifact import build_artifact
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.judge import judge_thing
from hftune.model.published import load_classifier
from hftune.recipe import load_recipe
from tests.finished import draw_class_images, write_finished_run
from tests.fuzz.outcome import type_in
from tests.fuzz.recipes import WHOLE
from tests.fuzz.weights import hostile_pickle

CODE = """\
from pathlib import Path
Path({marker!r}).mkdir(exist_ok=True)

def source(*, path: str = "images"):
    from hftune.data.folder_source import image_folder
    return image_folder(path=path)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder, with images of its classes beside it."""
    place = tmp_path_factory.mktemp("code")
    draw_class_images(place / "images")
    return build_artifact(write_finished_run(place / "run")).folder


@pytest.fixture
def hostile(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as somebody hostile publishes it: everything that could run leaves a mark."""
    monkeypatch.chdir(published.parent.parent)
    folder, marker = tmp_path / "hostile", tmp_path / "ran"
    for path in published.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(published)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(published)).write_bytes(path.read_bytes())
    code = CODE.format(marker=str(marker))
    for name in ("evil.py", "hftune/evil.py", "modeling_evil.py", "sitecustomize.py", "timm.py"):
        (folder / name).write_text(code)
    for name in ("pytorch_model.bin", "model.pt", "optimizer.pkl", "data.joblib"):
        (folder / name).write_bytes(hostile_pickle(marker))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "modeling_evil.Model"}
    config["custom_code"] = config["trust_remote_code"] = True
    config["pretrained_cfg"] |= {"custom_load": True, "file": str(folder / "model.pt"), "url": "x"}
    (folder / "config.json").write_text(json.dumps(config))
    recipe = WHOLE | {"data": {"source": {"name": "./evil.py:source"}, "workers": 0}}
    (folder / "hftune" / "recipe.yaml").write_text(json.dumps(recipe))
    return folder


@pytest.fixture
def settings(local_hub: Any, tmp_path: Path) -> HubSettings:
    return HubSettings(
        endpoint=local_hub.endpoint,
        token=local_hub.write_token,
        cache=tmp_path / "cache",
        first_pause=0.0,
        attempts=2,
    )


@pytest.fixture
def upload(settings: HubSettings) -> Callable[..., None]:
    def send(folder: Path, repo_id: str, kind: str = "model") -> None:
        api = HfApi(endpoint=settings.endpoint, token=settings.token)
        api.create_repo(repo_id, repo_type=kind)
        api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=kind)

    return send


def test_a_hostile_repository_loads_as_data(
    hostile: Path, upload: Callable[..., None], settings: HubSettings, tmp_path: Path
) -> None:
    upload(hostile, "local/hostile")
    modules, paths = set(sys.modules), list(sys.path)
    source = pull(parse_ref("local/hostile"), settings=settings)
    assert source.folder is not None
    taken = {path.suffix for path in source.folder.rglob("*") if path.is_file()}
    assert taken <= {".safetensors", ".json", ".md", ".yaml", ".png", ".jpg"}
    load_classifier(source)
    describe_folder(source.folder)
    assert not (tmp_path / "ran").exists()
    assert not {name for name in set(sys.modules) - modules if "evil" in name}
    assert sys.path == paths


def test_a_published_recipe_that_names_code_is_refused(hostile: Path, tmp_path: Path) -> None:
    code, _, said = type_in("eval", str(hostile))
    assert code == 2
    assert "is code; a recipe from elsewhere may not run any" in said
    assert "--trust-code" in said
    assert not (tmp_path / "ran").exists()


def test_trusted_code_runs(hostile: Path, tmp_path: Path) -> None:
    result = judge_thing(str(hostile), split="val", trust_code=True)
    assert result.num_examples > 0
    assert (tmp_path / "ran").exists()


COMPONENTS = {
    "source": lambda name: {"data": {"source": {"name": name}}},
    "augment": lambda name: {"data": WHOLE["data"] | {"augment": [{"name": name}]}},
    "class_weights": lambda name: {"data": WHOLE["data"] | {"class_weights": {"name": name}}},
    "loss": lambda name: {"loss": name},
    "method": lambda name: {"optim": WHOLE["optim"] | {"method": name}},
    "schedule": lambda name: {"optim": WHOLE["optim"] | {"schedule": {"name": name}}},
}


@pytest.mark.parametrize("where", COMPONENTS)
@pytest.mark.parametrize("name", ["./evil.py:f", "evil:f", "/evil.py:f", "../evil.py:f", ":f"])
def test_code_is_refused_wherever_it_is_named(tmp_path: Path, where: str, name: str) -> None:
    (tmp_path / "evil.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    (tmp_path / "base.yaml").write_text(json.dumps(WHOLE | COMPONENTS[where](name)))
    (tmp_path / "heir.yaml").write_text(json.dumps({"base": "base.yaml"}))
    for file in ("base.yaml", "heir.yaml"):
        with pytest.raises(RecipeError, match="is code") as caught:
            load_recipe(tmp_path / file, trust_code=False)
        assert caught.value.remedy is not None
        assert "--trust-code" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["../../../../secret.csv", "{secret}", "https://localhost/x.csv"])
def test_a_data_set_reads_its_own_files_only(
    upload: Callable[..., None], settings: HubSettings, tmp_path: Path, place: str
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("image,label\nx,y\n")
    (tmp_path / "set").mkdir()
    front = {"configs": [{"config_name": "default", "data_files": place.format(secret=secret)}]}
    (tmp_path / "set" / "README.md").write_text(f"---\n{json.dumps(front)}\n---\n")
    (tmp_path / "set" / "own.csv").write_text("image,label\nx,y\n")
    repo_id = f"local/set-{len(place)}"
    upload(tmp_path / "set", repo_id, "dataset")
    with pytest.raises(DataError):
        open_repository(parse_ref(repo_id, kind="dataset"), None, settings=settings)
