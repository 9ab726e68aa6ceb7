from pathlib import Path

import pytest

from hftune.core import RepoRef
from hftune.errors import RefError
from hftune.hub.ref import is_commit, parse_ref


def test_name_is_a_repository() -> None:
    assert parse_ref("timm/resnet18.a1_in1k") == RepoRef(repo_id="timm/resnet18.a1_in1k")


def test_revision_after_at() -> None:
    assert parse_ref("org/name@v1.0").revision == "v1.0"
    assert parse_ref("org/name@refs/pr/3").revision == "refs/pr/3"


def test_revision_given_beside() -> None:
    assert parse_ref("org/name", revision="dev").revision == "dev"
    assert parse_ref("org/name@dev", revision="dev").revision == "dev"


@pytest.mark.parametrize("prefix", ["hf-hub:", "hf_hub:"])
def test_prefix_means_the_hub(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_ref("org/name").folder == Path("org/name")
    assert parse_ref(f"{prefix}org/name@x") == RepoRef(repo_id="org/name", revision="x")


def test_folder_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_ref("./mine").folder == Path("mine")
    assert parse_ref(str(tmp_path / "mine")).folder == tmp_path / "mine"
    assert parse_ref("~/mine").folder == tmp_path / "mine"
    assert parse_ref("mine", kind="dataset") == RepoRef(kind="dataset", folder=Path("mine"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet18",
        "a/b/c",
        "org/",
        "/name/that/is/not/there",
        "./not-there",
        "org/na me",
        "org/-name",
        "org/name.",
        "org/a--b",
        "org/a..b",
        "org/name.git",
        "org/name@",
        "org/name@a b",
        "org/name@../../etc",
        "org/name@/x",
        "org/name@x.lock",
        "org/" + "x" * 100,
        "https://host/org/name",
        "hf-hub:./folder",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RefError):
        parse_ref(text)


def test_two_revisions_are_refused() -> None:
    with pytest.raises(RefError) as caught:
        parse_ref("org/name@v1", revision="v2")
    assert "'v1'" in str(caught.value)
    assert "'v2'" in str(caught.value)


def test_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(RefError, match="no revisions"):
        parse_ref(str(tmp_path), revision="v1")


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(RefError, match="a file"):
        parse_ref(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a" * 40, True), ("A0" * 20, True), ("a" * 39, False), ("main", False), (None, False)],
)
def test_commit_ids(text: str | None, expected: bool) -> None:
    assert is_commit(text) is expected
