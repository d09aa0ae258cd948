"""Objects of orders as files of this node: fetched once, known by their hash, kept while there is room."""

import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from predictd.cluster.job_spec import Item
from predictd.domain.errors import CancelledError, PlatformError

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_ATTEMPTS = 6
_TIMEOUT = (10, 60)


class ObjectCache:
    """Fetched objects in a folder, by SHA-256; safe to use from several threads of one process, and of that alone.

    Args:
        folder: where they lie; what else lies there is removed.
        limit: bytes beyond which those that were used longest ago are removed, except those in use.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._users: dict[str, int] = {}
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.suffix == ".partial":
                path.unlink(missing_ok=True)

    @contextmanager
    def held(self, item: Item, cancel: threading.Event) -> Iterator[Path]:
        """The object as a file that stays until the block ends.

        Raises:
            PlatformError: it can't be had, or is another than the order says.
            CancelledError: `cancel` was set.
        """
        path = self._folder / item.sha256
        with self._lock:
            self._users[item.sha256] = self._users.get(item.sha256, 0) + 1
            fetching = self._fetching.setdefault(item.sha256, threading.Lock())
        try:
            with fetching:
                if not path.is_file():
                    self._make_room(item.size)
                    self._fetch(item, path, cancel)
            os.utime(path)
            yield path
        finally:
            with self._lock:
                self._users[item.sha256] -= 1
                if not self._users[item.sha256]:
                    del self._users[item.sha256], self._fetching[item.sha256]

    def _fetch(self, item: Item, path: Path, cancel: threading.Event) -> None:
        draft = self._folder / f"{item.sha256}.{secrets.token_hex(4)}.partial"
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    _download(item, draft, cancel)
                except requests.RequestException as error:
                    log.warning("fetching failed (attempt %d): %s", attempt + 1, type(error).__name__)
                    if attempt == _ATTEMPTS - 1 or _is_refusal(error):
                        raise PlatformError(f"The node can't fetch an object of its run: {_told(error)}.") from error
                else:
                    break
                if cancel.wait(0.5 * 2**attempt):
                    raise CancelledError
            draft.replace(path)
        except OSError as error:
            raise PlatformError(f"The node can't keep an object of its run: {error.strerror}.") from error
        finally:
            draft.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        used = wanted + sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used <= self._limit:
                return
            with self._lock:
                if path.suffix == ".partial" or self._users.get(path.name):
                    continue
                path.unlink(missing_ok=True)
            used -= size


def _download(item: Item, draft: Path, cancel: threading.Event) -> None:
    digest, size = hashlib.sha256(), 0
    with requests.get(item.url, stream=True, timeout=_TIMEOUT) as response, draft.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            if size > item.size:
                raise PlatformError("An object of this run is larger than the server says.")
            if cancel.is_set():
                raise CancelledError
            digest.update(chunk)
            file.write(chunk)
    if size != item.size:
        raise requests.ConnectionError("it ended early")
    if digest.hexdigest() != item.sha256:
        raise PlatformError("An object of this run is another than the server says.")


def put(url: str, content: bytes, cancel: threading.Event) -> None:
    """PUT the bytes to a signed URL, again when the server can't be reached for a moment.

    Raises:
        PlatformError: it was refused, or is out of reach.
        CancelledError: `cancel` was set.
    """
    for attempt in range(_ATTEMPTS):
        try:
            requests.put(url, data=content, timeout=_TIMEOUT).raise_for_status()
        except requests.RequestException as error:
            if attempt == _ATTEMPTS - 1 or _is_refusal(error):
                raise PlatformError(f"The node can't bring its answer: {_told(error)}.") from error
            if cancel.wait(0.5 * 2**attempt):
                raise CancelledError from error
        else:
            return


def _is_refusal(error: requests.RequestException) -> bool:
    """Whether it would be refused again."""
    return error.response is not None and 400 <= error.response.status_code < 500


def _told(error: requests.RequestException) -> str:
    """What went wrong, without the URL, whose signature is nobody's business."""
    if error.response is not None:
        return f"the answer was {error.response.status_code}"
    return f"{type(error).__name__}; can this node reach the address of the server or its storage (PREDICTD_NODE_URL)?"
