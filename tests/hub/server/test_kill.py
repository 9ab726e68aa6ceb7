"""A Hub killed in the middle of pushes leaves whole commits only."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.hub.server import running
from hftune.hub.server.store import Store

SERVE = """
import sys
from pathlib import Path
from hftune.hub.server import serve
serve(Path(sys.argv[1]), ready=lambda hub: print(hub.endpoint, hub.write_token, flush=True))
"""

# Small and large files, one commit after the other; every commit that was answered is printed.
PUSH = """
import os, sys
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi(endpoint=sys.argv[1], token=sys.argv[2])
for number in range(10_000):
    operations = [
        CommitOperationAdd(f"{number}.txt", str(number).encode()),
        CommitOperationAdd(f"{number}.bin", os.urandom(50_000)),
    ]
    commit = api.create_commit("acme/killed", operations, commit_message=str(number))
    print(commit.oid, flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25])
def test_killed_hub_keeps_whole_commits_only(tmp_path: Path, seconds: float) -> None:
    with start(SERVE, str(tmp_path)) as server:
        assert server.stdout is not None
        endpoint, token = server.stdout.readline().split()
        HfApi(endpoint=endpoint, token=token).create_repo("acme/killed")
        with start(PUSH, endpoint, token) as client:
            assert client.stdout is not None
            made = [client.stdout.readline().strip()]
            time.sleep(seconds)
            server.kill()
            client.kill()
            made += client.stdout.read().split()
    with running(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
        kept = [commit.commit_id for commit in api.list_repo_commits("acme/killed")][::-1]
        # What was answered is there; at most the one under way came through unanswered.
        assert kept[1 : len(made) + 1] == made
        assert len(kept) <= len(made) + 2
        [repo] = Store(tmp_path).list("model")
        for path, entry in repo.resolve("main").tree.items():
            content = repo.blobs.path(entry.etag).read_bytes()
            assert len(content) == entry.size, path
            if entry.sha256 is not None:
                assert hashlib.sha256(content).hexdigest() == entry.sha256, path
        api.upload_file(path_or_fileobj=b"x", path_in_repo="after", repo_id="acme/killed")
        assert api.file_exists("acme/killed", "after")
