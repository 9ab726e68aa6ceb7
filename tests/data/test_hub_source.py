"""The real `datasets` and `huggingface_hub` clients against a Hub on loopback.

They read the Hub's address once, at import, so each group of cases runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hftune.hub.server import RunningHub
from tests.data.conftest import ERRORS

pytestmark = pytest.mark.slow  # each process imports torch

Answers = dict[str, dict[str, Any]]

PUSH = """
import datasets, numpy as np, sys
from PIL import Image
from huggingface_hub import HfApi

def rows(number, names, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (number, 9, 8, 3), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels]
    made = datasets.Dataset.from_dict(
        {"image": images, "label": [i % len(names) for i in range(number)]})
    return made.cast_column("image", datasets.Image()).cast_column(
        "label", datasets.ClassLabel(names=names))

api = HfApi()
train, other = rows(12, ["zebra", "ape"], 0), rows(6, ["zebra", "ape"], 1)
datasets.DatasetDict(train=train, validation=other).push_to_hub("local/pets")
card = api.hf_hub_download("local/pets", "README.md", repo_type="dataset")
text = open(card).read().replace("---\\n", "---\\nlicense: cc-by-nc-sa-4.0\\n", 1)
api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md",
    repo_id="local/pets", repo_type="dataset")
first = api.dataset_info("local/pets").sha
train = rows(20, ["zebra", "ape"], 2)
datasets.DatasetDict(train=train, validation=other).push_to_hub("local/pets")
for config in ("small", "large"):
    rows(4, ["a", "b"], 3).push_to_hub("local/many", config)
datasets.Dataset.from_dict({"text": ["a"] * 4, "label": [0.5] * 4}).push_to_hub("local/texts")
api.create_repo("local/void", repo_type="dataset")
api.upload_file(path_or_fileobj=b"nothing", path_in_repo="notes.md",
    repo_id="local/void", repo_type="dataset")
print(first, api.dataset_info("local/pets").sha)
"""

ASK = """
import dataclasses, json, sys
from hftune.data.sources import open_splits
from hftune.errors import HftuneError
from hftune.recipe.schema import Component, DataRecipe

def ask(options):
    data = DataRecipe(source=Component(name="hub_dataset", options=options), val="25%", workers=0)
    try:
        splits = open_splits(data, problem="single_label")
    except HftuneError as error:
        return {"error": type(error).__name__, "text": str(error), "exit": error.exit_code}
    return {
        "train": len(splits.train),
        "val": len(splits.val),
        "names": splits.labels.names,
        "targets": splits.val.rows.targets.tolist(),
        "key": splits.val.rows.key(1),
        "size": splits.train.rows.image(0).size,
        "digest": splits.train.digest,
        "facts": dataclasses.asdict(splits.facts),
    }

print(json.dumps([ask(options) for options in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Client:
    """Runs programs against the Hub, all with the same cache."""

    hub: RunningHub
    home: Path

    def run(self, program: str, *arguments: str, **environment: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={
                **os.environ,
                **self.hub.environment,
                "HF_HOME": str(self.home),
                "HFTUNE_CACHE": str(self.home / "hftune"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def ask(self, *cases: Mapping[str, object], **environment: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = json.loads(
            self.run(ASK, json.dumps(cases), **environment).splitlines()[-1]
        )
        return answers


@pytest.fixture(scope="module")
def client(local_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(hub=local_hub, home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def commits(client: Client) -> list[str]:
    """Fill the Hub; give the first and the last commit of local/pets."""
    return client.run(PUSH).split()


CASES: dict[str, dict[str, object]] = {
    "plain": {"repo": "local/pets"},
    "no_val": {"repo": "local/pets", "val": None},
    "config": {"repo": "local/many", "config": "large"},
    "missing_repository": {"repo": "local/nope"},
    "missing_revision": {"repo": "local/pets", "revision": "v9"},
    "missing_config": {"repo": "local/many", "config": "huge"},
    "missing_name_of_config": {"repo": "local/many"},
    "missing_split": {"repo": "local/pets", "test": "holdout"},
    "missing_image_column": {"repo": "local/pets", "image": "img"},
    "image_column_of_texts": {"repo": "local/texts", "image": "text"},
    "repository_without_data": {"repo": "local/void"},
}


@pytest.fixture(scope="module")
def answers(client: Client, commits: list[str]) -> Answers:
    first = {"repo": f"local/pets@{commits[0]}"}
    asked = {**CASES, "pinned": first, "again": first}
    return dict(zip(asked, client.ask(*asked.values()), strict=True))


def test_repository_is_read_at_its_newest_commit(answers: Answers, commits: list[str]) -> None:
    answer = answers["plain"]
    assert (answer["train"], answer["val"], answer["size"]) == (20, 6, [8, 9])
    expected = {
        "repo_id": "local/pets",
        "commit": commits[1],
        "config": "default",
        "license": "cc-by-nc-sa-4.0",
        "path": None,
        "split_rule": "val: the source's own 'validation'",
    }
    assert expected.items() <= answer["facts"].items()
    assert answer["key"].startswith("validation row 1")


def test_declared_order_of_classes_is_kept(answers: Answers) -> None:
    assert answers["plain"]["names"] == ["zebra", "ape"]
    assert answers["plain"]["targets"] == [0, 1, 0, 1, 0, 1]


def test_pinned_commit_gives_what_it_held(answers: Answers, commits: list[str]) -> None:
    assert answers["pinned"]["train"] == 12
    assert answers["pinned"]["facts"]["commit"] == commits[0]
    assert answers["pinned"]["digest"] == answers["again"]["digest"]
    assert answers["pinned"]["digest"] != answers["plain"]["digest"]


def test_split_may_be_left_out(answers: Answers) -> None:
    assert (answers["no_val"]["train"], answers["no_val"]["val"]) == (15, 5)


def test_configuration_is_chosen(answers: Answers) -> None:
    assert answers["config"]["facts"]["config"] == "large"


@pytest.mark.parametrize("name", [case for case in CASES if "missing" in case or "column" in case])
def test_what_cannot_be_had_is_one_error(answers: Answers, client: Client, name: str) -> None:
    text = answers[name]["text"].replace(client.hub.endpoint, "http://hub")
    assert text + "\n" == (ERRORS / f"hub_{name}.txt").read_text(encoding="utf-8")


def test_repository_without_data_is_one_error(answers: Answers) -> None:
    assert answers["repository_without_data"]["error"] == "DataError"
    assert "cannot be read as a data set" in answers["repository_without_data"]["text"]


def test_cached_commit_serves_without_a_hub(client: Client, answers: Answers) -> None:
    (offline,) = client.ask({"repo": "local/pets"}, HF_HUB_OFFLINE="1")
    assert offline == answers["plain"]
