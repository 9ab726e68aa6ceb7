"""The body of a request: read to its end, kept up to a limit, in memory or on the disk."""

import asyncio
import io
import json
import os
import re
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
_MOST_FIELDS = 100_000
SILENT_SECONDS = 60.0
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


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

        A client that is still sending would take an early answer for a broken connection. Raise
        Refusal 408 for one that is silent too long.
        """
        async for chunk in _while_sent(chunks):
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

    def lines(self, limit: int) -> Iterator[bytes]:
        """Give the lines one by one. Raise Refusal 413 for one of more than `limit` bytes."""
        with self._opened() as stream:
            while line := stream.readline(limit + 1):
                if len(line) > limit:
                    raise Refusal(413, f"a line of this request may have {limit} bytes")
                yield line

    def mapping(self) -> dict[str, Any]:
        """Read a JSON object. Raise Refusal 400."""
        return json_object(self.content() or b"{}")

    def form(self) -> dict[str, list[str]]:
        """Read form fields. Raise Refusal 400."""
        try:
            text = self.content().decode("utf-8")
            return parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            message = f"the request is no form in UTF-8 of at most {_MOST_FIELDS} fields"
            raise Refusal(400, message) from None

    def as_file(self) -> Path:
        """Give the body as a file, flushed to the disk; whoever takes it may move it away."""
        if self._stream is None:
            self._spill()
        assert self._stream is not None
        assert self.file is not None
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self.file

    def _opened(self) -> BinaryIO:
        return io.BytesIO(self._start) if self.file is None else self.file.open("rb")

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
    """Read one JSON object in UTF-8. Raise Refusal 400 for anything else."""
    try:
        value = json.loads(content.decode("utf-8"))
        if _SURROGATE.search(content):  # half a character could be kept nowhere
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise Refusal(400, "the request is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the request is no JSON object")
    return value


async def _while_sent(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give the chunks as they arrive. Raise Refusal 408 when none has come for too long."""
    while True:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, "the rest of the request did not come") from None
        yield chunk
