"""The body of a request: read to its end, kept up to a limit, in memory or on the disk."""

import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from hftune.hub.server.refusal import Refusal

MIB = 1 << 20
_IN_MEMORY = MIB
# What is read past the limit for politeness; who sends still more is cut off.
_DISCARDED = 1024 * MIB


class Body:
    """What a client sent. Use as a context manager: a file it made is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self.file: Path | None = None
        self._folder = folder
        self._start = bytearray()
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "Body":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    async def fill(self, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Read everything, keep at most `limit` bytes. Raise Refusal 413 after the last byte.

        A client that is still sending would take an early answer for a broken connection.
        """
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size <= limit:
                self._keep(chunk)
            elif self.size > limit + _DISCARDED:
                break
        if self._stream is not None:
            self._stream.flush()
        if self.size > limit:
            raise Refusal(413, f"the request is too long; at most {limit} bytes are taken here")

    def content(self) -> bytes:
        """Give all bytes."""
        return bytes(self._start) if self.file is None else self.file.read_bytes()

    def lines(self) -> Iterator[bytes]:
        """Give the lines one by one."""
        if self.file is None:
            yield from bytes(self._start).split(b"\n")
            return
        with self.file.open("rb") as stream:
            yield from stream

    def mapping(self) -> dict[str, Any]:
        """Read a JSON object. Raise Refusal 400."""
        return json_object(self.content() or b"{}")

    def form(self) -> dict[str, list[str]]:
        """Read form fields. Raise Refusal 400."""
        try:
            return parse_qs(self.content().decode("utf-8"), keep_blank_values=True)
        except ValueError:
            raise Refusal(400, "the request is no form in UTF-8") from None

    def as_file(self) -> Path:
        """Give the body as a file, flushed to the disk; whoever takes it may move it away."""
        if self._stream is None:
            self._spill()
        assert self._stream is not None
        assert self.file is not None
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self.file

    def _keep(self, chunk: bytes) -> None:
        if self._stream is None and len(self._start) + len(chunk) <= _IN_MEMORY:
            self._start += chunk
            return
        if self._stream is None:
            self._spill()
        assert self._stream is not None
        self._stream.write(chunk)

    def _spill(self) -> None:
        self.file = self._folder / f"{uuid.uuid4().hex}.part"
        self._stream = self.file.open("wb")
        self._stream.write(self._start)
        self._start.clear()


def json_object(content: bytes) -> dict[str, Any]:
    """Read one JSON object. Raise Refusal 400 for anything else."""
    try:
        value = json.loads(content)
    except ValueError:
        raise Refusal(400, "the request is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the request is no JSON object")
    return value
