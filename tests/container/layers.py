"""What lies in an image's layers, each looked into by itself."""

import subprocess
import tarfile
from contextlib import suppress
from pathlib import PurePosixPath

from tests.container.engine import Engine


def names_in_layers(engine: Engine, tag: str) -> set[PurePosixPath]:
    """Give the name of every file in every layer, as the engine sends the image."""
    names: set[PurePosixPath] = set()
    with subprocess.Popen([engine.program, "save", tag], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        with tarfile.open(fileobj=saving.stdout, mode="r|") as saved:
            for member in saved:
                stream = saved.extractfile(member) if member.isfile() else None
                # Layers stand between small files of JSON; what a file is called differs.
                with suppress(tarfile.ReadError):
                    if stream is not None:
                        with tarfile.open(fileobj=stream, mode="r|*") as layer:
                            names.update(PurePosixPath(file.name) for file in layer)
    assert saving.returncode == 0
    return names
