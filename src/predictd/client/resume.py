"""Uploads whose bytes have arrived and that are not registered yet: the next attempt need not send them again."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Servers remove what is not registered after a day.
_GOOD_SECONDS = 20 * 3600


@dataclass(frozen=True, kw_only=True)
class PendingUploads:
    """A folder with a small file per upload, found by what the upload is of and for."""

    folder: Path

    @classmethod
    def of_user(cls) -> "PendingUploads":
        """Those in the user's cache (XDG_CACHE_HOME)."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()
        return cls(folder=home / "predictd" / "uploads")

    def find(self, what: Iterable[str | None]) -> str | None:
        """The filename under which the bytes have arrived; None where they have not, or too long ago."""
        path = self._path(what)
        try:
            if time.time() - path.stat().st_mtime > _GOOD_SECONDS:
                path.unlink()
                return None
            return str(json.loads(path.read_text())["filename"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, what: Iterable[str | None], filename: str) -> None:
        """Remember it; where nothing can be written, the next attempt sends the bytes again."""
        path = self._path(what)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"filename": filename}))
            draft.replace(path)

    def forget(self, what: Iterable[str | None]) -> None:
        """It is registered, or not to be had any more."""
        with suppress(OSError):
            self._path(what).unlink(missing_ok=True)

    def _path(self, what: Iterable[str | None]) -> Path:
        key = hashlib.sha256(json.dumps(list(what)).encode()).hexdigest()
        return self.folder / f"{key[:32]}.json"
