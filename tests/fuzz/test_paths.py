"""Names in a repository stay inside its folder, whatever a Hub says they are."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from hftune.data.folder_source import image_folder
from hftune.errors import HftuneError, PublishError, RecipeError
from hftune.hub.client import HubSettings
from hftune.hub.contents import read_contents
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.recipe import load_recipe
from tests.fuzz.outcome import content_of, error_of, no_hang, type_in

COMMIT = "a" * 40
BLOB = "4c559f782ca1b7b7ba5d1b5c8a3f3a8fdbd5ae3c"
OUTSIDE = [
    *("../x.json", "a/../../x.json", "/etc/x.json", "..", "a/..", "..\\x.json", "a\\..\\x.json"),
    *("C:\\x.json", "a\0b.json", "a\nb.json", "\x1b[2J.json", "x" * 300 + ".json"),
    *("a/" * 2_000 + "x", "\ud800.json", "", "/", "./../x.json", "//server/share/x.json"),
]


class HostileHub(BaseHTTPRequestHandler):
    """Answers the client's requests for a repository that holds one file of a chosen name."""

    name = ""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            entry = {"type": "file", "path": self.name, "size": 3, "oid": BLOB}
            self.reply(json.dumps([entry]).encode())
        elif "/api/" in self.path:
            self.reply(json.dumps({"id": "evil/x", "sha": COMMIT, "siblings": []}).encode())
        else:
            self.reply(b"bad")

    def reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{BLOB}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile_hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name)[:24])
def test_a_file_name_that_leads_out_writes_nothing(
    hostile_hub: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostileHub, "name", name)
    place = tmp_path / "deep" / "deeper"
    settings = HubSettings(
        endpoint=hostile_hub, token=False, cache=place / "cache", first_pause=0.0, attempts=1
    )
    error = error_of(lambda: pull(parse_ref("evil/x"), to=place / "copy", settings=settings))
    assert error is not None
    assert not (place / "copy").exists()
    written = [path for path in content_of(tmp_path).items() if path[1] is not None]
    assert {path for path, _ in written} <= {"deep/deeper/cache/models--evil--x/refs/main"}


def test_links_in_what_is_published_may_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("secret")
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, target in {
        "file": "../secret/key.txt",
        "folder": "../secret",
        "loop": "loop",
    }.items():
        (folder / name).symlink_to(target)
        with pytest.raises(PublishError, match="must not be published"):
            read_contents(folder)
        (folder / name).unlink()
    read_contents(folder)


def test_links_in_a_folder_of_images_are_followed(tmp_path: Path) -> None:
    """The folder is the user's own, and links are how large sets are put together."""
    for name in ("cat", "dog"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "elsewhere" / name / "0.png")
    (tmp_path / "set").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert len(image_folder(path=str(tmp_path / "set")).parts["train"]) == 2


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "set" / "cat").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "set" / "cat" / "0.png")
    (tmp_path / "set" / "cat" / "again").symlink_to(tmp_path / "set" / "cat")
    with no_hang():
        found = image_folder(path=str(tmp_path / "set")).parts["train"]
    assert len(found) >= 1


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", ".", ".hidden", "a\\b", "a\0b", "x y"])
def test_the_name_of_a_run_is_one_folder(tmp_path: Path, name: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(json.dumps({"run": name, "model": {"architecture": "x"}}))
    with pytest.raises(RecipeError):
        load_recipe(recipe)


WORDS = ["x" * 300, "x/" * 3_000, "~" * 300, "/dev/null", "//", "\x1b[2J", "org/../x", "a/b/c@d"]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: repr(word)[:16])
def test_words_that_name_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("inspect", "eval", "predict", "export", "report", "push", "recipe check"):
        words = [*verb.split(), word, *(["x.png"] if verb == "predict" else [])]
        code, _, said = type_in(*words)
        assert code in (2, 3), said
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_names_from_steering_the_terminal() -> None:
    text = str(HftuneError("no\x1b[2J", found="a\u202eb\nc" + "x" * 5_000))
    assert "\x1b" not in text
    assert "\\u202e" in text
    assert len(text) < 2_000
