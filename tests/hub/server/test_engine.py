import logging
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import get_session

from hftune.errors import AbilityError, PortInUseError, RequestError
from hftune.hub.server import Token, running
from hftune.hub.server.call import JSON_LIMIT


def test_content_and_tokens_survive_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    with running(root) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
        api.create_repo("acme/kept", private=True)
        operations = [CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("w.bin", b"w")]
        commit = api.create_commit("acme/kept", operations, commit_message="kept").oid
        api.create_tag("acme/kept", tag="v1")
        api.create_repo("acme/moved")
        api.move_repo("acme/moved", "acme/there")
        before = hub
    with running(root, user="ignored") as hub:
        assert (hub.write_token, hub.read_token) == (before.write_token, before.read_token)
        assert hub.user == "local"
        api = HfApi(endpoint=hub.endpoint, token=before.read_token)
        assert api.model_info("acme/kept", revision="v1").sha == commit
        path = api.hf_hub_download("acme/kept", "w.bin", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == b"w"
        assert api.model_info("acme/moved").id == "acme/there"


def test_tokens_are_private_and_differ_between_hubs(tmp_path: Path) -> None:
    secrets = set()
    for name in ("one", "two"):
        with running(tmp_path / name, user="ada") as hub:
            assert HfApi(endpoint=hub.endpoint, token=hub.read_token).whoami()["name"] == "ada"
            secrets |= {hub.write_token, hub.read_token}
        mode = (tmp_path / name / "tokens.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    assert len(secrets) == 4


def test_tokens_do_not_appear_in_logs_or_reprs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="hftune")
    guest = Token(user="guest", role="read", secret="hf_hidden")
    with running(tmp_path / "hub", guests=[guest]) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
        api.create_repo("acme/logged")
        api.upload_file(path_or_fileobj=b"w", path_in_repo="w.bin", repo_id="acme/logged")
        shown = caplog.text + repr(hub) + repr(guest)
        # The upload itself was logged, its signature was not.
        assert "PUT /lfs/models/acme/logged/" in caplog.text
        for secret in (hub.write_token, hub.read_token, "hf_hidden", "signature"):
            assert secret not in shown


def test_broken_token_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text('{"tokens": 3}')
    with pytest.raises(RequestError, match="tokens cannot be read"), running(tmp_path):
        pass


def test_port_in_use_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError) as caught, running(tmp_path / "hub", port=port):
            pass
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 is in use\n"
        "  do:       stop the other program, or choose another port with --port (0: any free)"
    )


def test_a_folder_is_served_by_one_hub_at_a_time(tmp_path: Path) -> None:
    with (
        running(tmp_path),
        pytest.raises(AbilityError, match="already served"),
        running(tmp_path),
    ):
        pass


def test_listening_beyond_this_machine_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path / "a"):
        assert "beyond this machine" not in caplog.text
    with running(tmp_path / "b", host="0.0.0.0") as hub:
        assert "beyond this machine" in caplog.text
        assert hub.endpoint.startswith("http://127.0.0.1:")


def test_bodies_are_bounded_and_read_to_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as hub:
        client = get_session()
        # The same connection serves the next request, so the refused body was read whole.
        headers = {"Authorization": f"Bearer {hub.write_token}"}
        reply = client.post(
            f"{hub.endpoint}/api/repos/create", headers=headers, content=b" " * (JSON_LIMIT + 1)
        )
        assert (reply.status_code, reply.json()["error"]) == (
            413,
            f"the request is too long; at most {JSON_LIMIT} bytes are taken here",
        )
        reply = client.post(
            f"{hub.endpoint}/api/repos/create",
            headers={"Authorization": "Bearer hf_wrong"},
            content=b" " * 1_000_000,
        )
        assert reply.status_code == 401
        assert client.get(f"{hub.endpoint}/").status_code == 200
        assert list((tmp_path / "incoming").iterdir()) == []


def test_broken_off_upload_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path) as hub:
        port = int(hub.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = "POST /api/models/a/b/commit/main HTTP/1.1\r\nHost: hub\r\n"
            connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n".encode())
            connection.sendall(b"x" * 3_000_000)
        assert get_session().get(f"{hub.endpoint}/").status_code == 200
    assert list((tmp_path / "incoming").iterdir()) == []


def test_default_address_is_loopback(tmp_path: Path) -> None:
    with running(tmp_path) as hub:
        assert hub.endpoint.startswith("http://127.0.0.1:")
        assert hub.environment["HF_ENDPOINT"] == hub.endpoint
        assert hub.environment["HF_TOKEN"] == hub.write_token
        assert hub.environment["HF_HUB_DISABLE_XET"] == "1"
        assert "127.0.0.1" in hub.environment["NO_PROXY"].split(",")


def test_stopped_hub_frees_its_port(tmp_path: Path) -> None:
    with running(tmp_path) as hub:
        port = int(hub.endpoint.rpartition(":")[2])
        get_session().get(f"{hub.endpoint}/")
    with running(tmp_path, port=port) as hub:
        assert get_session().get(f"{hub.endpoint}/").json()["endpoint"] == hub.endpoint


def test_leftovers_of_a_killed_hub_are_removed(tmp_path: Path) -> None:
    with running(tmp_path) as hub:
        HfApi(endpoint=hub.endpoint, token=hub.write_token).create_repo("acme/whole")
    repos = tmp_path / "repos/models/acme"
    (repos / ".half.1234abcd.part").mkdir()
    (repos / "whole/uploads/parts").mkdir(parents=True)
    (tmp_path / "incoming/body.part").write_bytes(b"x")
    with running(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
        assert [info.id for info in api.list_models()] == ["acme/whole"]
        assert [path.name for path in repos.iterdir()] == ["whole"]
        assert not (repos / "whole/uploads").exists()
        assert list((tmp_path / "incoming").iterdir()) == []


def test_missing_packages_are_named_with_the_remedy(tmp_path: Path) -> None:
    # A fresh interpreter in which the web server cannot be found.
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from pathlib import Path\n"
        "from hftune.errors import MissingPackageError\n"
        "from hftune.hub.server import running\n"
        "try:\n"
        f"    running(Path({str(tmp_path)!r})).__enter__()\n"
        "except MissingPackageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'uvicorn'" in done.stdout
    assert "pip install 'hftune[hub-server]'" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "from pathlib import Path\n"
        "from hftune.hub.server import serve\n"
        f"serve(Path({str(tmp_path)!r}), ready=lambda hub: print(hub.endpoint, flush=True))\n"
        "print('stopped')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        assert get_session().get(f"{endpoint}/").status_code == 200
        process.send_signal(number)
        rest = process.stdout.read()
        assert (process.wait(timeout=20), rest) == (0, "stopped\n")
