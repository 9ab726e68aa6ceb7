"""With hf_xet installed, the client library sends large files by that road only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.hub.client import HubSettings

PUSH = """
import sys
from pathlib import Path
from hftune.errors import HubError
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, push
endpoint, token, cache, repo_id, folder = sys.argv[1:]
settings = HubSettings(endpoint=endpoint, token=token, cache=Path(cache))
try:
    print(push(Path(folder), PushTarget(repo_id=repo_id), message="m", settings=settings).commit)
except HubError as error:
    print(error)
"""


def push_with(switch: str, settings: HubSettings, repo_id: str, artifact: Path) -> str:
    where = (settings.endpoint, str(settings.token), str(settings.cache), repo_id, str(artifact))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PUSH, *where],
        env=os.environ | {"HF_HUB_DISABLE_XET": switch},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_hub_without_that_road_names_the_switch_which_then_helps(
    settings: HubSettings, repo_id: str, artifact: Path, api: HfApi
) -> None:
    pytest.importorskip("hf_xet")
    said = push_with("0", settings, repo_id, artifact)
    assert "does not take files through hf_xet" in said
    assert "set HF_HUB_DISABLE_XET=1 in the environment, then run the same command again" in said
    assert "nothing was committed" in said
    assert len(api.list_repo_commits(repo_id)) == 1
    assert push_with("1", settings, repo_id, artifact) == api.repo_info(repo_id).sha
