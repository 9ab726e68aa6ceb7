"""A process that reads what is published as strangers do: without hftune, from folders alone."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch

from hftune.errors import PublishError

Reader = Literal["timm", "transformers"]

_OUTSIDER = Path(__file__).with_name("outsider.py")
_LAST_LINES = 3  # of what a reader that failed has printed


class Outside:
    """The process, from `with` to the end of its body.

    Its libraries take seconds to load, so it is started while there is something else to do. Each
    question is answered with a model that is built anew.
    """

    def __init__(self) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._process = subprocess.Popen(
            # -P: the script's own folder must not shadow what the readers import.
            [sys.executable, "-P", str(_OUTSIDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
        )

    def __enter__(self) -> Self:
        """Go on while the process loads its libraries."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._printed.close()

    def ask(self, reader: Reader, source: str, probe: Path) -> tuple[list[str], torch.Tensor]:
        """Give class names and logits [N, K] that `reader` gets from `source`, for the probe.

        `source` names a folder. Raises PublishError when the reader fails; nothing can be asked
        after that.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = {"reader": reader, "source": source, "probe": str(probe)}
        answer = b""
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:  # it ended before it was asked
            pass
        if not answer:
            raise PublishError(
                f"{reader} cannot load this model", found=self._last_words(), where=source
            )
        values = json.loads(answer)
        return values["label_names"], torch.tensor(values["logits"], dtype=torch.float32)

    def _last_words(self) -> str:
        self._process.wait()
        self._printed.seek(0)
        printed = self._printed.read().decode(errors="replace")
        return "\n".join([line for line in printed.splitlines() if line.strip()][-_LAST_LINES:])
