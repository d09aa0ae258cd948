"""Transfer the objects of jobs: fetch inputs into a cache by their hash, and upload results."""

import hashlib
import logging
import math
import threading
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import requests

from predictd.cluster.job_spec import ObjectRef
from predictd.domain.errors import CancelledError, PlatformError
from predictd.file_cache import FileCache

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_ATTEMPTS = 6
_TIMEOUT = (10, 60)


def open_cache(folder: Path, limit: int) -> FileCache:
    """Open the cache of fetched objects, which only one process uses, and remove its partial files."""
    cache = FileCache(folder=folder, limit=limit)
    cache.sweep(math.inf)
    return cache


def acquire_object(cache: FileCache, ref: ObjectRef, cancel: threading.Event) -> AbstractContextManager[Path]:
    """Return the object as a file that is not removed before the block ends; fetch it if needed.

    Raises:
        PlatformError: It can't be fetched or stored, or has another hash.
        CancelledError: `cancel` was set.
    """
    return cache.acquire(ref.sha256, ref.sha256, ref.size, partial(_fetch, ref, cancel))


def _fetch(ref: ObjectRef, cancel: threading.Event, path: Path) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            _download(ref, path, cancel)
        except requests.RequestException as error:
            log.warning("fetching failed (attempt %d): %s", attempt + 1, type(error).__name__)
            if attempt == _ATTEMPTS - 1 or _is_rejection(error):
                raise PlatformError(f"The node can't fetch an object of its run: {_describe(error)}.") from error
            if cancel.wait(0.5 * 2**attempt):
                raise CancelledError from error
        else:
            return


def _download(ref: ObjectRef, path: Path, cancel: threading.Event) -> None:
    digest, size = hashlib.sha256(), 0
    with requests.get(ref.url, stream=True, timeout=_TIMEOUT) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            if size > ref.size:
                raise PlatformError("An object of this run is larger than its job spec states.")
            if cancel.is_set():
                raise CancelledError
            digest.update(chunk)
            file.write(chunk)
    if size != ref.size:
        raise requests.ConnectionError("it ended early")
    if digest.hexdigest() != ref.sha256:
        raise PlatformError("An object of this run does not match the hash of its job spec.")


def put(url: str, content: bytes, cancel: threading.Event) -> None:
    """PUT the bytes to a signed URL; retry if the server is unreachable.

    Raises:
        PlatformError: The upload was rejected, or the server is unreachable.
        CancelledError: `cancel` was set.
    """
    for attempt in range(_ATTEMPTS):
        try:
            requests.put(url, data=content, timeout=_TIMEOUT).raise_for_status()
        except requests.RequestException as error:
            if attempt == _ATTEMPTS - 1 or _is_rejection(error):
                raise PlatformError(f"The node can't upload its result: {_describe(error)}.") from error
            if cancel.wait(0.5 * 2**attempt):
                raise CancelledError from error
        else:
            return


def _is_rejection(error: requests.RequestException) -> bool:
    """Return whether a retry would be rejected, too."""
    return error.response is not None and 400 <= error.response.status_code < 500


def _describe(error: requests.RequestException) -> str:
    """Describe the error without the URL, whose signature is secret."""
    if error.response is not None:
        return f"the response was {error.response.status_code}"
    return f"{type(error).__name__}; can this node reach the address of the server or its storage (PREDICTD_NODE_URL)?"
