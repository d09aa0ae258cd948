"""HTTP transfers that outlast a server's bad moments: downloads that go on where they broke off, and presigned PUTs."""

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
"""Told what is on its way, how many bytes of it have arrived and how many there are, None if that is unknown."""

ATTEMPTS = 5
_TIMEOUT = (10.0, 60.0)
# Small enough that little is lost where a connection breaks.
_BLOCK = 64 * 1024
_TOLD = 1024 * 1024
_QUOTED = 300
# What urllib3 writes before the reason.
_OBJECT = re.compile(r"^\w+\(host=[^)]*\): ")


class TransferError(PredictdError):
    """A server could not be reached, or refused a transfer."""

    code = "transfer"


class BrokenOffError(TransferError):
    """A transfer broke off, and may be begun again."""


class _UrlAuth(AuthBase):
    """Sends the user and password that a URL itself names, and nothing of a .netrc file."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(user, password)(request) if user else request


class _Session(requests.Session):
    """A session that takes no credentials along to where a server redirects it, and adds none of a .netrc file."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _UrlAuth()

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove the credentials of the first request."""
        prepared_request.headers.pop("Authorization", None)


def open_session(*, repeats: bool = True) -> requests.Session:
    """A session that asks again, with growing pauses (some 15 s in all), after a 5xx or a lost connection.

    It sends no credentials but those that a request or its URL names.

    Args:
        repeats: False asks again only where no connection was made, so that nothing is ever sent twice.
    """
    retry = Retry(
        total=ATTEMPTS,
        connect=3,
        read=None if repeats else 0,
        status=None if repeats else 0,
        other=None if repeats else 0,
        redirect=None,
        backoff_factor=0.5,
        status_forcelist=range(500, 600) if repeats else (),
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=repeats,
    )
    session = _Session()
    session.headers["User-Agent"] = f"predictd/{__version__}"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def download(url: str, target: Path, show: ShowProgress) -> None:
    """Save what the URL answers as `target`, which appears whole or not at all.

    What has arrived of a file that can be told by its ETag is kept beside it, and the next call goes on from there.

    Raises:
        TransferError: the server can't be reached, or answers anything but 200.
    """
    with open_session() as session:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _download_once(session, url, target, show)
                break
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError) as error:
                if not _broke_off(error) or attempt == ATTEMPTS:
                    raise unreachable(url, error) from error
                time.sleep(0.5 * 2**attempt)
            except requests.RequestException as error:
                raise unreachable(url, error) from error


def put(url: str, file: BinaryIO, size: int, name: str, show: ShowProgress) -> None:
    """Send the file's next `size` bytes to a presigned URL, once and streamed; redirects are not followed.

    Raises:
        BrokenOffError: the connection was lost, the server had a bad moment, or the URL is not good any more.
        TooLargeError: the file is over the server's limit.
        TransferError: the server refuses it.
    """
    body = _Sending(file, size, lambda sent: show(name, sent, size))
    try:
        with open_session(repeats=False) as session:
            response = session.put(url, data=body, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise BrokenOffError(unreachable(url, error).message) from error
    if response.status_code in (200, 201, 204):
        return
    if response.status_code == requests.codes.request_entity_too_large:
        raise TooLargeError(f"{name} has {size} bytes, which is over the server's limit. Make the model smaller.")
    if response.status_code >= 500 or response.status_code in (403, 408):
        raise BrokenOffError(refused(url, response, "Try again.").message)
    raise refused(url, response, "The upload is not begun anew.")


def send(session: requests.Session, method: str, url: str, **options: object) -> requests.Response:
    """One request whose answer may be anything.

    Raises:
        TransferError: there is no answer.
    """
    try:
        return session.request(method, url, timeout=_TIMEOUT, **options)  # type: ignore[arg-type]
    except requests.RequestException as error:
        raise unreachable(url, error) from error


def refused(url: str, response: requests.Response, remedy: str) -> TransferError:
    """The error of an answer that is none."""
    said = " ".join(response.text[:_QUOTED].split())
    return TransferError(
        f"{without_query(url)} answered {response.status_code} {response.reason}{f': {said}' if said else ''}. {remedy}"
    )


def unreachable(url: str, error: requests.RequestException) -> TransferError:
    """The error of a request that got no answer."""
    if isinstance(error, (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL)):
        return TransferError(f"{url[:_QUOTED]} is no URL: {error}.")
    reason = str(getattr(error.args[0] if error.args else error, "reason", None) or error)
    plain = " ".join(_OBJECT.sub("", reason.rpartition(">: ")[2]).split())[:_QUOTED]
    return TransferError(
        f"{without_query(url)} can't be reached ({plain}). Check the address and the connection (HTTPS_PROXY, "
        "REQUESTS_CA_BUNDLE)."
    )


def place_for(target: str | Path | None, filename: str) -> Path:
    """Where to save a file: `target`, or in that folder; a server's name for it never leads out of the folder."""
    name = os.path.basename(filename.replace("\\", "/")).lstrip(".") or "model.pkl"
    path = Path(target) if target is not None else Path(name)
    return path / name if path.is_dir() else path


