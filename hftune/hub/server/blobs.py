"""The contents of one repository's files, each kept once under the id of its content."""

import re
from pathlib import Path

from hftune import files
from hftune.hub.server.refusal import Refusal
from hftune.hub.server.trees import blob_id

_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Blobs:
    """A folder of contents: small files under their git id, large ones under their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, content_id: str) -> Path:
        """Give the place of a content, whether it is there or not."""
        if not _ID.fullmatch(content_id):
            raise Refusal(400, "an object id is 40 or 64 hexadecimal digits")
        return self.folder / content_id[:2] / content_id

    def has(self, content_id: str) -> bool:
        """Say whether the content is kept here."""
        return self.path(content_id).is_file()

    def add(self, content: bytes) -> str:
        """Keep a small file's content and give its id. Writes to the disk."""
        content_id = blob_id(content)
        if not self.has(content_id):
            files.write_bytes(self.path(content_id), content)
        return content_id

    def adopt(self, file: Path, sha256: str) -> None:
        """Move a flushed file here as the large content `sha256`. Raise Refusal 400 if it is not.

        The file is on the same disk; it is removed when its content is wrong.
        """
        found = files.digest_file(file)
        if found != sha256:
            file.unlink()
            raise Refusal(400, f"the content received has the sha256 {found}, not {sha256}")
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        files.flush_folder(target.parent)
