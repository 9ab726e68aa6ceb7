from pathlib import Path

import pytest

from hftune.errors import PublishError
from hftune.hub.contents import of_content, read_contents


def findings(folder: Path, token: str | None = None) -> str:
    with pytest.raises(PublishError) as caught:
        read_contents(folder, token=token)
    assert caught.value.found is not None
    return caught.value.found


def test_files_have_their_digests(artifact: Path) -> None:
    files = {file.path: file for file in read_contents(artifact)}
    assert sorted(files) == ["README.md", "config.json", "hftune/recipe.yaml", "model.safetensors"]
    recipe = files["hftune/recipe.yaml"]
    assert recipe.size == 10
    # printf 'run: tiny\n' | git hash-object --stdin
    assert recipe.blob_id == "5b460ddb4a2ea56e622e7b22d8e7849bede90a28"


def test_content_has_the_digests_of_the_file(artifact: Path) -> None:
    on_disk = {file.path: file for file in read_contents(artifact)}["config.json"]
    given = of_content("config.json", (artifact / "config.json").read_bytes())
    assert (given.size, given.sha256, given.blob_id) == (
        on_disk.size,
        on_disk.sha256,
        on_disk.blob_id,
    )


@pytest.mark.parametrize(
    "path",
    [
        "pytorch_model.bin",
        "weights/old.pth",
        "last.ckpt",
        "model.pt",
        "optimizer.safetensors",
        "state.json",
        "preprocessor_config.json",
        "checkpoints/readme.txt",
        "step-000700/model.safetensors",
        ".env",
        ".git/config",
    ],
)
def test_file_that_must_not_be_published(path: str, artifact: Path) -> None:
    (artifact / path).parent.mkdir(parents=True, exist_ok=True)
    (artifact / path).write_bytes(b"x")
    assert path in findings(artifact)


def test_all_findings_come_at_once(artifact: Path) -> None:
    (artifact / "a.bin").write_bytes(b"x")
    (artifact / "b.pth").write_bytes(b"x")
    text = findings(artifact)
    assert "a.bin" in text
    assert "b.pth" in text


@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
def test_link_out_of_the_folder(target: str, artifact: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if target == "file":
        outside.write_text("secret")
    elif target == "folder":
        outside.mkdir()
    (artifact / "link").symlink_to(outside)
    assert "link: a link to something outside" in findings(artifact)


def test_link_inside_the_folder_is_sent_as_its_content(artifact: Path) -> None:
    (artifact / "copy.json").symlink_to("config.json")
    files = {file.path: file for file in read_contents(artifact)}
    assert files["copy.json"].sha256 == files["config.json"].sha256


@pytest.mark.parametrize("name", ["notes.md", "data.csv", "blob.dat"])
def test_token_in_any_file(name: str, artifact: Path) -> None:
    (artifact / name).write_bytes(b"\x00\x01 hf_" + b"Ab3" * 10 + b"\n")
    assert f"{name}: holds an access token" in findings(artifact)


def test_token_in_use_of_any_shape(artifact: Path) -> None:
    (artifact / "notes.md").write_text("pw is swordfish")
    assert "notes.md" in findings(artifact, token="swordfish")


@pytest.mark.parametrize("text", ["hf_hub:org/name", "hf_hub_download(", "HF_TOKEN"])
def test_words_that_look_like_tokens_pass(text: str, artifact: Path) -> None:
    (artifact / "notes.md").write_text(text)
    assert read_contents(artifact)


def test_path_of_this_machine(artifact: Path, tmp_path: Path) -> None:
    (artifact / "notes.md").write_text(f"trained in {tmp_path}/runs/one\n")
    assert f"notes.md: holds a path of this machine, {tmp_path}/runs/one" in findings(artifact)


def test_path_that_exists_here_only(
    artifact: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("images")
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setattr("tempfile.tempdir", None)
    (artifact / "notes.md").write_text(f"path: '{elsewhere}'\n")
    assert str(elsewhere) in findings(artifact)


def test_path_in_the_header_of_the_weights(artifact: Path) -> None:
    home = str(Path.home() / "runs" / "x")
    text = f'{{"__metadata__": {{"run": "{home}"}}}}'.encode()
    content = len(text).to_bytes(8, "little") + text
    (artifact / "model.safetensors").write_bytes(content)
    assert home in findings(artifact)


@pytest.mark.parametrize(
    "text",
    [
        "see https://host.example/tmp/a/b",
        "images/train/cat.jpg",
        "#!/usr/bin/env python",
        "</details>",
        "50/50 and/or a/b/c",
        "/no/such/place/here",
    ],
)
def test_texts_that_are_no_paths_of_this_machine(text: str, artifact: Path) -> None:
    (artifact / "notes.md").write_text(text)
    assert read_contents(artifact)


def test_empty_file_passes(artifact: Path) -> None:
    (artifact / "empty.txt").write_bytes(b"")
    assert {file.path: file.size for file in read_contents(artifact)}["empty.txt"] == 0


def test_empty_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="nothing"):
        read_contents(tmp_path)
    with pytest.raises(PublishError, match="no such folder"):
        read_contents(tmp_path / "absent")