def without_query(url: str) -> str:
    """The URL as it may be shown: its query may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _Sending:
    """A file as requests sends it: of a known length, read in blocks, telling how far it is."""

    def __init__(self, file: BinaryIO, size: int, tell: Callable[[int], None]) -> None:
        self._file = file
        self._size = size
        self._tell = tell
        self._sent = 0
        self._told = -_TOLD

    def __len__(self) -> int:
        return self._size

    def read(self, amount: int = -1) -> bytes:
        left = self._size - self._sent
        block = self._file.read(left if amount < 0 else min(amount, left))
        self._sent += len(block)
        if self._sent - self._told >= _TOLD or self._sent == self._size:
            self._told = self._sent
            self._tell(self._sent)
        return block


def _download_once(session: requests.Session, url: str, target: Path, show: ShowProgress) -> None:
    with closing(_get(session, url)) as response:
        if response.status_code != requests.codes.ok:
            raise refused(url, response, "Check the URL, and that it has not expired.")
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
                        # It has become another file, or the server knows no ranges: all of it, then.
                        file.truncate(0)
                    _save(rest, file, target.name, total, show)
            elif not arrived:
                _save(response, file, target.name, total, show)
            file.flush()
            os.fsync(file.fileno())
            part.replace(target)


def _get(session: requests.Session, url: str, headers: dict[str, str] | None = None) -> requests.Response:
    # A range counts bytes as they are stored, so they must come so.
    return session.get(url, stream=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity", **(headers or {})})


def _save(response: requests.Response, file: BinaryIO, name: str, total: int | None, show: ShowProgress) -> None:
    for block in response.iter_content(_BLOCK):
        file.write(block)
        show(name, file.tell(), total)


@contextmanager
def _part(target: Path, etag: str, total: int | None) -> Iterator[tuple[Path, BinaryIO]]:
    """A hidden file beside the target, open at its end: what has arrived of this version of it, if that can be told."""
    version = hashlib.sha256(f"{etag} {total}".encode()).hexdigest()[:12]
    part = target.with_name(f".{target.name}.{version}.partial")
    is_kept = bool(etag) and not etag.startswith("W/") and total is not None
    file = part.open("ab") if is_kept else None
    try:
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another process is downloading the same.
        assert file is not None
        file.close()
        is_kept, file = False, None
    if file is None:
        part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        file = part.open("xb")
    try:
        if total is not None and file.tell() > total:
            file.truncate(0)
        yield part, file
    finally:
        if not is_kept:
            part.unlink(missing_ok=True)
        file.close()


def _broke_off(error: requests.RequestException) -> bool:
    """Whether an answer that had begun did not end; the session has tried again already whatever had not begun."""
    return isinstance(error, requests.exceptions.ChunkedEncodingError) or "Read timed out" in str(error)
