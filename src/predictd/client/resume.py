"""Uploads that were sent but not registered, so that the next attempt does not send them again."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Servers delete unregistered uploads after a day.
MAX_AGE_SECONDS = 20 * 3600


@dataclass(frozen=True, kw_only=True)
class PendingUploads:
    """A folder with a small file per upload. The key of an upload is its content, account and target."""

    folder: Path

    @classmethod
    def of_user(cls) -> "PendingUploads":
        """Return the uploads in the user's cache (XDG_CACHE_HOME)."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()
        return cls(folder=home / "predictd" / "uploads")

    def find(self, key: Iterable[str | None]) -> str | None:
        """Return the filename on the server of an upload; None if it was not sent, or too long ago."""
        path = self._path(key)
        try:
            if time.time() - path.stat().st_mtime > MAX_AGE_SECONDS:
                path.unlink()
                return None
            return str(json.loads(path.read_text())["filename"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, key: Iterable[str | None], filename: str) -> None:
        """Save the filename of an upload that was sent; errors are ignored, as the next attempt sends it again."""
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"filename": filename}))
            draft.replace(path)

    def delete(self, key: Iterable[str | None]) -> None:
        """Delete an upload that is registered, or gone from the server."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: Iterable[str | None]) -> Path:
        digest = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"
