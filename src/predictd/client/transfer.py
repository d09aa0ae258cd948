"""HTTP transfers with retries: downloads that resume, and presigned PUTs."""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.util import Retry

from predictd import __version__
from predictd.domain.errors import PredictdError, TooLargeError

ShowProgress = Callable[[str, int, int | None], None]
"""Called with the name of a transfer, the bytes transferred, and the total bytes or None if unknown."""

MAX_ATTEMPTS = 5
MAX_QUOTE_LENGTH = 300
_TIMEOUT = (10.0, 60.0)
# Small, so that a broken connection loses little.
_BLOCK_BYTES = 64 * 1024
_PROGRESS_BYTES = 1024 * 1024
# The prefix of messages of urllib3.
_OBJECT = re.compile(r"^\w+\(host=[^)]*\): ")


def ignore_progress(_name: str, _done: int, _total: int | None) -> None:
    """Show no progress."""


class TransferError(PredictdError):
    """A server is unreachable, or rejected a transfer."""

    code = "transfer"


class TransferInterruptedError(TransferError):
    """A transfer was interrupted and can be retried."""


class _UrlAuth(AuthBase):
    """Sends the user and password of a URL, and never credentials of a .netrc file."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(user, password)(request) if user else request


class _Session(requests.Session):
    """A session that sends no credentials to redirects, and none of a .netrc file."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _UrlAuth()

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove the credentials of the first request."""
        prepared_request.headers.pop("Authorization", None)


def open_session(*, retries: bool = True) -> requests.Session:
    """Open a session that retries after a 5xx response or a lost connection, with increasing delays (15 s in total).

    It sends only credentials of a request or its URL.

    Args:
        retries: If False, retry only if no connection was made, so that nothing is sent twice.
    """
    retry = Retry(
        total=MAX_ATTEMPTS,
        connect=3,
        read=None if retries else 0,
        status=None if retries else 0,
        other=None if retries else 0,
        redirect=None,
        backoff_factor=0.5,
        status_forcelist=range(500, 600) if retries else (),
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=retries,
    )
    session = _Session()
    session.headers["User-Agent"] = f"predictd/{__version__}"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def download(url: str, target: Path, show: ShowProgress) -> None:
    """Download a URL to `target` atomically.

    If the response has an ETag, a partial download is stored beside the target, and the next call resumes it.

    Raises:
        TransferError: The server is unreachable, or does not respond with 200.
    """
    with open_session() as session:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                _download_once(session, url, target, show)
                break
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError) as error:
                if not _was_interrupted(error) or attempt == MAX_ATTEMPTS:
                    raise connection_error(url, error) from error
                time.sleep(0.5 * 2**attempt)
            except requests.RequestException as error:
                raise connection_error(url, error) from error


def put(url: str, file: BinaryIO, size: int, name: str, show: ShowProgress) -> None:
    """Send the next `size` bytes of the file to a presigned URL, once and without redirects.

    Raises:
        TransferInterruptedError: The connection was lost, the server failed, or the URL has expired.
        TooLargeError: The file exceeds the server's limit.
        TransferError: The server rejected the upload.
    """
    body = _UploadBody(file, size, lambda sent: show(name, sent, size))
    try:
        with open_session(retries=False) as session:
            response = session.put(url, data=body, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise TransferInterruptedError(connection_error(url, error).message) from error
    if response.status_code in (200, 201, 204):
        return
    if response.status_code == requests.codes.request_entity_too_large:
        raise TooLargeError(f"{name} has {size} bytes, which exceeds the server's limit. Make the model smaller.")
    if response.status_code >= 500 or response.status_code in (403, 408):
        raise TransferInterruptedError(response_error(url, response, "Try again.").message)
    raise response_error(url, response, "The upload is not retried.")


def send(session: requests.Session, method: str, url: str, **options: object) -> requests.Response:
    """Send a request and return its response, whatever its status.

    Raises:
        TransferError: There is no response.
    """
    try:
        return session.request(method, url, timeout=_TIMEOUT, **options)  # type: ignore[arg-type]
    except requests.RequestException as error:
        raise connection_error(url, error) from error


def response_error(url: str, response: requests.Response, remedy: str) -> TransferError:
    """Return the exception for an unexpected response."""
    content = " ".join(response.text[:MAX_QUOTE_LENGTH].split())
    return TransferError(
        f"{without_query(url)} responded with {response.status_code} {response.reason}"
        f"{f': {content}' if content else ''}. {remedy}"
    )


def connection_error(url: str, error: requests.RequestException) -> TransferError:
    """Return the exception for a request without a response."""
    if isinstance(error, (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL)):
        return TransferError(f"{url[:MAX_QUOTE_LENGTH]} is not a valid URL: {error}. Check the address.")
    reason = str(getattr(error.args[0] if error.args else error, "reason", None) or error)
    plain = " ".join(_OBJECT.sub("", reason.rpartition(">: ")[2]).split())[:MAX_QUOTE_LENGTH]
    return TransferError(
        f"{without_query(url)} is unreachable ({plain}). Check the address and the connection (HTTPS_PROXY, "
        "REQUESTS_CA_BUNDLE)."
    )


def target_path(target: str | Path | None, filename: str) -> Path:
    """Return the path to save a file to: `target`, or the file name in that folder, without any folders of its own."""
    name = os.path.basename(filename.replace("\\", "/")).lstrip(".") or "model.pkl"
    path = Path(target) if target is not None else Path(name)
    return path / name if path.is_dir() else path


def without_query(url: str) -> str:
    """Return the URL without its query, which may contain a signature, and without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _UploadBody:
    """A request body of known length that reports its progress."""

    def __init__(self, file: BinaryIO, size: int, on_progress: Callable[[int], None]) -> None:
        self._file = file
        self._size = size
        self._on_progress = on_progress
        self._sent = 0
        self._reported = -_PROGRESS_BYTES

    def __len__(self) -> int:
        return self._size

    def read(self, amount: int = -1) -> bytes:
        remaining = self._size - self._sent
        block = self._file.read(remaining if amount < 0 else min(amount, remaining))
        self._sent += len(block)
        if self._sent - self._reported >= _PROGRESS_BYTES or self._sent == self._size:
            self._reported = self._sent
            self._on_progress(self._sent)
        return block


