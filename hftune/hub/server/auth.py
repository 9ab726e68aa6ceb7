"""Who is asking and what they may do: tokens with a role, and signatures for upload addresses."""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from hftune import files
from hftune.errors import RequestError
from hftune.hub.server.refusal import Refusal

Role = Literal["read", "write", "fineGrained"]
WRITE = "repo.write"
SIGNATURE_SECONDS = 6 * 3600


@dataclass(frozen=True, kw_only=True)
class Token:
    """A secret and what it opens. `everywhere` lets its owner act in every namespace.

    `scopes` are those of a fine-grained token: a namespace or a repository, and what is granted
    there, such as `repo.write`.
    """

    user: str
    role: Role
    secret: str = field(repr=False)
    everywhere: bool = False
    scopes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def owns(self, namespace: str) -> bool:
        """Say whether the namespace is the token's own."""
        return self.everywhere or namespace == self.user

    @property
    def writes(self) -> bool:
        """Whether the token may write anywhere at all."""
        granted = any(WRITE in permissions for permissions in self.scopes.values())
        return self.role == "write" or (self.role == "fineGrained" and granted)

    def may_write(self, place: str) -> bool:
        """Say whether the token may write to a namespace, or to a repository such as `ns/name`."""
        namespace = place.partition("/")[0]
        if self.role == "fineGrained":
            return any(WRITE in self.scopes.get(name, ()) for name in (place, namespace))
        return self.writes and self.owns(namespace)


class Keyring:
    """The tokens a Hub knows and the key it signs upload addresses with."""

    def __init__(self, tokens: Sequence[Token], signing_key: str) -> None:
        self.tokens = tuple(tokens)
        self._signing_key = signing_key.encode("ascii")

    def __repr__(self) -> str:
        return f"Keyring({len(self.tokens)} tokens)"

    def identify(self, authorization: str | None) -> Token | None:
        """Give the token of an Authorization header, None without one. Raise Refusal 401."""
        if authorization is None:
            return None
        scheme, _, secret = authorization.partition(" ")
        found = None
        for token in self.tokens:  # All are compared, so that the time taken tells nothing.
            if hmac.compare_digest(token.secret.encode(), secret.strip().encode()):
                found = token
        if found is None or scheme.lower() != "bearer":
            raise Refusal(401, "Invalid credentials in Authorization header")
        return found

    def sign(self, path: str, facts: Mapping[str, str]) -> str:
        """Give `path` with the facts, a time limit and a signature over all of them."""
        query = {**facts, "expires": str(int(time.time()) + SIGNATURE_SECONDS)}
        return f"{path}?{urlencode({**query, 'signature': self._signature(path, query)})}"

    def check_signature(self, path: str, query: Mapping[str, str]) -> None:
        """Raise Refusal 403 unless `sign` made this address and it is still valid."""
        facts = {name: value for name, value in query.items() if name != "signature"}
        expected = self._signature(path, facts)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise Refusal(403, "this upload address is not signed by this Hub")
        if int(facts["expires"]) < time.time():
            raise Refusal(403, "this upload address has expired; start the upload again")

    def _signature(self, path: str, facts: Mapping[str, str]) -> str:
        text = json.dumps([path, sorted(facts.items())])
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()


def open_keyring(root: Path, *, user: str = "local", guests: Sequence[Token] = ()) -> Keyring:
    """Read the tokens kept in `root`; the first time, make a write and a read token for `user`.

    The file is readable by its owner only. `guests` are known as well but not kept.
    """
    path = root / "tokens.json"
    if not path.exists():
        tokens = [
            Token(user=user, role=role, secret=f"hf_{secrets.token_hex(20)}", everywhere=True)
            for role in ("write", "read")
        ]
        value = {
            "signing_key": secrets.token_hex(32),
            "tokens": [asdict(token) for token in tokens],
        }
        _write_private(path, json.dumps(value, indent=2) + "\n")
    path.chmod(0o600)
    try:
        value = json.loads(path.read_text("utf-8"))
        kept = [Token(**token) for token in value["tokens"]]
        return Keyring([*kept, *guests], value["signing_key"])
    except (ValueError, KeyError, TypeError):
        raise RequestError(
            "the local Hub's tokens cannot be read",
            where=str(path),
            remedy="remove the file; new tokens are made at the next start",
        ) from None


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read at any moment, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with files.disk_errors(path):
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
