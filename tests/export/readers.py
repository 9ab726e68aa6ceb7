"""Older and newer releases of timm and transformers reading one published repository.

    python -m tests.export.readers [--folder .readers]

Each release is installed into a folder of its own, which needs the package index; torch is this
environment's. A tiny run is pushed to a Hub on this machine, and each release loads it
from there by name, into an empty cache. Prints a table;
the exit code is 1 where a release fails, has other names, or logits that differ by more than 1e-5.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"  # read when the client is imported; the local Hub has none

import torch  # after the environment

from hftune import export
from hftune.core import Artifact
from hftune.export.artifact import build_artifact
from hftune.export.drift import TOLERANCE
from hftune.export.probe import PROBE, read_probe
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, push
from hftune.hub.server import RunningHub, running
from tests.finished import write_finished_run

REPO = "local/read-by-many"
OUTSIDER = Path(export.__file__).with_name("outsider.py")


@dataclass(frozen=True)
class Release:
    reader: str
    version: str
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.reader} {self.version}"


# timm's older releases and transformers 4 know no huggingface_hub after 1.0.
_HUB = ("huggingface_hub==0.36.0", "requests", "hf_xet")
_FOUR = (*_HUB, "tokenizers==0.22.1", "timm==1.0.20")
RELEASES = (
    Release("timm", "1.0.20", _HUB),
    Release("timm", "1.0.28"),
    Release("timm", "1.0.31"),
    Release("transformers", "4.57.6", _FOUR),
    Release("transformers", "5.23.0"),
)


def install(release: Release, folder: Path) -> Path:
    """Give the folder with a release in it, which is made once."""
    target = folder / release.name.replace(" ", "-")
    if not target.is_dir():
        wanted = [f"{release.reader}=={release.version}", *release.packages]
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
        subprocess.run([*words, f"{target}.new", *wanted], check=True)
        Path(f"{target}.new").rename(target)
    return target


def ask(
    release: Release, packages: Path, hub: RunningHub, artifact: Artifact, home: Path
) -> tuple[list[str], torch.Tensor]:
    """Give names and logits that a release gets from the Hub."""
    source = f"hf-hub:{REPO}" if release.reader == "timm" else REPO
    probe = str(artifact.folder / PROBE)
    question = {"reader": release.reader, "source": source, "probe": probe}
    environment = {
        **os.environ, "PYTHONPATH": str(packages), "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.read_token, "HF_HOME": str(home), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", str(OUTSIDER)],
        input=json.dumps(question) + "\n", env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if not done.stdout.strip():
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["label_names"], torch.tensor(answer["logits"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(".readers"))
    folder = parser.parse_args().folder
    failures = 0
    print("| reader | names | largest difference of a logit |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch) / "hub") as hub:
        artifact = build_artifact(write_finished_run(Path(scratch) / "run"), repo_id=REPO)
        settings = HubSettings(
            endpoint=hub.endpoint, token=hub.write_token, cache=Path(scratch) / "cache"
        )
        push(artifact.folder, PushTarget(repo_id=REPO), message="Publish", settings=settings)
        probe = read_probe(artifact.folder / PROBE)
        for number, release in enumerate(RELEASES):
            packages = install(release, folder.absolute())
            try:
                names, logits = ask(release, packages, hub, artifact, Path(scratch, str(number)))
            except RuntimeError as error:
                failures += 1
                print(f"| {release.name} | failed | {error} |", flush=True)
                continue
            gap = float((logits - probe.logits).abs().max())
            right = tuple(names) == probe.names
            failures += not (right and gap <= TOLERANCE)
            print(f"| {release.name} | {'right' if right else names} | {gap:.1e} |", flush=True)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
