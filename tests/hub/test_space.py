"""A Space on the Hub: made, pushed again, and what its users changed in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, SpaceInfo

from hftune.errors import HubPermissionError, PublishError
from hftune.hub.card import BEGIN, read_metadata
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, check_push, push
from hftune.hub.push_plan import plan_push
from hftune.hub.space import SpaceFacts, space_card
from tests.hub.conftest import FINE, NARROW

FACTS = SpaceFacts(
    title="Cats", repo_id="org/cats", commit="0" * 40, license="mit", gradio="6.31.0"
)


@pytest.fixture
def target(repo_id: str) -> PushTarget:
    return PushTarget(kind="space", repo_id=repo_id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Space as hftune writes it, as far as the Hub sees."""
    return write(tmp_path / "space", app="print(1)\n")


def write(folder: Path, *, app: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "app.py").write_text(app)
    (folder / "model.json").write_text("{}\n")
    (folder / "README.md").write_text(space_card(FACTS, folder))
    return folder


def put(api: HfApi, target: PushTarget, path: str, text: str) -> None:
    api.create_commit(
        target.repo_id,
        [CommitOperationAdd(path_in_repo=path, path_or_fileobj=text.encode())],
        commit_message=f"change {path}",
        repo_type="space",
    )


def read(api: HfApi, target: PushTarget, path: str, cache: Path) -> str:
    name = api.hf_hub_download(target.repo_id, path, repo_type="space", cache_dir=cache)
    return Path(name).read_text()


def titles(api: HfApi, target: PushTarget) -> list[str]:
    return [one.title for one in api.list_repo_commits(target.repo_id, repo_type="space")]


def test_a_space_is_private_and_says_what_runs_it(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    made = push(folder, target, message="Show", settings=settings)
    info = api.repo_info(target.repo_id, repo_type="space")
    assert isinstance(info, SpaceInfo)
    assert (made.kind, made.commit) == ("space", info.sha)
    assert (info.private, info.sdk, info.models) == (True, "gradio", ["org/cats"])
    assert titles(api, target) == ["Show", "initial commit"]
    card = read(api, target, "README.md", tmp_path)
    values = read_metadata(card)
    assert {key: values[key] for key in ("title", "license", "app_file", "python_version")} == {
        "title": "Cats",
        "license": "mit",
        "app_file": "app.py",
        "python_version": "3.12",
    }
    assert len(values["short_description"]) <= 60
    assert not api.repo_exists(target.repo_id)  # a model of that name is something else


def test_the_same_space_again_makes_no_commit(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    first = push(folder, target, message="Show", settings=settings)
    assert push(folder, target, message="Show again", settings=settings) == first
    assert titles(api, target) == ["Show", "initial commit"]


def test_our_own_files_move_on_and_those_of_others_stay(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    push(folder, target, message="Show", settings=settings)
    put(api, target, "notes.txt", "mine")
    plan = plan_push(write(folder, app="print(2)\n"), target, settings=settings)
    assert ([file.path for file in plan.changed], plan.kept) == (["README.md", "app.py"], ())
    push(folder, target, message="Newer", settings=settings)
    assert read(api, target, "app.py", tmp_path) == "print(2)\n"
    assert read(api, target, "notes.txt", tmp_path) == "mine"


def test_a_file_that_was_changed_there_is_kept_for_good(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    push(folder, target, message="Show", settings=settings)
    put(api, target, "app.py", "print('mine')\n")
    for app in ("print(2)\n", "print(3)\n"):
        write(folder, app=app)
        assert plan_push(folder, target, settings=settings).kept == ("app.py",)
        push(folder, target, message="Newer", settings=settings)
        assert read(api, target, "app.py", tmp_path) == "print('mine')\n"


def test_words_and_looks_of_the_page_are_the_users(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    push(folder, target, message="Show", settings=settings)
    card = read(api, target, "README.md", tmp_path)
    card = card.replace("title: Cats", "title: My cats\nemoji: C").replace("6.31.0", "5.0.0")
    put(api, target, "README.md", card.replace(BEGIN, f"Hello.\n\n{BEGIN}"))
    push(folder, target, message="Again", settings=settings)
    card = read(api, target, "README.md", tmp_path)
    values = read_metadata(card)
    assert (values["title"], values["emoji"], values["sdk_version"]) == ("My cats", "C", "6.31.0")
    assert "Hello.\n\n<!-- hftune" in card


def test_an_app_that_hftune_did_not_write_is_never_replaced(
    folder: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    api.create_repo(target.repo_id, repo_type="space", space_sdk="gradio")
    put(api, target, "app.py", "print('theirs')\n")
    with pytest.raises(PublishError, match="an app of its own") as caught:
        push(folder, target, message="Show", settings=settings)
    assert caught.value.found == "app.py"
    assert read(api, target, "app.py", tmp_path) == "print('theirs')\n"


def test_a_token_must_be_allowed_to_write_the_space(settings: HubSettings) -> None:
    target = PushTarget(kind="space", repo_id="guest/a-demo")
    check_push(target, settings=replace(settings, token=FINE.secret))
    with pytest.raises(HubPermissionError):
        check_push(target, settings=replace(settings, token=NARROW.secret))