def _download_once(session: requests.Session, url: str, target: Path, show: ShowProgress) -> None:
    with closing(_get(session, url)) as response:
        if response.status_code != requests.codes.ok:
            raise response_error(url, response, "Check the URL; it may have expired.")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
        etag = response.headers.get("ETag", "")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part(target, etag, total) as (part, file):
            arrived = file.tell()
            show(target.name, arrived, total)
            if arrived and arrived != total:
                response.close()
                with closing(_get(session, url, {"Range": f"bytes={arrived}-", "If-Range": etag})) as rest:
                    if rest.status_code != requests.codes.partial_content:
                        # The file has changed, or the server does not support ranges: download all of it.
                        file.truncate(0)
                    _save(rest, file, target.name, total, show)
            elif not arrived:
                _save(response, file, target.name, total, show)
            file.flush()
            os.fsync(file.fileno())
            part.replace(target)


def _get(session: requests.Session, url: str, headers: dict[str, str] | None = None) -> requests.Response:
    # Ranges count stored bytes, so the response must not be compressed.
    return session.get(url, stream=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity", **(headers or {})})


def _save(response: requests.Response, file: BinaryIO, name: str, total: int | None, show: ShowProgress) -> None:
    for block in response.iter_content(_BLOCK_BYTES):
        file.write(block)
        show(name, file.tell(), total)


@contextmanager
def _part(target: Path, etag: str, total: int | None) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a hidden file beside the target for appending: the partial download of this version, if there is one."""
    version = hashlib.sha256(f"{etag} {total}".encode()).hexdigest()[:12]
    part = target.with_name(f".{target.name}.{version}.partial")
    is_resumable = bool(etag) and not etag.startswith("W/") and total is not None
    file = part.open("ab") if is_resumable else None
    try:
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another process is downloading the same file.
        assert file is not None
        file.close()
        is_resumable, file = False, None
    if file is None:
        part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        file = part.open("xb")
    try:
        if total is not None and file.tell() > total:
            file.truncate(0)
        yield part, file
    finally:
        if not is_resumable:
            part.unlink(missing_ok=True)
        file.close()


def _was_interrupted(error: requests.RequestException) -> bool:
    """Return whether a response broke off after its start; the session has already retried all other requests."""
    return isinstance(error, requests.exceptions.ChunkedEncodingError) or "Read timed out" in str(error)
