"""Large files: where to send them, receiving them whole or in parts, checking what came."""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hftune.hub.server.auth import Keyring
from hftune.hub.server.body import MIB
from hftune.hub.server.call import Call, reply_json
from hftune.hub.server.names import repo_name
from hftune.hub.server.refusal import Refusal, repo_not_found
from hftune.hub.server.repo import Repo

MULTIPART_ABOVE = 32 * MIB
PART_SIZE = 16 * MIB
OBJECT_LIMIT = 64 * 1024 * MIB
MAX_OBJECTS = 1000

_SHA256 = re.compile(r"[0-9a-f]{64}")


def batch(call: Call) -> Response:
    """Say for each large file where its bytes are to be sent; nothing, if they are here."""
    repo = call.readable_repo()
    call.require_writer()
    wish = call.body.mapping()
    if wish.get("operation") != "upload" or wish.get("hash_algo", "sha256") != "sha256":
        raise Refusal(400, "only uploads named by sha256 are served here; download by 'resolve'")
    objects = wish.get("objects")
    if not isinstance(objects, list) or len(objects) > MAX_OBJECTS:
        raise Refusal(400, f"'objects' must be a list of at most {MAX_OBJECTS}")
    transfers = wish.get("transfers") or ["basic"]
    if not isinstance(transfers, list):
        raise Refusal(400, "'transfers' must be a list")
    multipart = "multipart" in transfers
    found = [_instructions(call, repo, one, multipart) for one in objects]
    in_parts = any("chunk_size" in str(one.get("actions")) for one in found)
    response = reply_json({"transfer": "multipart" if in_parts else "basic", "objects": found})
    response.headers["Content-Type"] = "application/vnd.git-lfs+json"
    return response


def signed_size(request: Request, keyring: Keyring) -> int:
    """Admit an upload whose address this Hub signed, up to the signed size."""
    query = dict(request.query_params)
    keyring.check_signature(request.url.path, query)
    return int(query["size"])


def signed(request: Request, keyring: Keyring) -> int:
    """Admit a small request to an address this Hub signed."""
    keyring.check_signature(request.url.path, dict(request.query_params))
    return MIB


def receive(call: Call) -> Response:
    """Take the bytes of one large file."""
    repo = _signed_repo(call)
    _require_size(call.body.size, int(call.query("size")))
    with repo.changing():
        repo.blobs.adopt(call.body.as_file(), call.segment("oid"))
    return Response(headers={"ETag": f'"{call.segment("oid")}"'})


def receive_part(call: Call) -> Response:
    """Take one part of a large file."""
    repo = _signed_repo(call)
    _require_size(call.body.size, int(call.query("size")))
    file = call.body.as_file()
    etag = hashlib.sha256(file.read_bytes()).hexdigest()
    with repo.changing():
        target = _parts_folder(repo, call.segment("oid")) / f"{int(call.segment('number')):05d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    return Response(headers={"ETag": f'"{etag}"'})


def complete(call: Call) -> Response:
    """Join the parts of a large file. Refuse with 400 if the whole is not what it claims to be."""
    repo = _signed_repo(call)
    sha256 = call.segment("oid")
    size = int(call.query("size"))
    with repo.changing():
        folder = _parts_folder(repo, sha256)
        if repo.blobs.has(sha256):
            return reply_json({"success": True})
        paths = sorted(folder.glob("*"))
        listed = call.body.mapping().get("parts")
        if not isinstance(listed, list) or len(listed) != len(paths):
            raise Refusal(400, f"{len(paths)} parts have arrived, which is not what was listed")
        whole = _joined(paths, call.store.incoming)
        shutil.rmtree(folder)
        try:
            _require_size(whole.stat().st_size, size)
            repo.blobs.adopt(whole, sha256)
        finally:
            whole.unlink(missing_ok=True)
    return reply_json({"success": True})


def verify(call: Call) -> Response:
    """Confirm that a large file arrived whole."""
    repo = call.readable_repo()
    call.require_writer()
    wish = call.body.mapping()
    sha256, size = _identity(wish)
    if not repo.blobs.has(sha256):
        raise Refusal(404, f"{sha256} has not arrived")
    _require_size(repo.blobs.path(sha256).stat().st_size, size)
    return reply_json({"message": "verified"})


def _instructions(call: Call, repo: Repo, one: Any, multipart: bool) -> dict[str, Any]:
    sha256, size = _identity(one)
    answer: dict[str, Any] = {"oid": sha256, "size": size}
    if size > OBJECT_LIMIT:
        message = f"at most {OBJECT_LIMIT} bytes are taken for one file"
        return {**answer, "error": {"code": 413, "message": message}}
    if repo.blobs.has(sha256):
        return answer
    place = f"/lfs/{repo.name.plural}/{repo.name.repo_id}/{sha256}"
    if multipart and size > MULTIPART_ABOVE:
        upload = _part_addresses(call, place, size)
    else:
        upload = {"href": _address(call, place, size), "header": {}}
    page = f"{call.endpoint}/{repo.name.page}"
    verify_at = {"href": f"{page}.git/info/lfs/verify"}
    return {**answer, "authenticated": True, "actions": {"upload": upload, "verify": verify_at}}


def _part_addresses(call: Call, place: str, size: int) -> dict[str, Any]:
    count = -(-size // PART_SIZE)
    header = {"chunk_size": str(PART_SIZE)}
    for number in range(1, count + 1):
        part = min(PART_SIZE, size - (number - 1) * PART_SIZE)
        header[str(number)] = _address(call, f"{place}/parts/{number}", part)
    return {"href": _address(call, f"{place}/complete", size), "header": header}


def _address(call: Call, path: str, size: int) -> str:
    return call.endpoint + call.keyring.sign(path, {"size": str(size)})


def _signed_repo(call: Call) -> Repo:
    """Give the repository of a signed address; the signature stands for the right to write."""
    kind = call.segment("kind").removesuffix("s")
    repo = call.store.find(repo_name(kind, call.segment("namespace"), call.segment("name")))
    if repo is None:
        raise repo_not_found(has_token=True)
    return repo


def _identity(value: Any) -> tuple[str, int]:
    """Read oid and size of an object. Raise Refusal 400."""
    sha256 = value.get("oid") if isinstance(value, dict) else None
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise Refusal(400, "an object is named by its sha256, 64 hexadecimal digits")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Refusal(400, "an object's size is a whole number of bytes")
    return sha256, size


def _require_size(found: int, wanted: int) -> None:
    if found != wanted:
        raise Refusal(400, f"{found} bytes have arrived, {wanted} were announced")


def _parts_folder(repo: Repo, sha256: str) -> Path:
    return repo.folder / "uploads" / sha256


def _joined(parts: list[Path], folder: Path) -> Path:
    whole = folder / f"{uuid.uuid4().hex}.part"
    with whole.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, MIB)
        target.flush()
        os.fsync(target.fileno())
    return whole
