"""Signatures of presigned URLs: an HMAC over everything that the URL allows."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from predictd.domain.errors import ForbiddenTransferError
from predictd.storage.keys import check_key

SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What one URL allows: a method on a key until a time (seconds since the epoch), up to a size in bytes."""

    method: str
    key: str
    expires: int
    max_bytes: int = 0
    filename: str = ""

    def sign(self, secret: bytes) -> str:
        """The signature in hexadecimal."""
        fields = (self.method, self.key, str(self.expires), str(self.max_bytes), self.filename)
        # Lengths in front, so that no two grants ever give the same message.
        message = "".join(f"{len(one)}:{one}" for one in fields)
        return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()

    def verify(self, secret: bytes, signature: str, now: datetime | None = None) -> None:
        """Raise ForbiddenTransferError unless the signature is of this grant and the time has not come."""
        if not hmac.compare_digest(self.sign(secret).encode(), signature.encode()):
            raise ForbiddenTransferError("The URL's signature was not made for this object and method.")
        if (now or datetime.now(UTC)).timestamp() >= self.expires:
            raise ForbiddenTransferError("The URL has expired; ask for a new one.")


def grant(method: str, key: str, expires_at: datetime, max_bytes: int | None, filename: str | None) -> Grant:
    """What a URL of these allows; InvalidInputError for what is no key."""
    return Grant(
        method=method,
        key=check_key(key),
        expires=int(expires_at.timestamp()),
        max_bytes=max_bytes or 0,
        filename=filename or "",
    )


def signed_url(base_url: str, secret: bytes, allowed: Grant) -> str:
    """A URL of this server's own that allows that."""
    query = {"expires": allowed.expires, "max": allowed.max_bytes, "name": allowed.filename}
    fields = {name: str(value) for name, value in query.items() if value}
    return f"{base_url}/files/{quote(allowed.key)}?{urlencode(fields | {'signature': allowed.sign(secret)})}"


def load_secret(path: Path) -> bytes:
    """The secret in the file, which is made at the first call; two processes at once agree on one."""
    with suppress(FileNotFoundError):
        return bytes.fromhex(path.read_text())
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, because it fails where another process was first.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return bytes.fromhex(path.read_text())
