"""What of a run is mirrored: enough to go on elsewhere, and nothing about this machine."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from hftune.core import DataFacts
from hftune.errors import RunFolderError
from hftune.files import committed_folder, digest_file, write_bytes, write_json, write_text
from hftune.hub.mirror import MIRROR_FILE
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_public_yaml
from hftune.train.best import BEST
from hftune.train.checkpoint import CHECKPOINTS, STATE, STEP_PREFIX, list_checkpoints
from hftune.train.json_record import build_record, read_mapping
from hftune.train.pins import PINS_FILE
from hftune.train.run_facts import (
    DATA_FILE,
    METRICS_FILE,
    PLAN_FILE,
    DataRecord,
    SplitRecord,
    read_data_record,
)

RECIPE = "recipe.yaml"


@dataclass(frozen=True, kw_only=True)
class MirrorRecord:
    """`mirror.json`: the state that a branch holds, and who sent it.

    `state` is the sha256 of the checkpoint's `state.json`, which names the digests of its tensors;
    `sender` is different for every process that sends.
    """

    run: str
    step: int
    state: str
    sender: str

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint's folder."""
        return f"{STEP_PREFIX}{self.step:08d}"

    def to_bytes(self) -> bytes:
        """Give the file's content."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def read_record(path: Path) -> MirrorRecord:
    """Read a `mirror.json`. Raises RunFolderError."""
    record = build_record(MirrorRecord, read_mapping(path), str(path))
    if record.step < 0:
        raise RunFolderError("this is no number of a step", found=str(record.step), where=str(path))
    return record


def newest_state(run: Path, sender: str, *, name: str) -> MirrorRecord | None:
    """Describe the newest checkpoint of the run called `name`; None where there is none."""
    checkpoints = list_checkpoints(run / CHECKPOINTS)
    if not checkpoints:
        return None
    step = int(checkpoints[-1].name.removeprefix(STEP_PREFIX))
    return MirrorRecord(
        run=name, step=step, state=digest_file(checkpoints[-1] / STATE), sender=sender
    )


def stage_state(run: Path, folder: Path, recipe: Recipe, record: MirrorRecord) -> None:
    """Make `folder` hold what is mirrored, in hard links, so that it stays as it is now.

    The recipe goes without paths of this machine, and of the data's record only what tells whether
    the data are the same.
    """
    checkpoint = Path(CHECKPOINTS, record.checkpoint)
    _link_tree(run / checkpoint, folder / checkpoint)
    if (run / BEST).is_dir():
        _link_tree(run / BEST, folder / BEST)
    for name in (PLAN_FILE, PINS_FILE):
        if (run / name).is_file():
            _link(run / name, folder / name)
    if (run / METRICS_FILE).is_file():
        shutil.copyfile(run / METRICS_FILE, folder / METRICS_FILE)  # the run appends to its own
    write_text(folder / RECIPE, to_public_yaml(recipe))
    if (run / DATA_FILE).is_file():
        write_json(folder / DATA_FILE, _digests_of(read_data_record(run)).to_json())
    write_bytes(folder / MIRROR_FILE, record.to_bytes())


def place_state(folder: Path, run: Path) -> None:
    """Move a mirrored state from `folder` into the run folder that it lies in.

    Killed at any moment it leaves a run that can go on: the checkpoint, which decides where, comes
    last. Raises RunFolderError where the state lacks it, and DiskError.
    """
    record = read_record(folder / MIRROR_FILE)
    checkpoint = Path(CHECKPOINTS, record.checkpoint)
    if not (folder / checkpoint).is_dir():
        raise RunFolderError("the state on the Hub lacks its checkpoint", found=str(checkpoint))
    for name in (PLAN_FILE, PINS_FILE, DATA_FILE, METRICS_FILE):
        if (folder / name).is_file():
            (folder / name).replace(run / name)
    for part in (Path(BEST), checkpoint):
        if (folder / part).is_dir():
            with committed_folder(run / part) as aside:
                _link_tree(folder / part, aside)


def _digests_of(data: DataRecord) -> DataRecord:
    """Give the counts and digests of the splits alone: no names, no places."""
    return DataRecord(
        facts=DataFacts(),
        splits={
            name: SplitRecord(count=split.count, digest=split.digest)
            for name, split in data.splits.items()
        },
    )


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
