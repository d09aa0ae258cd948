"""Signatures of presigned URLs: an HMAC over all that the URL allows."""

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
    """What a URL allows: a method on a key until a time (seconds since the epoch), up to a size in bytes."""

    method: str
    key: str
    expires: int
    max_bytes: int = 0
    filename: str = ""

    def sign(self, secret: bytes) -> str:
        """Return the signature in hexadecimal."""
        fields = (self.method, self.key, str(self.expires), str(self.max_bytes), self.filename)
        # Prefixed with lengths, so that different grants never have the same message.
        message = "".join(f"{len(field)}:{field}" for field in fields)
        return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()

    def verify(self, secret: bytes, signature: str, now: datetime | None = None) -> None:
        """Raise ForbiddenTransferError unless the signature belongs to this grant and it has not expired."""
        if not hmac.compare_digest(self.sign(secret).encode(), signature.encode()):
            raise ForbiddenTransferError("The URL's signature does not match this object and method.")
        if (now or datetime.now(UTC)).timestamp() >= self.expires:
            raise ForbiddenTransferError("The URL has expired; request a new one.")


def grant(method: str, key: str, expires_at: datetime, max_bytes: int | None, filename: str | None) -> Grant:
    """Return the grant of a URL; raise InvalidInputError if the key is invalid."""
    return Grant(
        method=method,
        key=check_key(key),
        expires=int(expires_at.timestamp()),
        max_bytes=max_bytes or 0,
        filename=filename or "",
    )


def signed_url(base_url: str, secret: bytes, granted: Grant) -> str:
    """Return a URL of this server for the grant."""
    query = {"expires": granted.expires, "max": granted.max_bytes, "name": granted.filename}
    fields = {name: str(value) for name, value in query.items() if value}
    return f"{base_url}/files/{quote(granted.key)}?{urlencode(fields | {'signature': granted.sign(secret)})}"


def load_secret(path: Path) -> bytes:
    """Return the secret in the file; create it if it does not exist, with one result for concurrent processes."""
    with suppress(FileNotFoundError):
        return bytes.fromhex(path.read_text())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails if another process was first.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return bytes.fromhex(path.read_text())
